package clock

import "time"

// Slack is how far files may be ahead of a clock that is not called wrong: one that runs in
// another time zone until it is set leaves such.
const Slack = 24 * time.Hour

// step is how far a clock must be set to matter. Slewing is slower.
const step = time.Minute

// WasSet reports whether the clock on the wall was set while both clocks measured a time.
func WasSet(wall, steady time.Duration) bool { return (wall - steady).Abs() > step }

package pathcheck

import (
	"slices"
	"time"
)

// Outcome is what one kind of check found.
type Outcome struct {
	Asked    bool // whether this kind is asked at all
	Answered bool
	Refused  string // who refused, and how; empty for silence
}

// Resets is how connections are refused that are reset now, though they were opened before.
const Resets = "every connection is reset"

// Result is what a client's last check found.
type Result struct {
	At       time.Time // of the end of the check; zero before the first
	Plan     string    // the client's plan when it was asked
	Outcomes [kinds]Outcome
	// Ever are the kinds that any target answered since they are asked.
	Ever [kinds]bool
	Err  error // why it could not be asked; nil if it was
}

// Works reports whether every kind that was asked was answered.
func (r Result) Works() bool {
	return !r.At.IsZero() && r.Err == nil && !slices.ContainsFunc(r.Outcomes[:],
		func(o Outcome) bool { return o.Asked && !o.Answered })
}

// same reports whether two results say the same, whatever the time it took.
func same(a, b Result) bool {
	return a.Outcomes == b.Outcomes && (a.Err == nil) == (b.Err == nil)
}

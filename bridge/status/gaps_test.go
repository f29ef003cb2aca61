package status

import (
	"testing"
	"time"
)

// Only the time in which a rule is blocked counts, over several gaps, and a clock that jumps back
// takes none away.
func TestGaps(t *testing.T) {
	g := gaps{}
	start := time.Unix(1_800_000_000, 0)
	for _, step := range []struct {
		at      time.Duration
		blocked bool
		want    time.Duration
	}{{0, true, 0}, {2 * time.Second, true, 2 * time.Second}, {3 * time.Second, false,
		3 * time.Second}, {time.Hour, true, 3 * time.Second}, {time.Minute, true, 3 * time.Second},
		{2 * time.Minute, false, 63 * time.Second}} {
		if got := g.count(start.Add(step.at), "policy[0]", step.blocked); got != step.want {
			t.Errorf("at %s: %s, want %s", step.at, got, step.want)
		}
	}
	if got := g.count(start, "policy[1]", false); got != 0 {
		t.Errorf("another rule: %s", got)
	}
}

package clock

import (
	"testing"
	"time"
)

// A clock that is set is told from time that passes, in both directions.
func TestWasSet(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, tt := range []struct {
		wall, steady time.Duration
		want         bool
	}{{10 * time.Second, 10 * time.Second, false}, {11 * time.Second, 10 * time.Second, false},
		{50 * year, 10 * time.Second, true}, {-15 * year, time.Second, true}} {
		if got := WasSet(tt.wall, tt.steady); got != tt.want {
			t.Errorf("%v on the wall in %v: set %v", tt.wall, tt.steady, got)
		}
	}
}

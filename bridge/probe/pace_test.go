package probe

import (
	"testing"
	"time"
)

// A stable egress is left alone while its traffic speaks for it, and asked at once when it falls
// silent.
func TestDue(t *testing.T) {
	before := Traffic{Received: 100, Sent: 100}
	tests := []struct {
		name  string
		grade Grade
		since time.Duration // in intervals
		now   Traffic
		want  bool
	}{
		{"must prove itself", Fresh, 1, before, true},
		{"must prove itself, but was just asked", Fresh, 0, before, false},
		{"may be back", Degraded, 1, before, true},
		{"nobody uses it", Stable, 5, before, false},
		{"nobody has used it for long", Stable, rest, before, true},
		{"packets leave and come back", Stable, 5, Traffic{Received: 101, Sent: 200}, false},
		{"packets only come in", Stable, 5, Traffic{Received: 200, Sent: 100}, false},
		{"packets leave and nothing comes back", Stable, 1, Traffic{Received: 100, Sent: 101},
			true},
		{"the same, and it was just asked", Stable, 0, Traffic{Received: 100, Sent: 200}, false},
		{"traffic does not put off a probe forever", Stable, rest,
			Traffic{Received: 200, Sent: 200}, true},
		{"its device was made again", Stable, 5, Traffic{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := due(tt.grade, interval, tt.since*interval, before, tt.now); got != tt.want {
				t.Errorf("due: %v, want %v", got, tt.want)
			}
		})
	}
}

func TestNextLook(t *testing.T) {
	tests := []struct {
		grade  Grade
		unused time.Duration
		want   time.Duration
	}{
		{Stable, 0, interval / looksInUse},
		{Stable, 1, interval / looksIdle},
		{Stable, restAfter*interval - 1, interval / looksIdle},
		{Stable, restAfter * interval, restLook * interval},
		{Fresh, rest * interval, interval / looksIdle},
		{Degraded, rest * interval, interval / looksIdle},
		{Degraded, 0, interval / looksInUse},
	}
	for _, tt := range tests {
		if got := nextLook(tt.grade, interval, tt.unused); got != tt.want {
			t.Errorf("%s, unused for %v: %v, want %v", tt.grade, tt.unused, got, tt.want)
		}
	}
}

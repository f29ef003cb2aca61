package probe

import (
	"testing"
	"time"
)

const (
	interval = 500 * time.Millisecond
	holdDown = 10 * time.Second
)

// outcome is a run of n probes, Interval apart, all answered or all lost.
type outcome struct {
	n   int
	hit bool
}

func play(h *Health, from time.Time, outcomes ...outcome) (time.Time, int) {
	changes := 0
	for _, o := range outcomes {
		for range o.n {
			before := h.Grade()
			if o.hit {
				h.Hit(from)
			} else {
				h.Miss(from)
			}
			if h.Grade() != before {
				changes++
			}
			from = from.Add(interval)
		}
	}
	return from, changes
}

func TestHealth(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	hold := int(holdDown/interval) + 1
	tests := []struct {
		name     string
		outcomes []outcome
		want     Grade
	}{
		{"nothing yet", nil, Unknown},
		{"one miss at the start", []outcome{{1, false}}, Unknown},
		{"never answered", []outcome{{2, false}}, Degraded},
		{"first answer", []outcome{{1, true}}, Fresh},
		{"answers for the hold-down", []outcome{{hold, true}}, Stable},
		{"one lost packet is weather", []outcome{{hold, true}, {1, false}, {1, true}}, Stable},
		{"two in a row are an outage", []outcome{{hold, true}, {2, false}}, Degraded},
		{"back, but not for long", []outcome{{hold, true}, {2, false}, {hold - 2, true}}, Fresh},
		{"back for good", []outcome{{hold, true}, {2, false}, {3 * hold, true}}, Stable},
		{"a relapse doubles the hold-down", []outcome{{hold, true}, {2, false}, {3 * hold, true}, {2, false}, {hold + hold/2, true}}, Fresh},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := Health{HoldDown: holdDown}
			play(&h, start, tt.outcomes...)
			if h.Grade() != tt.want {
				t.Errorf("grade %v, want %v", h.Grade(), tt.want)
			}
		})
	}
}

// An egress that loses a third of its packets must not become Stable while it does, or traffic would
// move back to it only to leave again.
func TestHealthHeavyLossIsNeverStable(t *testing.T) {
	h := Health{HoldDown: holdDown}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 1200 {
		if i%3 == 2 {
			h.Miss(now)
		} else {
			h.Hit(now)
		}
		now = now.Add(interval)
		if i > 30 && h.Grade() == Stable {
			t.Fatalf("stable after %d probes with a third lost", i)
		}
	}
	if _, changes := play(&h, now, outcome{200, true}); h.Grade() != Stable || changes != 1 {
		t.Errorf("after the loss ended: %v with %d changes, want stable with 1", h.Grade(), changes)
	}
}

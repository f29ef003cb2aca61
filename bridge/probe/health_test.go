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
				h.Miss(from, Idle)
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
		{"a relapse doubles the hold-down", []outcome{{hold, true}, {2, false}, {3 * hold, true},
			{2, false}, {hold + hold/2, true}}, Fresh},
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

// An egress that loses a third of its packets must not become Stable while it does, or traffic
// would move back to it only to leave again.
func TestHealthHeavyLossIsNeverStable(t *testing.T) {
	h := Health{HoldDown: holdDown}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 1200 {
		if i%3 == 2 {
			h.Miss(now, Idle)
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

// An egress that is used to its limit answers late or never. That is no outage while packets come
// in by it, nor for some time while others leave, and one as soon as that ends.
func TestHealthFullIsNotDead(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		load Load
		last time.Duration // how long it may go on before the egress is given up; 0: forever
	}{
		{Idle, interval}, {Busy, busyTimeout}, {Alive, 0},
	} {
		h := Health{HoldDown: holdDown}
		now, _ := play(&h, start, outcome{int(holdDown/interval) + 1, true})
		full := now.Add(-interval) // the last answer
		h.Miss(now, tt.load)
		for h.Grade() != Degraded && now.Sub(full) < time.Minute {
			now = now.Add(interval)
			h.Miss(now, tt.load)
		}
		gone := now.Sub(full)
		if tt.last == 0 {
			if h.Grade() != Stable {
				t.Errorf("load %d: %v after %v", tt.load, h.Grade(), gone)
			}
			h.Miss(now, Idle)
			h.Miss(now, Idle)
		} else if gone < tt.last || gone > tt.last+interval {
			t.Errorf("load %d: given up after %v, want %v", tt.load, gone, tt.last)
		}
		if h.Grade() != Degraded {
			t.Errorf("load %d: %v when nothing passes any more", tt.load, h.Grade())
		}
	}
}

// What comes in by an egress that never answered says nothing about the Internet behind it.
func TestHealthLoadIsNoAnswer(t *testing.T) {
	for _, load := range []Load{Busy, Alive} {
		h := Health{HoldDown: holdDown}
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		for range 4 {
			h.Miss(now, load)
			now = now.Add(interval)
		}
		if h.Grade() != Degraded {
			t.Errorf("load %d without an answer made it %v", load, h.Grade())
		}
	}
}

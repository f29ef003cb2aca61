package status

import (
	"testing"
	"time"
	"unsafe"
)

// What ended and comes back began when it came back; what goes on keeps its beginning.
func TestHistoryForgetsWhatEnded(t *testing.T) {
	l, start := history{}, time.Unix(1_700_000_000, 0)
	at := func(pass int) time.Time { return start.Add(time.Duration(pass) * time.Minute) }
	for pass, raining := range []bool{true, true, false, true, true} {
		if got := l.Record(at(pass), "egress", "up", "").At; !got.Equal(start) {
			t.Errorf("pass %d: up since %v", pass, got)
		}
		if raining {
			want := start
			if pass >= 3 {
				want = at(3)
			}
			if got := l.Record(at(pass), "condition wan-down", "no way out",
				"").At; !got.Equal(want) {
				t.Errorf("pass %d: down since %v, want %v", pass, got, want)
			}
		}
		l.expire()
	}
	if len(l) != 2 {
		t.Errorf("it holds %v", l)
	}
}

// What began before the clock was set lasts no longer for that, and what a clock is slewed by
// changes nothing.
func TestClockIsSet(t *testing.T) {
	l, start := history{}, time.Now()
	l.Record(start, "egress", "up", "")
	for _, tt := range []struct{ set, past time.Duration }{{time.Second, time.Minute},
		{8 * time.Hour, 2 * time.Minute}, {0, 3 * time.Minute}, {-9 * time.Hour, 4 * time.Minute}} {
		now := start.Add(tt.past)
		// The seconds of the clock are above bit 30 of the first word of a Time.
		*(*uint64)(unsafe.Pointer(&now)) += uint64(int64(tt.set/time.Second) << 30)
		at := l.Record(now, "egress", "up", "").At
		if got := now.Round(0).Sub(at.Round(0)); (got - tt.past).Abs() > time.Second {
			t.Errorf("%v after the start, the clock set by %v: up for %v", tt.past, tt.set, got)
		}
		if tt.set == time.Second && at != start {
			t.Errorf("up since %v, not %v", at, start)
		}
	}
}

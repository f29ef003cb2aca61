package status

import (
	"testing"
	"time"
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

package step

import (
	"testing"
	"time"
)

func TestUntil(t *testing.T) {
	const step = 125 * time.Millisecond
	moment := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for after, want := range map[time.Duration]time.Duration{
		0:                         step,
		time.Millisecond:          step - time.Millisecond,
		step - 1:                  1,
		3*step + time.Duration(7): step - 7,
	} {
		if got := Until(moment.Add(after), step); got != want {
			t.Errorf("%v after a step: %v, want %v", after, got, want)
		}
	}
}

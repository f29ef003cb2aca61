package connlimit

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/time/rate"
)

// TestLimiterRemembersSoMany sources, and those that did most.
func TestLimiterRemembersSoMany(t *testing.T) {
	now := time.Now()
	l := NewLimiter[netip.Addr](rate.Every(time.Hour), 5, func() time.Time { return now })
	worst := netip.MustParseAddr("10.1.1.1")
	for l.Take(worst) {
	}
	source := netip.MustParseAddr("10.2.0.0")
	for range 3 * maxSources {
		source = source.Next()
		l.Take(source)
	}
	if n := len(l.sources); n > maxSources {
		t.Errorf("%d sources are remembered", n)
	}
	if l.Take(worst) || l.Wait(worst) <= 0 {
		t.Error("the source that did most is forgotten")
	}
	l.Forgive(worst)
	if !l.Take(worst) || l.Wait(worst) != 0 {
		t.Error("a source that is forgiven has nothing")
	}
}

package e2e

import (
	"testing"
	"time"

	"ztbridge/bridge/lab"
)

// TestStatusIsOfNow looks at a box to which nothing happens: what it shows is not what was true
// some time ago.
func TestStatusIsOfNow(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{})
	b := bridged(t, top, gatewayConfig)
	const looks = 4
	fresh := 0
	for range looks {
		time.Sleep(2 * time.Second) // longer than a status may be old
		asked := time.Now()
		st, err := b.status()
		must(t, err)
		t.Logf("%v older than the question", asked.Sub(st.Time).Round(time.Millisecond))
		if asked.Sub(st.Time) < time.Second {
			fresh++
		}
	}
	// A machine that stands still for a second makes one or two of them old.
	if fresh < looks-2 {
		t.Errorf("%d of %d statuses are of the moment", fresh, looks)
	}
}

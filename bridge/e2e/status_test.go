package e2e

import (
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
)

// TestStatusIsOfNow looks at a box to which nothing happens: what it shows is not what was true
// some time ago, and to look costs no pass over the kernel's state.
func TestStatusIsOfNow(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{})
	b := bridged(t, top, gatewayConfig)
	passes := func(asked time.Time) uint64 {
		t.Helper()
		st, err := b.status()
		must(t, err)
		if age := asked.Sub(st.Time); age > time.Second {
			t.Errorf("the status is %v older than the question", age)
		}
		return st.Reconcile.Passes
	}
	const idle = 12 * time.Second
	counts := map[bool]uint64{}
	for _, polled := range []bool{false, true} {
		first := passes(time.Now())
		b.await("to make its next pass", func(st api.Status) bool {
			first, st.Reconcile.Passes = st.Reconcile.Passes, first
			return first > st.Reconcile.Passes
		})
		for end := time.Now().Add(idle); time.Now().Before(end); {
			if polled {
				passes(time.Now())
			}
			time.Sleep(time.Second)
		}
		counts[polled] = passes(time.Now()) - first
	}
	t.Logf("passes in %v: %v (by whether the status was read every second)", idle, counts)
	// The box makes passes of its own, of which one or two more may fall into either time; were
	// reading the cause of passes, there would be one for each second.
	const ownPasses = 2
	if counts[true] > counts[false]+ownPasses {
		t.Error("to read the status costs passes")
	}
}

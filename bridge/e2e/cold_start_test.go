package e2e

import (
	"testing"

	"ztbridge/bridge/api"
	"ztbridge/policyroute/netlab"
)

// coldStarts starts a box again and again while both of its egresses are well. Not once may its
// traffic begin on the second choice: it would stay there for the hold-down, and be cut when it
// moves.
func coldStarts(t *testing.T, times int) {
	_, b := newFailover(t, livenessConfig)
	for i := range times {
		st := b.await("traffic by any egress", func(st api.Status) bool {
			return len(st.Policies) > 0 && st.Policies[0].Egress != ""
		})
		if got := st.Policies[0].Egress; got != "first" {
			t.Errorf("start %d began on %q", i+1, got)
		}
		b.stop()
		if i < times-1 {
			b.start()
		}
	}
}

// TestColdStarts makes a few starts.
func TestColdStarts(t *testing.T) {
	t.Parallel()
	coldStarts(t, 4)
}

// TestLongColdStarts makes fifty.
func TestLongColdStarts(t *testing.T) {
	netlab.Long(t, "50 starts")
	coldStarts(t, 50)
}

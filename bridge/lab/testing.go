package lab

import (
	"context"
	"time"

	"ztbridge/policyroute/netlab"
)

// buildLimit bounds the building of a lab on a slow machine.
const buildLimit = time.Minute

// ForTest builds the standard topology and removes it at the end of the test. It skips the test if
// this machine cannot run a lab. The processes' logs are shown if the test fails.
func ForTest(t netlab.TB, opts Options, needs ...netlab.Need) *Topology {
	t.Helper()
	netlab.Require(t, append([]netlab.Need{netlab.Root, netlab.OpenVPN}, needs...)...)
	ctx, cancel := context.WithTimeout(context.Background(), buildLimit)
	defer cancel()
	top, err := Standard(ctx, opts)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s", top.Logs(40))
		}
		if err := top.Close(); err != nil {
			t.Logf("closing the lab: %v", err)
		}
	})
	return top
}

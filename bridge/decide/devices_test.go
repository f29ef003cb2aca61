package decide

import (
	"slices"
	"testing"

	"ztbridge/bridge/bridgetest"
	"ztbridge/policyroute/kernel"
)

// Only devices of ours that the configuration has no more are strays, whether their egresses are
// Connected or not.
func TestOrphanDevices(t *testing.T) {
	cfg := bridgetest.Parse(t, bridgetest.Uno+
		"endpoint: {address: vpn.example.org, listen: [udp/1194]}\n")
	listeners, err := ListenersOf(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w := HostState(bridgetest.HostState("provider", "backup", "formerly"))
	w.Links = append(w.Links, kernel.Link{Name: listeners[0].Device},
		kernel.Link{Name: "tunztb.tcp443"}, kernel.Link{Name: "tun0"})
	for name, stopping := range map[string]bool{"running": false, "stopping": true} {
		intent := Decide(cfg, Snapshot{Host: w, Listeners: listeners, Stopping: stopping}).Intent
		if got := OrphanDevices(intent, w); !slices.Equal(got,
			[]string{TunnelDevice("formerly"), "tunztb.tcp443"}) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

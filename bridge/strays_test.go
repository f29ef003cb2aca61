package bridge

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"ztbridge/policyroute/kernel"
)

// Only devices of ours that the configuration has no more are strays, whether their egresses are
// connected or not.
func TestStrays(t *testing.T) {
	cfg := parse(t, uno+"endpoint: {address: vpn.example.org, listen: [udp/1194]}\n")
	listeners, err := listenersOf(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w := world("provider", "backup", "formerly")
	w.Links = append(w.Links, kernel.Link{Name: listeners[0].Device},
		kernel.Link{Name: "tunztb.tcp443"}, kernel.Link{Name: "tun0"})
	for name, stopping := range map[string]bool{"running": false, "stopping": true} {
		intent := Desire(cfg, Snapshot{World: w, Listeners: listeners, Stopping: stopping}).Intent
		if got := strays(intent, w); !slices.Equal(got,
			[]string{tunnelDevice("formerly"), "tunztb.tcp443"}) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// What the nurse remembers of an egress goes with it.
func TestNurseDischarges(t *testing.T) {
	n := newNurse()
	for _, name := range []string{"provider", "formerly"} {
		n.patients[name], n.heard[name], n.served[name] = &patient{}, true, true
	}
	cfg := parse(t, "ingress: [lan0]\negress: {provider: {openvpn: {profile: provider.ovpn}}}\n")
	n.discharge(cfg, Desire(cfg, Snapshot{
		World: World{Links: []kernel.Link{
			{Name: "lan0", Addrs: []netip.Prefix{netip.MustParsePrefix("10.77.0.1/24")}}}}}))
	for what, left := range map[string][]string{
		"patients": slices.Collect(maps.Keys(n.patients)), "heard": slices.Collect(
			maps.Keys(n.heard)), "served": slices.Collect(maps.Keys(n.served)),
	} {
		if !slices.Equal(left, []string{"provider"}) {
			t.Errorf("%s: %v", what, left)
		}
	}
}

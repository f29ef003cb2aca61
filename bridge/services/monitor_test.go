package services

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"ztbridge/bridge/bridgetest"
	"ztbridge/bridge/decide"
	"ztbridge/policyroute/kernel"
)

// What the monitor remembers of an egress goes with it.
func TestMonitorForgets(t *testing.T) {
	n := NewMonitor()
	for _, name := range []string{"provider", "formerly"} {
		n.tunnels[name], n.heard[name] = &tunnelState{}, true
		n.served[decide.NewEgressList([]string{name})] = [2]bool{true, true}
	}
	cfg := bridgetest.Parse(t,
		"ingress: [lan0]\negress: {provider: {openvpn: {profile: provider.ovpn}}}\n")
	n.forget(cfg, decide.Decide(cfg, decide.Snapshot{
		Host: decide.HostState{Links: []kernel.Link{
			{Name: "lan0", Addrs: []netip.Prefix{netip.MustParsePrefix("10.77.0.1/24")}}}}}))
	var served []string
	for list := range n.served {
		served = append(served, list.String())
	}
	for what, left := range map[string][]string{
		"tunnels": slices.Collect(maps.Keys(n.tunnels)),
		"heard":   slices.Collect(maps.Keys(n.heard)), "served": served,
	} {
		if !slices.Equal(left, []string{"provider"}) {
			t.Errorf("%s: %v", what, left)
		}
	}
}

// A list loses its last good egress by either IP version.
func TestMonitorSeesLosses(t *testing.T) {
	n, list := NewMonitor(), decide.NewEgressList([]string{"a", "b"})
	for i, step := range []struct {
		four, six decide.Health // of a
		lost      bool
	}{{decide.Up, decide.Up, false}, {decide.Up, decide.Degraded, true},
		{decide.Up, decide.Degraded, false}, {decide.Degraded, decide.Degraded, true},
		{decide.Degraded, decide.Degraded, false}} {
		lost := n.losers(decide.Decision{Health: map[string]decide.Health{"a": step.four},
			Health6: map[string]decide.Health{"a": step.six},
			Choices: map[decide.EgressList]decide.Choice{list: {Egress: "a"}}})
		if (len(lost) > 0) != step.lost {
			t.Errorf("step %d: %v", i, lost)
		}
	}
}

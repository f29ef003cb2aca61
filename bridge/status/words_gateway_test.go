package status

import (
	"net/netip"
	"testing"

	"ztbridge/bridge/decide"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// A line with two ends has a default route without a gateway.
func TestGatewayOf(t *testing.T) {
	ppp := kernel.DefaultRoute{Family: policyroute.V4, Iface: "ppp0"}
	eth := kernel.DefaultRoute{Family: policyroute.V6, Iface: "eth0",
		Gateway: netip.MustParseAddr("fe80::1")}
	for want, routes := range map[string][]kernel.DefaultRoute{
		"the other end of ppp0": {ppp}, "its router (fe80::1)": {ppp, eth}, "its router": nil,
	} {
		got := gatewayOf(decide.HostState{Defaults: routes}, policyroute.Families[:]...)
		if got != want {
			t.Errorf("%v: %q, want %q", routes, got, want)
		}
	}
}

package status

import (
	"net/netip"
	"testing"

	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
	"ztbridge/policyroute/policytest"
)

// An address of the link alone, which the kernel keeps or makes by itself, is none that devices
// could use.
func TestLostAddress(t *testing.T) {
	given := policytest.Prefixes("10.77.0.1/24", "fd77::1/64", "fe80::1/64")
	tests := map[string]struct {
		have    []netip.Prefix
		f       policyroute.Family
		command string // empty: nothing is lost
	}{
		"all there":        {given, policyroute.V6, ""},
		"another of it":    {policytest.Prefixes("fd77::2/64"), policyroute.V6, ""},
		"none at all":      {nil, policyroute.V6, "ip addr replace fd77::1/64 dev ing0"},
		"the link's alone": {given[2:], policyroute.V6, "ip addr replace fd77::1/64 dev ing0"},
		"IPv4, the link's": {policytest.Prefixes("169.254.3.4/16"), policyroute.V4,
			"ip addr replace 10.77.0.1/24 dev ing0"},
		"IPv4, IPv6 is left": {given[1:], policyroute.V4, "ip addr replace 10.77.0.1/24 dev ing0"},
	}
	for name, tt := range tests {
		link := kernel.Link{Name: "ing0", MTU: 1500, Addrs: tt.have}
		p, lost := lostAddress(link, tt.f, given)
		if lost != (tt.command != "") || p.Command != tt.command {
			t.Errorf("%s: lost %t, command %q", name, lost, p.Command)
		}
	}
}

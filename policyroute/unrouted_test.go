package policyroute

import (
	"net/netip"
	"slices"
	"testing"
)

// Replies to members that main has no route to find them all the same, whichever way they come in.
func TestUnroutedMembers(t *testing.T) {
	public := netip.MustParsePrefix("2001:db8:1:2:8000::/80")
	in := Intent{
		Ingresses: []Ingress{{Name: "net", Iface: "zt0", Present: true,
			Prefixes: []netip.Prefix{netip.MustParsePrefix("10.147.17.0/24"),
				public}, Unrouted: []netip.Prefix{public}}},
		Egresses: []Egress{{Name: "direct", Kind: EgressWAN, Iface: "eth0", Present: true,
			IPv6: true, Gateway6: netip.MustParseAddr("fe80::1"),
			NAT6: NAT{Kind: NoNAT, Prefix: public}}},
		Policies: []Policy{{Name: "policy[0]", Egress: []string{"direct"}, Use: "direct"}},
	}
	s, err := Compile(in)
	if err != nil {
		t.Fatal(err)
	}
	var led []netip.Prefix
	for _, r := range s.Rules {
		if r.IIF == "" && r.Priority == RuleMembers {
			led = append(led, r.To)
		}
	}
	if !slices.Equal(led, []netip.Prefix{public}) {
		t.Errorf("rules lead %v to the members, want %v alone", led, public)
	}
	if err := LeakFree(s, in); err != nil {
		t.Error(err)
	}
}

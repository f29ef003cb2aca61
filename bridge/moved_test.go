package bridge

import (
	"net/netip"
	"slices"
	"testing"

	"ztbridge/policyroute"
)

func TestMoved(t *testing.T) {
	members := []netip.Prefix{netip.MustParsePrefix("10.77.0.0/24")}
	one, two := netip.MustParsePrefix("10.77.0.1/32"), netip.MustParsePrefix("10.77.0.2/32")
	rule := func(egress string, from ...netip.Prefix) policyroute.Policy {
		return policyroute.Policy{From: from, Egress: []string{egress}}
	}
	intent := func(policies ...policyroute.Policy) policyroute.Intent {
		return policyroute.Intent{
			Ingresses: []policyroute.Ingress{{Name: "lan", Prefixes: members}},
			Egresses:  []policyroute.Egress{{Name: "direct", Iface: "wan0"}, {Name: "provider", Iface: "tunztb0"}},
			Policies:  policies,
		}
	}
	snat := intent(rule("direct", one), rule("provider"))
	snat.Egresses[0].NAT4 = policyroute.NAT{Kind: policyroute.SNAT, To: netip.MustParseAddr("203.0.113.7")}
	inUse := intent(rule("direct", one), rule("provider"))
	inUse.Policies[0].Use = "direct"
	tests := []struct {
		name     string
		old, now policyroute.Intent
		want     []netip.Prefix
	}{
		{"nothing", intent(rule("direct", one), rule("provider")), intent(rule("direct", one), rule("provider")), nil},
		{"another egress in use", intent(rule("direct", one), rule("provider")), inUse, nil},
		{"another list", intent(rule("direct", one), rule("provider")), intent(rule("provider", one), rule("provider")), []netip.Prefix{one}},
		{"a rule more", intent(rule("provider")), intent(rule("direct", two), rule("provider")), []netip.Prefix{two}},
		{"a rule less", intent(rule("direct", two), rule("provider")), intent(rule("provider")), []netip.Prefix{two}},
		{"another order", intent(rule("direct", one), rule("provider", one, two)), intent(rule("provider", one, two), rule("direct", one)), []netip.Prefix{one, two}},
		{"for all members", intent(rule("direct")), intent(rule("provider")), members},
		{"another address outside", intent(rule("direct", one), rule("provider")), snat, []netip.Prefix{one}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := moved(tt.old, tt.now); !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

package decide

import (
	"net/netip"
	"slices"
	"testing"

	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// TestReloadMoves has four connections open while the policy changes, and a query that was steered
// to a resolver: to be cut are those that go another way, and none else.
func TestReloadMoves(t *testing.T) {
	prefix := netip.MustParsePrefix
	one, two, members := prefix("10.77.0.1/32"), prefix("10.77.0.2/32"), prefix("10.77.0.0/24")
	lan, site := prefix("192.168.1.0/24"), prefix("198.51.100.0/24")
	flows := []struct {
		name, client, remote string
		steered              bool
	}{
		{"one", "10.77.0.1", "203.0.113.80", false},
		{"two", "10.77.0.2", "203.0.113.80", false},
		{"two to the LAN", "10.77.0.2", "192.168.1.9", false},
		{"two to the site", "10.77.0.2", "198.51.100.9", false},
		{"query of two", "10.77.0.2", "198.51.100.53", true},
		{"two to one", "10.77.0.2", "10.77.0.1", false},
		{"the box's own", "192.0.2.2", "203.0.113.80", false},
	}
	to := func(p policyroute.Policy, prefixes ...netip.Prefix) policyroute.Policy {
		p.To = prefixes
		return p
	}
	rule := func(egress string, from ...netip.Prefix) policyroute.Policy {
		return policyroute.Policy{From: from, Egress: []string{egress}, Use: egress}
	}
	block := policyroute.Policy{From: []netip.Prefix{two}}
	intent := func(policies ...policyroute.Policy) policyroute.Intent {
		return policyroute.Intent{
			Ingresses: []policyroute.Ingress{
				{Name: "lan", Iface: "zt0", Prefixes: []netip.Prefix{members}}},
			Egresses: []policyroute.Egress{
				{Name: "direct", Kind: policyroute.EgressWAN, Iface: "wan0"}, {Name: "provider",
					Iface: "tunztb0"}, {Name: "backup", Iface: "tunztb1"},
				{Name: "peering[0]", Kind: policyroute.EgressWAN,
					Iface: "eth1"},
				{Name: "peering[1]", Kind: policyroute.EgressWAN, Iface: "eth1"},
			},
			Policies: policies,
		}
	}
	with := func(in policyroute.Intent, change func(*policyroute.Intent)) policyroute.Intent {
		change(&in)
		return in
	}
	listed := func(use string, egress ...string) policyroute.Intent {
		return intent(policyroute.Policy{Egress: egress, Use: use})
	}
	base := intent(rule("provider"))
	peered := intent(to(rule("peering[0]"), lan), rule("provider"))
	everything := []string{"one", "two", "two to the LAN", "two to the site", "query of two"}
	tests := []struct {
		name     string
		old, now policyroute.Intent
		want     []string
	}{
		{"nothing", base, base, nil},
		{"another list for all", base, intent(rule("direct")), everything},
		{"for one of them", intent(rule("direct", one), rule("provider")), base, []string{"one"}},
		{"a rule more, for one destination", base,
			intent(to(rule("direct"), site), rule("provider")), []string{"two to the site"}},
		{"a peering more", base, peered, []string{"two to the LAN"}},
		{"a peering less", peered, base, []string{"two to the LAN"}},
		{"a peering before another", peered, intent(to(rule("peering[0]"), prefix("172.16.0.0/12")),
			to(rule("peering[1]"), lan), rule("provider")), nil},
		{"disjoint rules swapped", intent(rule("direct", one), rule("provider", two)),
			intent(rule("provider", two), rule("direct", one)), nil},
		{"overlapping rules swapped", intent(rule("direct", one), rule("provider", one, two)),
			intent(rule("provider", one, two), rule("direct", one)), []string{"one"}},
		{"one rule split into two", base, intent(rule("provider", one), rule("provider")), nil},
		{"a member blocked", base, intent(block, rule("provider")), everything[1:]},
		{"a rule less, and none left", intent(rule("provider", one)), intent(), []string{"one"}},
		{"another egress in use", listed("provider", "provider", "backup"),
			listed("backup", "provider", "backup"), nil},
		{"another list, and another in use", listed("provider", "provider", "backup"),
			listed("backup", "backup"), everything},
		{"another list, and the same in use", listed("provider", "provider", "backup"),
			listed("provider", "direct", "provider"), nil},
		{"another list, and none in use", listed("", "provider"), listed("", "direct"), everything},
		{"another address outside", base,
			with(intent(rule("provider")), func(in *policyroute.Intent) {
				in.Egresses[1].NAT4 = policyroute.NAT{Kind: policyroute.SNAT,
					To: netip.MustParseAddr("203.0.113.7")}
			}), everything},
		{"another address outside, of the other IP version", base,
			with(intent(rule("provider")), func(in *policyroute.Intent) {
				in.Egresses[1].NAT6 = policyroute.NAT{Kind: policyroute.NoNAT}
			}), nil},
		{"another member that leads out", base,
			with(intent(rule("provider")), func(in *policyroute.Intent) {
				in.Egresses[1].Kind, in.Egresses[1].Gateway4 = policyroute.EgressPeer,
					netip.MustParseAddr("10.77.0.9")
			}), everything},
		{"another gateway of the WAN", intent(rule("direct")),
			with(intent(rule("direct")), func(in *policyroute.Intent) {
				in.Egresses[0].Gateway4 = netip.MustParseAddr("192.0.2.1")
			}), nil},
		{"a network that is not known for a moment", base, with(intent(rule("provider")),
			func(in *policyroute.Intent) { in.Ingresses[0].Prefixes = nil }), nil},
		{"another name for the ingress", base, with(intent(rule("provider")),
			func(in *policyroute.Intent) { in.Ingresses[0].Name = "home" }), nil},
		{"another way for all addresses", intent(rule("provider", prefix("0.0.0.0/0"))),
			intent(rule("direct", prefix("0.0.0.0/0"))), everything},
		{"an ingress less", base, with(intent(rule("provider")), func(in *policyroute.Intent) {
			in.Ingresses = nil
		}), append(slices.Clone(everything), "two to one")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := NewReload(tt.old, tt.now)
			var got []string
			for _, f := range flows {
				if r.Moves(netip.MustParseAddr(f.client), netip.MustParseAddr(f.remote),
					f.steered) {
					got = append(got, f.name)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("cut are %q, want %q", got, tt.want)
			}
		})
	}
}

func TestEntered(t *testing.T) {
	present := policyroute.Intent{Ingresses: []policyroute.Ingress{{Iface: "ing0", Present: true}}}
	absent := policyroute.Intent{Ingresses: []policyroute.Ingress{{Iface: "ing0"}}}
	for _, tt := range []struct {
		before, now policyroute.Intent
		want        bool
	}{
		{policyroute.Intent{}, present, true}, {absent, present, true}, {present, present, false},
		{present, absent, false}, {present, policyroute.Intent{}, false},
	} {
		if got := Entered(tt.before, tt.now); got != tt.want {
			t.Errorf("%+v, then %+v: %t", tt.before, tt.now, got)
		}
	}
}

// TestTaken has services appear: connections of clients that were given their ports end.
func TestTaken(t *testing.T) {
	ssh, vpn := policyroute.Listener{Proto: "tcp", Port: 2222},
		policyroute.Listener{Proto: "udp", Port: 51820}
	before := policyroute.Intent{Services: []policyroute.Listener{ssh}}
	now := policyroute.Intent{Services: []policyroute.Listener{ssh, vpn},
		Ingresses: []policyroute.Ingress{{Iface: "zt0",
			Prefixes: []netip.Prefix{netip.MustParsePrefix("10.77.0.0/24")}}}}
	f := Taken(before, now)
	if !slices.Equal(f.Ports, []kernel.Port{{Proto: "udp", Number: 51820}}) ||
		!slices.Equal(f.Clients, now.Ingresses[0].Prefixes) {
		t.Errorf("cut are connections of %v with %v", f.Clients, f.Ports)
	}
	if f := Taken(now, now); len(f.Ports)+len(f.Clients) > 0 {
		t.Errorf("without a new service, cut are connections of %v with %v", f.Clients, f.Ports)
	}
}

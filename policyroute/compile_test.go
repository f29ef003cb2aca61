package policyroute_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ztbridge/policyroute"
	"ztbridge/policyroute/policytest"
)

func TestCompileNamesWhatIsImpossible(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(*policyroute.Intent)
		want  string
	}{
		{"unknown egress", func(in *policyroute.Intent) {
			in.Policies[0].Egress = []string{
				"moon"}
			in.Policies[0].Use = ""
		}, `policy[0]: no egress "moon"`},
		{"use outside of the list", func(in *policyroute.Intent) { in.Policies[0].Use = "direct" },
			`"direct" is not in its list`},
		{"unknown ingress", func(in *policyroute.Intent) {
			in.Policies[0].Ingress = []string{"lan"}
		}, `no ingress "lan"`},
		{"one interface, two ingresses", func(in *policyroute.Intent) {
			in.Ingresses = append(in.Ingresses,
				policyroute.Ingress{Name: "again", Iface: policytest.Ingress0})
		}, "named twice"},
		{"everything behind an ingress", func(in *policyroute.Intent) {
			in.Ingresses[0].Prefixes = policytest.Prefixes("0.0.0.0/0")
		}, "every address"},
		{"a name that a shell would read",
			func(in *policyroute.Intent) { in.Egresses[0].Iface = "tun;reboot" }, `"tun;reboot"`},
		{"SNAT to the other family", func(in *policyroute.Intent) {
			in.Egresses[0].NAT4 = policyroute.NAT{Kind: policyroute.SNAT,
				To: netip.MustParseAddr("fd00::1")}
		}, "SNAT of ipv4"},
		{"present but nameless", func(in *policyroute.Intent) { in.Egresses[0].Iface = "" },
			"without an interface"},
		{"unequal use of one list", func(in *policyroute.Intent) {
			p := in.Policies[0]
			p.Name, p.Use = "policy[1]", "backup"
			in.Policies = append(in.Policies, p)
		}, "another policy with the same list"},
		{"too many egresses", func(in *policyroute.Intent) {
			for i := range 60 {
				in.Egresses = append(in.Egresses, policyroute.Egress{Name: fmt.Sprint("e", i)})
			}
		}, "at most 32"},
		{"too many lists", func(in *policyroute.Intent) {
			for i := range 30 {
				in.Egresses = append(in.Egresses, policyroute.Egress{Name: fmt.Sprint("e", i)})
				in.Policies = append(in.Policies,
					policyroute.Policy{Egress: []string{fmt.Sprint("e", i)}},
					policyroute.Policy{Egress: []string{fmt.Sprint("e", i), "backup"}})
			}
		}, "at most 59"},
		{"peering with nobody", func(in *policyroute.Intent) {
			in.Peerings = []policyroute.Peering{{From: "zerotier", To: "lan"}}
		}, "no such ingress"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in := policytest.Uno()
			test.spoil(&in)
			_, err := policyroute.Compile(in)
			if !errors.Is(err, policyroute.ErrIntent) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want …%s…", err, test.want)
			}
		})
	}
}

// A failover is one route for each family that has a choice, and the DNS that follows it; numbers
// stay.
func TestFailoverTouchesNeitherRulesNorFilter(t *testing.T) {
	before, after := policytest.Many(1000, 4), policytest.Many(1000, 4)
	for _, in := range []*policyroute.Intent{&before, &after} {
		for i := range in.Egresses {
			in.Egresses[i].DNS = nil
		}
	}
	for i := range after.Policies {
		if after.Policies[i].Use == "provider" {
			after.Policies[i].Use = "backup"
		}
	}
	want := []string{
		"ip route replace default dev tunztb1 metric 100 table 23118 proto 90",
		"ip -6 route del default dev tunztb0 metric 100 table 23118 proto 90",
	}
	var got []string
	for _, op := range policyroute.Diff(compile(t, before), compile(t, after)).Ops {
		got = append(got, op.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Losing everything at run time must not renumber anything either.
func TestNumbersDependOnConfigurationAlone(t *testing.T) {
	up, down := policytest.Duo(), policytest.Duo()
	down.Policies[1].Use = ""
	for i := range down.Egresses {
		down.Egresses[i].Present = false
	}
	tables := func(s policyroute.State) map[int]bool {
		m := map[int]bool{}
		for _, r := range s.Routes {
			if r.Type == policyroute.UnreachableRoute {
				m[r.Table] = true
			}
		}
		return m
	}
	a, b := tables(compile(t, up)), tables(compile(t, down))
	if fmt.Sprint(a) != fmt.Sprint(b) {
		t.Errorf("tables %v, then %v", a, b)
	}
}

// A policy with a list of egresses that no other has, before all others, moves none of them.
func TestAnotherListMovesNoOther(t *testing.T) {
	before, after := policytest.Many(1000, 4), policytest.Many(1000, 4)
	after.Policies = slices.Insert(after.Policies, 0, policyroute.Policy{
		Name: "new", From: policytest.Prefixes("10.144.0.1"), Egress: []string{"direct",
			"provider"}, Use: "direct",
	})
	if plan := policyroute.Diff(compile(t, before), compile(t, after)); len(plan.Ops) > 30 {
		t.Errorf("%d operations, the last of them\n%s", len(plan.Ops),
			policyroute.Plan{Ops: plan.Ops[len(plan.Ops)-10:]})
	}
}

// Policies about thousands of destinations fit as well.
func TestManyDestinations(t *testing.T) {
	in := policytest.Uno()
	in.Policies = nil
	for i := range 1000 {
		in.Policies = append(in.Policies, policyroute.Policy{Name: fmt.Sprintf("policy[%d]", i),
			To:     policytest.Prefixes(fmt.Sprintf("%d.%d.0.0/16", 11+i/200, i%200)),
			Egress: [][]string{{"provider"}, {"backup"}, nil}[i%3], Use: []string{"provider",
				"backup", ""}[i%3]})
	}
	s := compile(t, in)
	if err := policyroute.LeakFree(s, in); err != nil {
		t.Error(err)
	}
	dev, _ := policyroute.Journey(s, policytest.Ingress0, netip.MustParseAddr("10.147.17.5"),
		netip.MustParseAddr("11.100.1.1"), "udp", 9)
	if dev != policytest.Tunnel1 { // policy[100]
		t.Errorf("leaves by %q", dev)
	}
}

// Prefixes that nest in each other, a thousand times over.
func TestManyNested(t *testing.T) {
	in := policytest.Uno()
	in.Ingresses[0].Prefixes = policytest.Prefixes("10.0.0.0/8")
	in.Policies = nil
	for i := range 1000 {
		net := fmt.Sprintf("10.%d.%d", i/250, i%250)
		in.Policies = append(in.Policies,
			policyroute.Policy{Name: "inner", From: policytest.Prefixes(net + ".7")},
			policyroute.Policy{Name: "outer", From: policytest.Prefixes(net + ".0/24"),
				Egress: []string{"provider"}, Use: "provider"})
	}
	in.Policies = append(in.Policies, policyroute.Policy{Name: "rest", Egress: []string{"backup"},
		Use: "backup"})
	s := compile(t, in)
	for src, want := range map[string]string{"10.1.9.7": "", "10.1.9.8": policytest.Tunnel0,
		"10.77.0.1": policytest.Tunnel1} {
		if dev, _ := policyroute.Journey(s, policytest.Ingress0, netip.MustParseAddr(src),
			netip.MustParseAddr("8.8.8.8"), "udp", 9); dev != want {
			t.Errorf("%s leaves by %q, want %q", src, dev, want)
		}
	}
}

func TestClosedForwardsNothing(t *testing.T) {
	s := policyroute.Closed([]string{"zt*"})
	s.Normalize()
	for _, iif := range []string{policytest.Ingress0, "ztanother"} {
		if dev, _ := policyroute.Journey(s, iif, netip.MustParseAddr("10.147.17.5"),
			netip.MustParseAddr("8.8.8.8"), "udp", 9); dev != "" {
			t.Errorf("from %s leaves by %s", iif, dev)
		}
	}
	if dev, _ := policyroute.Journey(s, "docker0", netip.MustParseAddr("172.17.0.5"),
		netip.MustParseAddr("8.8.8.8"), "udp", 9); dev == "" {
		t.Error("foreign traffic is stopped")
	}
}

// The resolver of some clouds is among what a wan egress closes, as a single address. Two routes
// for it in one table would replace each other at every pass.
func TestOneRouteForEachDestination(t *testing.T) {
	resolver := netip.MustParseAddr("168.63.129.16")
	s, err := policyroute.Compile(policyroute.Intent{
		Ingresses: []policyroute.Ingress{{Name: "lan", Iface: "lan0", Present: true}},
		Egresses: []policyroute.Egress{{
			Name: "direct", Iface: "eth0", Present: true, Gateway4: netip.MustParseAddr("10.0.0.1"),
			Closed: policytest.Prefixes("168.63.129.16/32", "10.0.0.0/24"), DNS: []netip.Addr{
				resolver},
		}},
		Policies: []policyroute.Policy{{Name: "policy[0]", Egress: []string{"direct"},
			Use: "direct"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var types []policyroute.RouteType
	for _, r := range s.Routes {
		if r.Dst == netip.PrefixFrom(resolver, 32) {
			types = append(types, r.Type)
		}
	}
	if !slices.Equal(types, []policyroute.RouteType{policyroute.Unicast}) {
		t.Errorf("routes to the resolver: %v, want one that leads there", types)
	}
}

// A destination that is every address is no selector to the kernel, which tells of none: a rule
// that had one would be set again at each look.
func TestEveryDestinationIsNoSelector(t *testing.T) {
	s, err := policyroute.Compile(policyroute.Intent{
		Ingresses: []policyroute.Ingress{{Name: "lan", Iface: "lan0", Present: true}},
		Egresses: []policyroute.Egress{{Name: "provider", Iface: "tunztb-p", Present: true,
			IPv6: true}},
		Policies: []policyroute.Policy{{Name: "policy[0]", Egress: []string{"provider"},
			Use: "provider", To: policytest.Prefixes("0.0.0.0/0", "::/0")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range s.Rules {
		if r.To.IsValid() && r.To.Bits() == 0 || r.From.IsValid() && r.From.Bits() == 0 {
			t.Errorf("a rule with a selector that selects nothing: %+v", r)
		}
	}
}

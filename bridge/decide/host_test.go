package decide

import (
	"net/netip"
	"slices"
	"strconv"
	"testing"

	"ztbridge/bridge/bridgetest"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// What a kernel without IPv6, or a device on which it is switched off, cannot hold is not asked of
// it.
func TestPossibleWithoutIPv6(t *testing.T) {
	addrs := []netip.Prefix{netip.MustParsePrefix("10.8.0.2/32"),
		netip.MustParsePrefix("fd08::2/128")}
	state := func() policyroute.State {
		s := policyroute.State{
			Links: []policyroute.Link{
				{Name: "tunztb0", Addrs: append([]netip.Prefix(nil), addrs...)}},
			Sysctls: []policyroute.Sysctl{{Key: "net/ipv4/conf/zt0/forwarding", Value: "1"},
				{Key: "net/ipv6/conf/tunztb0/disable_ipv6", Value: "0"}},
		}
		for _, f := range policyroute.Families {
			s.Rules = append(s.Rules, policyroute.Rule{Family: f})
			s.IPTables = append(s.IPTables, policyroute.Chain{Family: f})
			for _, dev := range []string{"zt0", "tunztb0"} {
				s.Routes = append(s.Routes,
					policyroute.Route{Family: f, Dst: f.Default(), Dev: dev})
			}
			s.Routes = append(s.Routes,
				policyroute.Route{Family: f, Dst: f.Default(), Type: policyroute.UnreachableRoute})
		}
		return s
	}
	links := []kernel.Link{{Name: "zt0", NoIPv6: true}, {Name: "tunztb0", NoIPv6: true}}
	for _, tt := range []struct {
		name                                  string
		host                                  HostState
		rules, routes, sysctls, chains, addrs int
	}{
		{name: "everywhere", host: HostState{IPv6: true}, rules: 2, routes: 6, sysctls: 2,
			chains: 2,
			addrs:  2},
		{name: "switched off, but on ours", host: HostState{IPv6: true, Links: links}, rules: 2,
			routes: 5, sysctls: 2, chains: 2, addrs: 2},
		{name: "no kernel support", host: HostState{Links: links}, rules: 1, routes: 3, sysctls: 1,
			chains: 1, addrs: 1},
	} {
		s := tt.host.Supported(state())
		got := []int{len(s.Rules), len(s.Routes), len(s.Sysctls), len(s.IPTables),
			len(s.Links[0].Addrs)}
		for i, want := range []int{tt.rules, tt.routes, tt.sysctls, tt.chains, tt.addrs} {
			if got[i] != want {
				t.Errorf("%s: %d of %s are left, want %d", tt.name, got[i],
					[]string{"rules", "routes", "sysctls", "chains", "addresses"}[i], want)
			}
		}
	}
}

// A member behind a device without IPv6 is a way out for IPv4 alone.
func TestDesireKnowsWhereIPv6IsSwitchedOff(t *testing.T) {
	cfg := bridgetest.Parse(t, "zerotier: {networks: ["+bridgetest.Network+
		"]}\negress: {home: {zerotier: {via: [10.147.17.9, 'fd00::9']}}}\npolicy: [{egress: home}]\n")
	for _, off := range []bool{false, true} {
		w := HostState(bridgetest.HostState())
		for i := range w.Links {
			w.Links[i].NoIPv6 = off
		}
		if e := Decide(cfg, Snapshot{Host: w,
			ZeroTier: bridgetest.Joined()}).Intent.Egresses[0]; !e.Present || e.IPv6 == off {
			t.Errorf("switched off is %v: the egress is present: %v, carries IPv6: %v", off,
				e.Present, e.IPv6)
		}
	}
}

// A host that is no router stays none: only where it does not forward by itself is that refused.
func TestEdges(t *testing.T) {
	cfg := bridgetest.Parse(t, bridgetest.Uno+"ingress: [lan7]\n")
	w := HostState(bridgetest.HostState())
	w.Links = []kernel.Link{{Name: "eth0", Up: true}, {Name: "br0", Up: true, Bridge: true,
		Forwards4: true}, {Name: "eth8", Up: true}, {Name: "lan7", Up: true}, {Name: "eth9", Up: true,
		Forwards4: true, Forwards6: true}}
	w.Defaults = nil
	for _, name := range []string{"eth0", "br0", "lan7", "eth9"} {
		w.Defaults = append(w.Defaults, kernel.DefaultRoute{Family: policyroute.V4, Iface: name})
	}
	got := Decide(cfg, Snapshot{Host: w, ZeroTier: bridgetest.Joined()}).Intent.Edges
	want := []policyroute.Edge{{Iface: "eth0", Family: policyroute.V4},
		{Iface: "eth0", Family: policyroute.V6},
		{Iface: "br0", Family: policyroute.V6, Switches: true}}
	if !slices.Equal(got, want) {
		t.Errorf("edges %v, want %v", got, want)
	}
}

// A renamed ingress is what it was to the packets that enter by it.
func TestRenamedIngressStaysClosed(t *testing.T) {
	cfg := bridgetest.Parse(t, bridgetest.Uno+"ingress: [lan7]\n")
	before := HostState(bridgetest.HostState())
	subnet := netip.MustParsePrefix("192.168.7.1/24")
	before.Links = append(before.Links,
		kernel.Link{Name: "lan7", Index: 7, Up: true, Addrs: []netip.Prefix{subnet}})
	s := Snapshot{Host: before, ZeroTier: bridgetest.Joined()}
	d := Decide(cfg, s)
	former := Former(nil, d.Intent.Ingresses, s.Host)
	after := before
	after.Links = slices.Clone(before.Links)
	after.Links[len(after.Links)-1].Name = "foo0"
	for _, another := range []bool{false, true} { // another link takes the name
		if another {
			after.Links = append(after.Links, kernel.Link{Name: "lan7", Index: 8, Up: true})
		}
		s.Connected, s.Host = d.Connected, after.WithFormer(former)
		d = Decide(cfg, s)
		former = Former(former, d.Intent.Ingresses, s.Host)
		if !slices.Equal(d.Intent.Stacked, []string{"foo0"}) {
			t.Errorf("closed beside ingresses: %q", d.Intent.Stacked)
		}
		for _, g := range d.Intent.Ingresses {
			if len(g.Elsewhere) > 0 {
				t.Errorf("%s: %v is let pass", g.Name, g.Elsewhere)
			}
		}
	}
	s.Host = before.WithFormer(former)
	if d = Decide(cfg, s); len(d.Intent.Stacked) > 0 {
		t.Errorf("renamed back, closed are %q", d.Intent.Stacked)
	}
}

// A host keeps as many neighbours as a member can invent, and no fewer than its owner wants. In a
// network namespace of its own the number is another's.
func TestNeighboursHaveRoom(t *testing.T) {
	const wanted = policyroute.NeighbourMax
	for _, tt := range []struct {
		name string
		host map[policyroute.Family]int
		want []policyroute.Family
	}{
		{"Linux's own", map[policyroute.Family]int{policyroute.V4: 1024, policyroute.V6: 1024},
			[]policyroute.Family{policyroute.V4, policyroute.V6}},
		{"raised for IPv4", map[policyroute.Family]int{policyroute.V4: 2 * wanted,
			policyroute.V6: 1024}, []policyroute.Family{policyroute.V6}},
		{"a namespace", nil, nil},
	} {
		w := HostState(bridgetest.HostState())
		w.Neighbours = tt.host
		d := Decide(bridgetest.Parse(t, bridgetest.Uno),
			Snapshot{Host: w, ZeroTier: bridgetest.Joined()})
		state, err := policyroute.Compile(d.Intent)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range policyroute.Families {
			raised := slices.Contains(state.Sysctls, policyroute.Sysctl{
				Key: policyroute.NeighbourKey(f), Value: strconv.Itoa(wanted)})
			if raised != slices.Contains(tt.want, f) {
				t.Errorf("%s, %s: raised is %v", tt.name, f, raised)
			}
		}
	}
}

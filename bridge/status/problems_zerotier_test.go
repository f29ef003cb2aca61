package status

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ztbridge/bridge/bridgetest"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/health"
	"ztbridge/bridge/openvpn/client"
	"ztbridge/bridge/zerotier"
	"ztbridge/policyroute/kernel"
)

// What is in use twice is told as soon as it is: by a LAN, a tunnel, the endpoint, or behind a
// member. The network's own interface, and a default route, overlap nothing.
func TestNetworkOverlaps(t *testing.T) {
	for _, tt := range []struct {
		name, network, via string
		lan, tunnel, want  string
	}{
		{"nothing", "10.99.0.0/16", "", "192.168.1.5/24", "10.8.0.2/24", ""},
		{"the LAN", "192.168.0.0/16", "", "192.168.1.5/24", "",
			"192.168.0.0/16 and 192.168.1.0/24"},
		{"the LAN, from within", "192.168.1.128/25", "", "192.168.1.5/24", "",
			"192.168.1.128/25 and 192.168.1.0/24"},
		{"the LAN, behind a member", "10.99.0.0/16", "192.168.1.0/24", "192.168.1.5/24", "",
			"192.168.1.0/24 and 192.168.1.0/24"},
		{"a tunnel", "10.0.0.0/8", "", "", "10.8.0.2/24", "10.0.0.0/8 and 10.8.0.0/24 (tunnel"},
		{"the endpoint", "10.83.0.0/16", "", "", "", "the endpoint's clients"},
		{"IPv6", "fd99::/64", "", "fd99::7/48", "", "fd99::/64 and fd99::/48"},
		{"a default route", "10.99.0.0/16", "0.0.0.0/0", "192.168.1.5/24", "10.8.0.2/24", ""},
	} {
		in := well(t)
		in.Snapshot.Host.Links = []kernel.Link{{Name: "lo", Addrs: prefixes("127.0.0.1/8")},
			{Name: bridgetest.Iface(), Addrs: prefixes(tt.network)},
			{Name: "eth0", Addrs: prefixes(tt.lan)}}
		in.Snapshot.Tunnels = nil
		if tt.tunnel != "" {
			in.Snapshot.Tunnels = map[string]client.Status{"provider": bridgetest.Up(tt.tunnel)}
		}
		n := &in.Snapshot.ZeroTier.Networks[0]
		n.Prefixes, n.Routes = prefixes(tt.network), nil
		for _, target := range prefixes(tt.via) {
			n.Routes = append(n.Routes, zerotier.Route{Target: target,
				Via: netip.MustParseAddr("10.99.0.9")})
		}
		var got string
		for _, p := range memberProblems(in.Config, in.Snapshot, bridgetest.Network, *n) {
			if p.Code == health.NetworkOverlap {
				got = p.Message
			}
		}
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func prefixes(text string) []netip.Prefix {
	if text == "" {
		return nil
	}
	return []netip.Prefix{netip.MustParsePrefix(text)}
}

// What members must have a route for is what the rules send for all of them: everything, or certain
// destinations. Single members may be there for other reasons.
func TestDestinations(t *testing.T) {
	const head = "zerotier: {networks: [" + bridgetest.Network +
		"]}\negress: {d: {wan: {}}}\npolicy:\n"
	const all = "0.0.0.0/0, ::/0"
	st := zerotier.NetworkStatus{Prefixes: prefixes("10.147.17.0/24")}
	for rule, want := range map[string]string{
		"{from: [zerotier], egress: [d]}":                      all,
		"{egress: [d]}":                                        all,
		"{from: [" + bridgetest.Network + "], egress: [d]}":    all,
		"{from: [zerotier], choose: [d]}":                      all,
		"{from: [10.147.17.0/24], egress: [d]}":                all,
		"{from: [10.0.0.0/8], egress: [d]}":                    all,
		"{from: [zerotier], to: 198.51.100.0/24, egress: [d]}": "198.51.100.0/24",
		"{from: [10.147.17.9], egress: [d]}":                   "",
		"{from: [10.147.17.0/25], egress: [d]}":                "",
		"{from: [zerotier], egress: block}":                    "",
	} {
		cfg := bridgetest.Parse(t, head+"  - "+rule+"\n")
		if got := prefixWords(destinations(cfg, bridgetest.Network, st)); got != want {
			t.Errorf("%s: %s, want %s", rule, got, want)
		}
	}
}

// A managed route by the box into a network of its own is no overlap: it shows members the way
// there. Where nothing lets them in, that is said, and the line that does.
func TestRouteIntoLAN(t *testing.T) {
	const head = "zerotier: {networks: [" + bridgetest.Network +
		"]}\negress: {d: {wan: {}}}\npolicy: [{from: [zerotier], egress: [d]}]\n"
	for _, tt := range []struct {
		name, peering, target, via string
		code                       health.Code
	}{
		{"nothing lets them in", "", "192.168.1.0/24", "10.147.17.5", health.Closed},
		{"let in", "peering: [{from: zerotier, to: 192.168.1.0/24}]\n", "192.168.1.0/24",
			"10.147.17.5", ""},
		{"a part is let in", "peering: [{from: zerotier, to: 192.168.1.7}]\n", "192.168.1.0/24",
			"10.147.17.5", ""},
		{"let in elsewhere", "peering: [{from: zerotier, to: 192.168.9.0/24}]\n",
			"192.168.1.0/24", "10.147.17.5", health.Closed},
		{"no network of the box", "", "192.168.7.0/24", "10.147.17.5", ""},
		{"by another member", "", "192.168.1.0/24", "10.147.17.6", health.NetworkOverlap},
	} {
		in := well(t)
		in.Config = bridgetest.Parse(t, head+tt.peering)
		in.Snapshot.Host.Links = []kernel.Link{
			{Name: bridgetest.Iface(), Addrs: prefixes("10.147.17.5/24")},
			{Name: "eth0", Addrs: prefixes("192.168.1.5/24")}}
		in.Snapshot.Tunnels = nil
		n := &in.Snapshot.ZeroTier.Networks[0]
		n.Addrs, n.Prefixes = prefixes("10.147.17.5/24"), prefixes("10.147.17.0/24")
		n.Routes = []zerotier.Route{{Target: netip.MustParsePrefix("0.0.0.0/0"),
			Via: netip.MustParseAddr("10.147.17.5")}, {Target: netip.MustParsePrefix(tt.target),
			Via: netip.MustParseAddr(tt.via)}}
		var got health.Code
		for _, p := range memberProblems(in.Config, in.Snapshot, bridgetest.Network, *n) {
			got += p.Code
		}
		if got != tt.code {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.code)
		}
	}
}

// To be joining a network is a warning until it takes too long, and it never lacks words.
func TestJoiningCondition(t *testing.T) {
	cfg := bridgetest.Parse(t, bridgetest.Uno)
	for _, waiting := range []bool{true, false} {
		s := decide.Snapshot{ZeroTier: bridgetest.Joined()}
		s.ZeroTier.Service.State = zerotier.ServiceOK
		n := &s.ZeroTier.Networks[0]
		n.State, n.Waiting, n.Cause = zerotier.NetworkJoining, waiting, "waiting for the controller"
		want := map[bool]health.Severity{true: health.Warning, false: health.Error}[waiting]
		var got []health.Problem
		for _, p := range zerotierProblems(cfg, s) {
			got = append(got, p.Fill())
		}
		joining := []health.Problem{{Code: health.NetworkJoining, Subject: bridgetest.Network,
			Severity: want, Message: n.Cause}}
		if !slices.Equal(got, joining) {
			t.Errorf("waiting %t: %+v, want %+v", waiting, got, joining)
		}
	}
}

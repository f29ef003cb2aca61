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

// A network that serves single members alone, or certain destinations, need not be a default route.
func TestServesMembers(t *testing.T) {
	const head = "zerotier: {networks: [" + bridgetest.Network +
		"]}\negress: {d: {wan: {}}}\npolicy:\n"
	for rule, want := range map[string]bool{
		"{from: [zerotier], egress: [d]}":                      true,
		"{egress: [d]}":                                        true,
		"{from: [" + bridgetest.Network + "], egress: [d]}":    true,
		"{from: [zerotier], to: 198.51.100.0/24, egress: [d]}": false,
		"{from: [10.147.17.9], egress: [d]}":                   false,
		"{from: [zerotier], egress: block}":                    false,
	} {
		cfg := bridgetest.Parse(t, head+"  - "+rule+"\n")
		if got := servesMembers(cfg, bridgetest.Network); got != want {
			t.Errorf("%s: %t", rule, got)
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

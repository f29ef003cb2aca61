package decide

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/bridgetest"
	"ztbridge/bridge/openvpn/client"
	"ztbridge/bridge/openvpn/profile"
	"ztbridge/bridge/probe"
	"ztbridge/bridge/zerotier"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// Only a tunnel that is connected, and whose device exists, ever carries traffic.
func TestDesireFollowsTheTunnels(t *testing.T) {
	cfg := bridgetest.Parse(t, bridgetest.Uno)
	both := HostState(bridgetest.HostState("provider", "backup"))
	tests := []struct {
		name    string
		host    HostState
		tunnels map[string]client.Status
		probes  map[string]probe.Status
		stop    bool
		want    string
	}{
		{"at the start", both, nil, nil, false, ""},
		{"connected, not probed yet", both,
			map[string]client.Status{"provider": bridgetest.Up("10.8.0.2/24")}, nil, false,
			"provider"},
		{"only the second", both, map[string]client.Status{"backup": bridgetest.Up("10.9.0.2/24")},
			nil,
			false, "backup"},
		{"the first does not answer", both,
			map[string]client.Status{"provider": bridgetest.Up("10.8.0.2/24"),
				"backup": bridgetest.Up("10.9.0.2/24")},
			map[string]probe.Status{"provider": {Grade: probe.Degraded},
				"backup": {Grade: probe.Fresh}}, false, "backup"},
		{"its device is gone", HostState(bridgetest.HostState("backup")),
			map[string]client.Status{"provider": bridgetest.Up("10.8.0.2/24")}, nil, false, ""},
		{"reconnecting", both, map[string]client.Status{
			"provider": {State: client.StateReconnecting}}, nil, false, ""},
		{"stopping", both, map[string]client.Status{"provider": bridgetest.Up("10.8.0.2/24")}, nil,
			true, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := Decide(cfg, Snapshot{
				Now: time.Now(), Host: tt.host, ZeroTier: bridgetest.Joined(), Tunnels: tt.tunnels,
				Probes: tt.probes, Stopping: tt.stop,
			})
			got := d.Intent.Policies[len(d.Intent.Policies)-1]
			if got.Use != tt.want {
				t.Errorf("uses %q, want %q", got.Use, tt.want)
			}
			state, err := policyroute.Compile(d.Intent)
			if err != nil {
				t.Fatal(err)
			}
			if err := policyroute.LeakFree(state, d.Intent); err != nil {
				t.Error(err)
			}
		})
	}
}

// Rules and filters must stand before the interface does, so an ingress is known by name from the
// first moment.
func TestDesireKnowsTheIngressBeforeItExists(t *testing.T) {
	cfg := bridgetest.Parse(t, bridgetest.Uno)
	d := Decide(cfg, Snapshot{Now: time.Now()})
	if len(d.Intent.Ingresses) == 0 || d.Intent.Ingresses[0].Iface != bridgetest.Iface() ||
		d.Intent.Ingresses[0].Present {
		t.Errorf("ingresses %+v", d.Intent.Ingresses)
	}
}

// What a member sends is never sent back by way of that member.
func TestDesireSplitHorizon(t *testing.T) {
	cfg := bridgetest.Parse(t, `
zerotier: {networks: [`+bridgetest.Network+`]}
egress:
  home: {zerotier: {via: 10.147.17.2}}
  provider: {openvpn: {profile: provider.ovpn}}
policy:
  - {from: zerotier, egress: [home, provider]}
`)
	d := Decide(cfg, Snapshot{
		Now: time.Now(), Host: HostState(bridgetest.HostState("provider")),
		ZeroTier: bridgetest.Joined(),
		Tunnels:  map[string]client.Status{"provider": bridgetest.Up("10.8.0.2/24")},
		Probes: map[string]probe.Status{"home": {Grade: probe.Stable},
			"provider": {Grade: probe.Stable}},
	})
	hop := netip.MustParsePrefix("10.147.17.2/32")
	var forHop, forAll string
	for _, p := range d.Intent.Policies {
		if slices.Contains(p.From, hop) {
			forHop = p.Use
			if slices.Contains(p.Egress, "home") {
				t.Errorf("the next hop's own packets may go back to it: %+v", p)
			}
		} else {
			forAll = p.Use
		}
	}
	if forHop != "provider" || forAll != "home" {
		t.Errorf("the next hop uses %q, others use %q; want provider and home", forHop, forAll)
	}
}

// A network on one of the box's links is reached there, whatever the policy says about the rest.
func TestDesirePeeringWithTheLAN(t *testing.T) {
	cfg := bridgetest.Parse(t, bridgetest.Uno+`
peering:
  - {from: zerotier, to: 192.168.1.0/24}
`)
	d := Decide(cfg, Snapshot{Now: time.Now(), Host: HostState(bridgetest.HostState()),
		ZeroTier: bridgetest.Joined()})
	first := d.Intent.Policies[len(d.PathClients)]
	if first.Use == "" || !slices.Equal(first.To,
		[]netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")}) {
		t.Errorf("first policy %+v", first)
	}
}

func TestTunnelDeviceNames(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{"a", "provider", "provider-two", "provider-three", "provider-2"} {
		dev := TunnelDevice(name)
		if len(dev) > maxIfaceName || dev[:len(policyroute.TunPrefix)] != policyroute.TunPrefix {
			t.Errorf("%s: %q is no name for a device of ours", name, dev)
		}
		if other, ok := seen[dev]; ok {
			t.Errorf("%s and %s share %s", name, other, dev)
		}
		seen[dev] = name
	}
}

// A network numbers its members out of the WAN's prefix by a managed route, which the service does
// not set on this box; other public routes of the network are none of its business.
func TestPublicMembersAreKnown(t *testing.T) {
	cfg := bridgetest.Parse(t, "zerotier: {networks: ["+bridgetest.Network+
		"]}\negress: {direct: {wan: {ipv6: {prefix: \"2001:db8:1:2:8000::/80\"}}}}\npolicy: [{egress: [direct]}]\n")
	s := Snapshot{Host: HostState(bridgetest.HostState()), ZeroTier: bridgetest.Joined()}
	route := func(target, via string) zerotier.Route {
		r := zerotier.Route{Target: netip.MustParsePrefix(target)}
		if via != "" {
			r.Via = netip.MustParseAddr(via)
		}
		return r
	}
	s.ZeroTier.Networks[0].Routes = []zerotier.Route{
		route("10.147.17.0/24", ""), route("2001:db8:1:2:8000:1::/96",
			""), route("2001:db8:1:2:8000::/80", "2001:db8::1"),
		route("2001:db8:1:2::/64", ""), route("::/0", "fd99::1"), route("1.1.1.1/32", ""),
	}
	in := Decide(cfg, s).Intent.Ingresses[0]
	public := []netip.Prefix{netip.MustParsePrefix("2001:db8:1:2:8000:1::/96")}
	if !slices.Equal(in.Unrouted, public) || !slices.Equal(in.Prefixes,
		append([]netip.Prefix{netip.MustParsePrefix("10.147.17.0/24")}, public...)) {
		t.Errorf("prefixes %v, of them unrouted %v", in.Prefixes, in.Unrouted)
	}
}

// By a way out of the box's own, clients reach the Internet, and not what only the box can reach
// because of where it stands.
func TestDesireClosesInnerNetworks(t *testing.T) {
	w := HostState(bridgetest.HostState())
	w.Links = append(w.Links,
		kernel.Link{Name: "eth1", Up: true, Addrs: []netip.Prefix{
			netip.MustParsePrefix("5.5.5.9/24"), netip.MustParsePrefix("2a00:1:1::9/64")}},
		kernel.Link{Name: "lo", Up: true, Addrs: []netip.Prefix{
			netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128")}})
	in := Decide(bridgetest.Parse(t, "zerotier: {networks: ["+bridgetest.Network+
		"]}\negress: {direct: {wan: {}}}\npolicy: [{egress: [direct]}]\n"),
		Snapshot{Host: w, ZeroTier: bridgetest.Joined()}).Intent
	for prefix, want := range map[string]bool{"10.147.17.0/24": true, "100.100.100.200/32": true,
		"168.63.129.16/32": true, "169.254.0.0/16": true, "192.168.1.0/24": true,
		"2a00:1:1::/64": true, "fd00:ec2::254/128": true, "fd20:ce::254/128": true,
		"172.20.0.0/16": true, "192.0.0.192/32": true, "203.0.113.0/24": true,
		"8.8.8.8/32": false, "5.5.5.0/24": false, "2a00:1:2::/64": false} {
		closed := slices.ContainsFunc(in.Egresses[0].Closed,
			func(p netip.Prefix) bool { return Covers(p, netip.MustParsePrefix(prefix)) })
		if closed != want {
			t.Errorf("%s closed: %v, want %v", prefix, closed, want)
		}
	}
}

// Nothing is sent where its IP version is not spoken: clients' IPv4 would be lost, or leave with an
// address of another link.
func TestDesireKnowsWhatAnEgressCarries(t *testing.T) {
	w := HostState(bridgetest.HostState("provider"))
	w.Defaults = slices.DeleteFunc(slices.Clone(w.Defaults),
		func(r kernel.DefaultRoute) bool { return r.Family == policyroute.V4 })
	w.Defaults = append(w.Defaults, kernel.DefaultRoute{Family: policyroute.V6, Iface: "wan0",
		Gateway: netip.MustParseAddr("fe80::1")})
	in := Decide(bridgetest.Parse(t, "zerotier: {networks: ["+bridgetest.Network+
		"]}\negress: {provider: {openvpn: {profile: provider.ovpn}}, direct: {wan: {}}}\n"),
		Snapshot{Host: w, ZeroTier: bridgetest.Joined(),
			Tunnels: map[string]client.Status{"provider": bridgetest.Up("fd08::2/64")}}).Intent
	for _, e := range in.Egresses {
		if !e.NoIPv4 || !e.IPv6 {
			t.Errorf("%s carries IPv4: %v, IPv6: %v; want IPv6 alone", e.Name, !e.NoIPv4, e.IPv6)
		}
	}
}

// A link with one receiver needs no gateway; one with many leads nowhere without.
func TestDesireSendsByLinksWithoutRoute(t *testing.T) {
	w := HostState(bridgetest.HostState())
	addr := []netip.Prefix{netip.MustParsePrefix("10.99.0.2/32")}
	w.Links = append(w.Links, kernel.Link{Name: "wg0", Index: 7, Up: true, PointToPoint: true,
		Addrs: addr}, kernel.Link{Name: "eth1", Index: 8, Up: true, Addrs: addr},
		kernel.Link{Name: "ppp0", Index: 9, Up: true, PointToPoint: true})
	in := Decide(bridgetest.Parse(t, "zerotier: {networks: ["+bridgetest.Network+
		"]}\negress: {wg0: {wan: {interface: wg0}}, eth1: {wan: {interface: eth1}}, ppp0: {wan: {interface: ppp0}}}\npolicy: [{egress: [wg0, eth1, ppp0]}]\n"),
		Snapshot{Host: w, ZeroTier: bridgetest.Joined()}).Intent
	for _, e := range in.Egresses {
		if want := e.Name != "wg0"; e.NoIPv4 != want {
			t.Errorf("%s carries IPv4: %v, want %v", e.Name, !e.NoIPv4, !want)
		}
	}
}

// The endpoint's clients by TCP are kept to one segment, too.
func TestDesireKeepsListenersPacketsWhole(t *testing.T) {
	cfg := bridgetest.Parse(t,
		"endpoint: {address: vpn.example.org, listen: [udp/1194, tcp/443]}\negress: {direct: {wan: {}}}\npolicy: [{egress: [direct]}]\n")
	listeners, err := ListenersOf(cfg)
	if err != nil {
		t.Fatal(err)
	}
	carries := map[string]int{}
	for _, g := range Decide(cfg, Snapshot{Host: HostState(bridgetest.HostState()),
		Listeners: listeners}).Intent.Ingresses {
		if g.Iface != PathDevice {
			carries[g.Name] = g.Carries
		}
	}
	want := map[string]int{ListenerDevice(cfg.Endpoint.Listen[0]): 0,
		ListenerDevice(cfg.Endpoint.Listen[1]): policyroute.StreamPacket}
	if !maps.Equal(carries, want) {
		t.Errorf("got %v, want %v", carries, want)
	}
}

// TCP is kept to what the way carries in one piece: one ZeroTier packet for members, one segment
// for a tunnel over TCP, what probes found for everybody, and no less than Ethernet's for a LAN.
func TestDesireKeepsPacketsWhole(t *testing.T) {
	lan := "ingress: [{interface: lan0, prefixes: [10.77.0.0/24]}]\negress: {provider: {openvpn: {profile: provider.ovpn}}}\n"
	tests := []struct {
		name, config string
		tunnel       profile.Proto
		probed       int
		want         int // segment
	}{
		{"members", bridgetest.Uno, profile.UDP, 0, 1354},
		{"members, narrow path", bridgetest.Uno, profile.UDP, 1300, 1260},
		{"LAN", lan, profile.UDP, 0, 1460},
		{"LAN, narrow path", lan, profile.UDP, 1400, 1360},
		{"LAN, tunnel over TCP", lan, profile.TCP, 0, 1354},
		{"LAN, tunnel over TCP, narrow path", lan, profile.TCP, 1300, 1260},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tunnel := bridgetest.Up("10.8.0.2/24")
			tunnel.Remote.Proto = tt.tunnel
			d := Decide(bridgetest.Parse(t, tt.config), Snapshot{
				Now: time.Now(), Host: HostState(bridgetest.HostState("provider", "backup")),
				ZeroTier: bridgetest.Joined(),
				Tunnels:  map[string]client.Status{"provider": tunnel},
				Probes:   map[string]probe.Status{"provider": {Grade: probe.Fresh, MTU: tt.probed}},
			})
			state, err := policyroute.Compile(d.Intent)
			if err != nil {
				t.Fatal(err)
			}
			for _, direction := range []string{"iifname", "oifname"} {
				want := fmt.Sprintf(
					"%s %q meta nfproto ipv4 tcp flags & (syn|rst) == syn tcp option maxseg size > %d",
					direction, TunnelDevice("provider"), tt.want)
				if !strings.Contains(state.String(), want) {
					t.Errorf("the filter lacks %q:\n%s", want, state)
				}
			}
		})
	}
}

// What lies behind an interface beyond its subnets is reached there beside them.
func TestDesireAddsPrefixesToTheSubnets(t *testing.T) {
	cfg := bridgetest.Parse(t,
		"ingress: [{interface: lan0, prefixes: [10.78.0.0/16, 10.77.0.0/24]}]\negress: {direct: {wan: {}}}\npolicy: [{egress: [direct]}]\n")
	w := HostState(bridgetest.HostState())
	behind := func() []netip.Prefix {
		return Decide(cfg, Snapshot{Host: w}).Intent.Ingresses[0].Prefixes
	}
	subnet, further := netip.MustParsePrefix("10.77.0.0/24"), netip.MustParsePrefix("10.78.0.0/16")
	if got := behind(); !slices.Equal(got, []netip.Prefix{further, subnet}) {
		t.Errorf("without the interface: %v", got)
	}
	w.Links = append(w.Links, kernel.Link{Name: "lan0", Index: 4, Up: true, Addrs: []netip.Prefix{
		netip.MustParsePrefix("10.77.0.1/24"), netip.MustParsePrefix(
			"2001:db8:7::1/64"), netip.MustParsePrefix("fe80::1/64")}})
	if got := behind(); !slices.Equal(got,
		[]netip.Prefix{subnet, netip.MustParsePrefix("2001:db8:7::/64"), further}) {
		t.Errorf("with the interface: %v", got)
	}
}

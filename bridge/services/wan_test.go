package services

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ztbridge/bridge/bridgetest"
	"ztbridge/bridge/decide"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// On a cloud the WAN's address is alone in its subnet, and the gateway outside of it: a provider
// that may assign either gets the host's own traffic.
func TestProvidersMayNotAssignWhatIsTaken(t *testing.T) {
	w := decide.HostState{
		Links: []kernel.Link{
			{Name: "eth0", Addrs: []netip.Prefix{
				netip.MustParsePrefix("203.0.113.7/32"), netip.MustParsePrefix(
					"2001:db8::7/128"), netip.MustParsePrefix("192.168.1.5/24")}},
			{Name: decide.TunnelDevice("provider"),
				Addrs: []netip.Prefix{netip.MustParsePrefix("10.8.0.2/32")}},
		},
		Defaults: []kernel.DefaultRoute{
			{Family: policyroute.V4, Iface: "eth0", Gateway: netip.MustParseAddr("172.31.1.1")},
			{Family: policyroute.V6, Iface: "eth0", Gateway: netip.MustParseAddr("fe80::1")},
			{Family: policyroute.V6, Iface: "ppp0"},
		},
	}
	cfg := bridgetest.Parse(t,
		"endpoint: {address: vpn.example.org, listen: [udp/1194, tcp/443]}\negress: {direct: {wan: {}}}\npolicy: [{egress: [direct]}]\n")
	listeners, err := decide.ListenersOf(cfg)
	if err != nil {
		t.Fatal(err)
	}
	client, err := listeners[1].Pool.Client(listeners[1].Pool.LastHost())
	if err != nil {
		t.Fatal(err)
	}
	d := &Set{}
	d.current.Store(newServices())
	d.Observe(cfg, decide.Decide(cfg, decide.Snapshot{Host: w, Listeners: listeners}).Intent, w)
	for addr, want := range map[netip.Addr]bool{
		netip.MustParseAddr("203.0.113.7"): true, netip.MustParseAddr("203.0.113.8"): false,
		netip.MustParseAddr("2001:db8::7"): true, netip.MustParseAddr("2001:db8::8"): false,
		netip.MustParseAddr("192.168.1.77"): true, netip.MustParseAddr(
			"172.31.1.1"): true, netip.MustParseAddr("172.31.1.2"): false,
		client[0]: true, client[1]: true, netip.MustParseAddr("10.8.0.2"): false,
	} {
		if got := slices.ContainsFunc(d.taken(),
			func(p netip.Prefix) bool { return p.Contains(addr) }); got != want {
			t.Errorf("%s is taken: %v, want %v", addr, got, want)
		}
	}
}

// A client that sends only this through the tunnel gets a route to all that peering lets it reach,
// or be reached from.
func TestClientsGetRoutesToTheirPeers(t *testing.T) {
	const head = "zerotier: {networks: [" + bridgetest.Network +
		"]}\nendpoint: {address: vpn.example.org, listen: [udp/1194, tcp/443]}\n" +
		"egress: {direct: {wan: {}}}\npolicy: [{egress: [direct]}]\n"
	const network, pools = "10.147.17.0/24",
		"10.83.64.0/22 fd5a:5442:4947::/66 10.83.68.0/22 fd5a:5442:4947:0:4000::/66"
	for peering, want := range map[string]string{
		"": network,
		"peering: [{from: zerotier, to: endpoint}]":                                       network,
		"peering: [{from: endpoint, to: zerotier}, {from: zerotier, to: endpoint}]":       network,
		"peering: [{from: endpoint, to: endpoint}]":                                       pools,
		"peering: [{from: zerotier, to: 192.168.1.0/24}]":                                 "",
		"peering: [{from: endpoint, to: 192.168.1.0/24}, {from: endpoint, to: zerotier}]": "192.168.1.0/24 " + network,
	} {
		cfg := bridgetest.Parse(t, head+peering+"\n")
		listeners, err := decide.ListenersOf(cfg)
		if err != nil {
			t.Fatal(err)
		}
		d := New(t.Context(), Env{}, User{}, NewTrigger())
		d.Observe(cfg, decide.Decide(cfg,
			decide.Snapshot{Host: decide.HostState(bridgetest.HostState()),
				ZeroTier:  bridgetest.Joined(),
				Listeners: listeners}).Intent, decide.HostState(bridgetest.HostState()))
		e := Endpoint{d: d}
		if got := strings.Trim(fmt.Sprint(e.networks()), "[]"); got != want {
			t.Errorf("%q: routes to %q, want %q", peering, got, want)
		}
	}
}

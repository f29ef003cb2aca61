package e2e

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"ztbridge/bridge/lab"
)

// impatient lets a client find out after seconds that its server was killed, which says nothing to
// its clients by UDP, and not after the half minute that the endpoint asks for.
var impatient = []string{"--pull-filter", "ignore", "ping-restart", "--ping-restart", "3"}

// startGuestTraffic is startTraffic with the endpoint's clients in place of the lab's.
func startGuestTraffic(t *testing.T, top *lab.Topology, guests ...*guest) *traffic {
	t.Helper()
	tr := &traffic{t: t, clients: map[string]*lab.Stream{}, host: map[string]*lab.Stream{}}
	for _, g := range guests {
		for _, s := range []struct {
			kind lab.Kind
			to   netip.AddrPort
			rate int
		}{
			{lab.UDP, targetOf(lab.ClientTarget4), 200}, {lab.UDP,
				targetOf(lab.ClientTarget6), 100},
			{lab.TCP, targetOf(lab.ClientTarget4), 20},
			{lab.DNS, netip.AddrPortFrom(lab.PublicResolver4, 53), 10},
		} {
			tr.clients[fmt.Sprintf("%s: %s to %s", g.name, s.kind, s.to)] = g.stream(s.kind, s.to,
				s.rate, top.Marker)
		}
	}
	var err error
	tr.host["the box's own ping"], err = top.BoxStream(lab.Ping, lab.IPv4, 20)
	must(t, err)
	tr.host["the box's own UDP6"], err = top.BoxStream(lab.UDP, lab.IPv6, 20)
	must(t, err)
	tr.host["a session into the box"], err = top.SessionIntoBox(lab.IPv4, 20)
	must(t, err)
	return tr
}

// TestEndpointNeverLeaks mistreats the box while clients of both listeners talk, and looks at its
// WAN.
func TestEndpointNeverLeaks(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{})
	provider := top.Providers[0]
	b := newBox(t, top.Box)
	b.write("provider.ovpn", provider.Config())
	b.write("ztbridge.yaml", duoConfig)
	ctx := t.Context()
	untouched, err := top.Box.Snapshot(ctx)
	must(t, err)
	leaks := watchGuests(t, top)
	b.start()
	b.awaitEgress("provider")
	phone := newGuest(t, top, b, "phone", "udp", impatient...)
	tablet := newGuest(t, top, b, "tablet", "tcp", impatient...)
	tr := startGuestTraffic(t, top, phone, tablet)
	tr.awaitFlow("start")

	tr.mistreat(top.Box, slices.Concat(mistreatments(t, b, provider, duoConfig), []mistreatment{
		{"listeners' openvpn kill -9",
			func() { b.kill("endpoint/udp1194"); b.kill("endpoint/tcp443") }},
		{"listeners' TUNs deleted",
			func() { b.sh("ip link del tunztb.udp1194; ip link del tunztb.tcp443") }},
		{"listeners' TUNs down", func() {
			b.sh("ip link set tunztb.udp1194 down; ip link set tunztb.tcp443 down")
		}},
		{"our rules deleted", func() {
			b.sh("ip rule flush protocol 90; ip -6 rule flush protocol 90")
		}},
		{"server killed", func() {
			provider.Kill()
			b.awaitEgress("")
			must(t, provider.Start(ctx))
		}},
		{"the guard alone, as at boot", func() {
			b.stop()
			b.sh("nft flush ruleset; ip rule flush protocol 90; ip -6 rule flush protocol 90")
			b.mustRun("guard")
			time.Sleep(withoutDaemon)
			b.start()
		}},
	}))

	b.stop()
	stopAll(slices.Collect(maps.Values(tr.clients))...)
	tr.stop()
	// The provider's resolver sees its customers by their addresses inside, which change on the
	// way.
	pools := []netip.Prefix{netip.MustParsePrefix("10.8.0.0/15"),
		netip.MustParsePrefix("fd08::/15")}
	for name, s := range tr.clients {
		for seen := range s.Report().Egresses() {
			inside := slices.ContainsFunc(pools,
				func(p netip.Prefix) bool { return p.Contains(seen) })
			if seen != provider.Public4[0] && seen != provider.Public6[0] && !inside {
				t.Errorf("%s was seen from %s, which is not the provider's", name, seen)
			}
		}
	}
	noLeak(t, leaks)
	b.sh("iptables -P FORWARD ACCEPT; ip6tables -P FORWARD ACCEPT")
	b.mustRun("down")
	after, err := top.Box.Snapshot(ctx)
	must(t, err)
	if diff := after.Diff(untouched); diff != "" {
		t.Errorf("after `down` the box is not as it was:\n%s", diff)
	}
}

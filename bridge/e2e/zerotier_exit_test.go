package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
	"ztbridge/bridge/lab/ztlab"
	"ztbridge/policyroute/netlab"
)

// zerotierExitConfig sends one member by the box's own WAN and all others by the provider.
const zerotierExitConfig = `
egress:
  provider: {openvpn: {profile: provider.ovpn}}
  direct: {wan: %s}
policy:
  - {from: [%s], egress: [direct]}
  - {from: [zerotier], egress: [provider]}
probe: {targets: [192.0.2.10], hold_down: 1s}
`

// TestZeroTierExitNode: of two members, one leaves by the box's own WAN and one by the provider,
// with all of their addresses: managed ones, RFC 4193 and 6PLANE. Then the WAN translates to a
// fixed address.
func TestZeroTierExitNode(t *testing.T) {
	t.Parallel()
	m := newMesh(t, lab.Options{RemoteClient: true},
		ztlab.NetworkConfig{RFC4193: true, SixPlane: true})
	top, provider := m.lab, m.lab.Providers[0]
	site, err := top.AddSite("second")
	must(t, err)
	node := m.node(top.Box, ztlab.Box4, ztlab.Box6)
	firstNode := m.node(top.Client, ztlab.Client4, ztlab.Client6)
	secondNode := m.node(site.NS, netip.MustParseAddr("10.99.0.21"),
		netip.MustParseAddr("fd99::21"))
	m.join(node, false)
	first, second := m.joinAsClient(firstNode), m.joinAsClient(secondNode)

	// Nothing that names a member, and nothing of the second one, may cross the WAN.
	secondMarker := lab.NewMarker()
	matches := []netlab.Match{netlab.Carrying(secondMarker)}
	for _, a := range first.Addrs {
		matches = append(matches, netlab.Within(a.Masked()))
	}
	leaks, err := top.Router.Capture(top.WANSegment.Port(top.Box, lab.WANIface),
		netlab.Any(matches...))
	must(t, err)

	b := newBox(t, top.Box)
	b.write("provider.ovpn", provider.Config())
	b.write("ztbridge.yaml", m.zerotier(node)+fmt.Sprintf(zerotierExitConfig, "{}",
		selectors(first)))
	b.start()
	b.await("both egresses", func(st api.Status) bool {
		return len(st.Policies) == 2 && st.Policies[0].Egress == "direct" &&
			st.Policies[1].Egress == "provider"
	})

	talk := func(ns *netlab.Namespace, member ztlab.Membership, marker string, want4,
		want6 netip.Addr) func() {
		streams := map[string]*lab.Stream{}
		for _, a := range member.Addrs {
			target := lab.ClientTarget4
			if a.Addr().Is6() {
				target = lab.ClientTarget6
			}
			streams[a.String()] = m.stream(ns, lab.UDP, target, a.Addr(), marker)
		}
		return func() {
			for name, s := range streams {
				awaitAnswers(t, s, 20)
				want := want4
				if strings.Contains(name, ":") {
					want = want6
				}
				onlySeenAs(t, ns.Label+" as "+name, s, want)
			}
		}
	}
	if len(first.Addrs) != 4 || len(second.Addrs) != 4 {
		t.Fatalf("the members have %v and %v, want an IPv4 and three IPv6 addresses each",
			first.Addrs, second.Addrs)
	}
	one := talk(top.Client, first, top.Marker, lab.BoxWAN4, lab.BoxWAN6)
	two := talk(site.NS, second, secondMarker, provider.Public4[0], provider.Public6[0])
	one()
	two()

	fixed := netip.MustParseAddr("198.51.100.9")
	b.sh("ip addr add 198.51.100.9/24 dev wan0")
	b.write("ztbridge.yaml", m.zerotier(node)+fmt.Sprintf(zerotierExitConfig,
		"{snat: 198.51.100.9}", selectors(first)))
	must(t, b.daemon.Signal(reloadSignal))
	await(t, "the reload to change the translation", func() bool {
		return b.try("nft list table inet ztb | grep -q 'snat.*198.51.100.9'") == nil
	})
	one = talk(top.Client, first, top.Marker, fixed, lab.BoxWAN6)
	two = talk(site.NS, second, secondMarker, provider.Public4[0], provider.Public6[0])
	one()
	two()
	noLeak(t, leaks)
}

// selectors names a member by all of its addresses, a /80 of 6PLANE as a whole.
func selectors(member ztlab.Membership) string {
	var words []string
	for _, a := range member.Addrs {
		word := a.Addr().String()
		if a.Addr().Is6() && a.Bits() == 40 {
			word = netip.PrefixFrom(a.Addr(), 80).Masked().String()
		}
		words = append(words, fmt.Sprintf("%q", word))
	}
	return strings.Join(words, ", ")
}

// TestZeroTierNetworkOfLargePackets: a network is 2800 bytes wide, as it is unless its owner
// changes it, and full-size TCP flows both ways, in segments of which each fits one packet of
// ZeroTier.
func TestZeroTierNetworkOfLargePackets(t *testing.T) {
	t.Parallel()
	netlab.Require(t, netlab.IPerf3)
	m := newMesh(t, lab.Options{RemoteClient: true}, ztlab.NetworkConfig{})
	top := m.lab
	node := m.node(top.Box, ztlab.Box4, ztlab.Box6)
	client := m.node(top.Client, ztlab.Client4, ztlab.Client6)
	iface := m.join(node, false).Iface
	m.joinAsClient(client)
	b := newBox(t, top.Box)
	b.write("provider.ovpn", top.Providers[0].Config())
	b.write("ztbridge.yaml", m.zerotier(node)+providerConfig)
	b.start()
	st := b.awaitEgress("provider")
	if mtu := networkStatus(st).MTU; mtu != 2800 {
		t.Fatalf("the network's MTU is %d: this test is about 2800", mtu)
	}
	awaitAnswers(t, m.stream(top.Client, lab.UDP, lab.ClientTarget4, ztlab.Client4,
		top.Marker), 10)

	const header, fitting = 14, 1394 // of Ethernet; what fits one packet of ZeroTier, measured
	tooLong, err := top.Box.Capture(iface, func(p netlab.Packet) bool {
		return p.Proto == "tcp" && len(p.Data) > header+fitting
	})
	must(t, err)
	for _, target := range []netip.Addr{lab.ClientTarget4, lab.ClientTarget6} {
		for _, download := range []bool{false, true} {
			measured, err := lab.IPerf{
				Server: top.Internet, Client: top.Client, Addr: target, Duration: time.Second,
				Download: download,
			}.Measure(m.ctx)
			must(t, err)
			t.Logf("%s, download %v: %.0f Mbit/s, %d retransmits", target, download, measured.Mbit,
				measured.Retransmits)
			if measured.Mbit < 1 {
				t.Errorf("%s, download %v: %.2f Mbit/s: it stalls", target, download, measured.Mbit)
			}
		}
	}
	must(t, tooLong.Stop())
	seen, err := tooLong.Result()
	must(t, err)
	if seen.Seen < 100 {
		t.Errorf("only %d packets on %s: the test proves nothing", seen.Seen, iface)
	}
	if seen.Matched > 0 {
		t.Errorf("segments that need two packets of ZeroTier: %v", seen)
	}
}

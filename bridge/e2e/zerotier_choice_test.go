package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
	"ztbridge/bridge/lab/ztlab"
	"ztbridge/bridge/zerotier"
	"ztbridge/policyroute/netlab"
)

const zerotierChoiceConfig = `
egress:
  provider: {openvpn: {profile: provider.ovpn}}
  direct: {wan: {ipv6: nat66}}
policy:
  - {from: [zerotier], choose: [provider, direct]}
probe: {targets: [192.0.2.10], hold_down: 1s}
`

// TestZeroTierChoice: a member's choice moves that member in both IP versions, and nobody else; it
// outlasts a restart; switches under traffic leak nothing; who sends from another member's address
// gets nothing; and the hardware address follows from the ids as the real service does it.
func TestZeroTierChoice(t *testing.T) {
	t.Parallel()
	m := newMesh(t, lab.Options{RemoteClient: true}, ztlab.NetworkConfig{SixPlane: true})
	top, provider := m.lab, m.lab.Providers[0]
	site, err := top.AddSite("second")
	must(t, err)
	node := m.node(top.Box, ztlab.Box4, ztlab.Box6)
	firstNode := m.node(top.Client, ztlab.Client4, ztlab.Client6)
	secondNode := m.node(site.NS, netip.MustParseAddr("10.99.0.21"), netip.MustParseAddr("fd99::21"))
	m.join(node, false)
	first, second := m.joinAsClient(firstNode), m.joinAsClient(secondNode)
	macOf(t, m, firstNode, first)
	macOf(t, m, secondNode, second)

	leaks, err := top.Router.Capture(top.WANSegment.Port(top.Box, lab.WANIface),
		netlab.Any(netlab.Within(ztlab.Net4), netlab.Within(ztlab.Net6)))
	must(t, err)
	b := newBox(t, top.Box)
	b.write("provider.ovpn", provider.Config())
	b.write("ztbridge.yaml", m.zerotier(node)+zerotierChoiceConfig)
	b.start()
	b.awaitEgress("provider")

	streams := map[netip.Addr]*lab.Stream{}
	start := func(ns *netlab.Namespace, of ztlab.Membership) {
		for _, a := range of.Addrs {
			target := lab.ClientTarget4
			if a.Addr().Is6() {
				target = lab.ClientTarget6
			}
			streams[a.Addr()] = m.stream(ns, lab.UDP, target, a.Addr(), top.Marker)
		}
	}
	// leaves waits until all answers of a member have come by one exit.
	leaves := func(of ztlab.Membership, want4, want6 netip.Addr) {
		t.Helper()
		for _, a := range of.Addrs {
			want := want4
			if a.Addr().Is6() {
				want = want6
			}
			s := streams[a.Addr()]
			await(t, fmt.Sprintf("%s to leave by %s", a, want), func() bool {
				rounds := s.Report().Rounds
				return len(rounds) > 5 && rounds[len(rounds)-2].Egress == want
			})
		}
	}
	start(top.Client, first)
	start(site.NS, second)
	leaves(first, provider.Public4[0], provider.Public6[0])
	leaves(second, provider.Public4[0], provider.Public6[0])

	for i, who := range []string{ztlab.Client4.String(), firstNode.Address,
		ztlab.Client6.String()} {
		b.mustRun("egress", "use", "direct", "--for", who)
		leaves(first, lab.BoxWAN4, lab.BoxWAN6)
		if i == 0 {
			choiceSurvives(t, b, firstNode.Address)
			leaves(first, lab.BoxWAN4, lab.BoxWAN6)
		}
		b.mustRun("egress", "reset", "--for", who)
		leaves(first, provider.Public4[0], provider.Public6[0])
	}
	if _, err := b.run("egress", "use", "nosuch", "--for", firstNode.Address); err == nil ||
		!strings.Contains(err.Error(), `may not choose "nosuch"`) {
		t.Errorf("a choice beyond the list: %v", err)
	}
	b.mustRun("egress", "use", "direct", "--for", firstNode.Address)
	spoofs(t, m, site.NS, second)

	for a, s := range streams {
		want := []netip.Addr{provider.Public4[0], provider.Public6[0]}
		if slices.ContainsFunc(first.Addrs, func(p netip.Prefix) bool { return p.Addr() == a }) {
			want = append(want, lab.BoxWAN4, lab.BoxWAN6)
		}
		onlySeenAs(t, a.String(), s, want...)
	}
	noLeak(t, leaks)
}

// macOf compares a member's hardware address with what follows from its ids.
func macOf(t *testing.T, m *mesh, n *ztlab.Node, of ztlab.Membership) {
	t.Helper()
	id, err := zerotier.ParseNetworkID(m.network.ID)
	must(t, err)
	address, err := zerotier.ParseAddress(n.Address)
	must(t, err)
	out, err := n.NS.Run(m.ctx, "cat", "/sys/class/net/"+of.Iface+"/address")
	must(t, err)
	if got, want := strings.TrimSpace(out), zerotier.MAC(id, address).String(); got != want {
		t.Errorf("%s has the hardware address %s, want %s", n.Address, got, want)
	}
}

// choiceSurvives restarts the daemon and expects the choice in its status.
func choiceSurvives(t *testing.T, b *box, member string) {
	t.Helper()
	b.stop()
	b.start()
	b.await("the choice after a restart", func(st api.Status) bool {
		return len(st.Devices) == 1 && st.Devices[0].ID == member &&
			st.Devices[0].Choice == "direct" && st.Devices[0].Egress == "direct" &&
			len(st.Devices[0].Addresses) >= 2
	})
}

// spoofs sends from the first member's addresses out of the second one, which must reach nothing:
// neither the first one's exit nor any other.
func spoofs(t *testing.T, m *mesh, ns *netlab.Namespace, second ztlab.Membership) {
	t.Helper()
	const marker = "spoofed-by-the-second"
	seen, err := m.lab.Router.Capture(m.lab.WANSegment.Port(m.lab.Box, lab.WANIface),
		netlab.Carrying(marker))
	must(t, err)
	for _, command := range []string{
		fmt.Sprintf("ip addr add %s/32 dev %s", ztlab.Client4, second.Iface),
		fmt.Sprintf("ip addr add %s/128 dev %s nodad", ztlab.Client6, second.Iface)} {
		_, err := ns.Run(m.ctx, "sh", "-c", command)
		must(t, err)
	}
	for _, a := range []netip.Addr{ztlab.Client4, ztlab.Client6} {
		target := lab.ClientTarget4
		if a.Is6() {
			target = lab.ClientTarget6
		}
		s := m.stream(ns, lab.UDP, target, a, marker)
		await(t, "spoofed packets to be sent", func() bool {
			sent, _, _ := s.Counts()
			return sent > 20
		})
	}
	noLeak(t, seen)
}

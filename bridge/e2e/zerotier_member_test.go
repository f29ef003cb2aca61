package e2e

import (
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/health"
	"ztbridge/bridge/lab"
	"ztbridge/bridge/lab/ztlab"
	"ztbridge/policyroute/netlab"
)

// Two boxes, of which one is the way out of the other:
//
//	client ── ing0 ── box A ── zt ─── zt ── box B ── tunztb-provider ── provider-b ── internet
//	                    └── tunztb-provider ── provider-a ── internet
const reloadSignal = syscall.SIGHUP

var (
	boxB4 = netip.MustParseAddr("10.99.0.2")
	boxB6 = netip.MustParseAddr("fd99::2")
)

// pair is a lab with two boxes that are members of one network.
type pair struct {
	*mesh
	site   *lab.Site // where box B is
	na, nb *ztlab.Node
	a, b   *box
	iface  string // of the network, the same in both
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{mesh: newMesh(t, lab.Options{Providers: []lab.ProviderOptions{{}, {}}},
		ztlab.NetworkConfig{})}
	var err error
	p.site, err = p.lab.AddSite("boxb")
	must(t, err)
	p.na, p.nb = p.node(p.lab.Box, ztlab.Box4, ztlab.Box6), p.node(p.site.NS, boxB4, boxB6)
	p.iface = p.join(p.na, false).Iface
	p.join(p.nb, false)
	// ZeroTier takes some seconds to bring the first neighbour discovery across.
	for _, to := range []netip.Addr{boxB4, boxB6} {
		awaitAnswers(t, p.stream(p.lab.Box, lab.Ping, to, netip.Addr{}, p.lab.HostMarker), 1)
	}
	p.a, p.b = newBox(t, p.lab.Box), newBox(t, p.site.NS)
	p.a.write("provider.ovpn", p.lab.Providers[0].Config())
	p.b.write("provider.ovpn", p.lab.Providers[1].Config())
	return p
}

// by is an egress that leads through a member.
func by(name string, via4, via6 netip.Addr) string {
	return fmt.Sprintf("  %s: {zerotier: {via: [%s, \"%s\"]}}\n", name, via4, via6)
}

const throughMember = `
  provider: {openvpn: {profile: provider.ovpn}}
policy:
  - {from: [10.77.0.3, "fd77::3"], egress: [home]}
  - {from: [ing0], egress: [home, provider]}
probe: {targets: [192.0.2.10], hold_down: 1s}
`

// TestZeroTierMemberAsEgress: what enters at box A leaves by box B's provider; when box B dies, by
// the next egress of the list, or not at all where there is none.
func TestZeroTierMemberAsEgress(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	top := p.lab
	p.b.write("ztbridge.yaml", p.zerotier(p.nb)+providerConfig)
	p.a.write("ztbridge.yaml", p.zerotier(p.na)+"ingress: [ing0]\negress:\n"+
		by("home", boxB4, boxB6)+throughMember)
	leaksA, err := top.WatchLeaks()
	must(t, err)
	// The clients, not their network: ZeroTier itself tries the addresses that box A says it has
	// there.
	clients := netip.MustParsePrefix("10.77.0.2/31")
	leaksB, err := top.Router.Capture(p.site.Router,
		netlab.Any(netlab.Within(clients, ztlab.Net4, ztlab.Net6), netlab.Carrying(top.Marker)))
	must(t, err)
	p.b.start()
	p.a.start()
	p.b.awaitEgress("provider")
	atHome := func(st api.Status) bool {
		return len(st.Policies) == 2 && st.Policies[1].Egress == "home" && st.Egresses[0].RTT > 0
	}
	p.a.await("the way through box B", atHome)

	must(t, top.Client.IP("addr add 10.77.0.3/24 dev eth0",
		"addr add fd77::3/64 dev eth0 nodad preferred_lft 0"))
	both := p.stream(top.Client, lab.UDP, lab.ClientTarget4, netip.MustParseAddr("10.77.0.2"),
		top.Marker)
	both6 := p.stream(top.Client, lab.UDP, lab.ClientTarget6, netip.Addr{}, top.Marker)
	only := p.stream(top.Client, lab.UDP, lab.ClientTarget4, netip.MustParseAddr("10.77.0.3"),
		top.Marker)
	only6 := p.stream(top.Client, lab.UDP, lab.ClientTarget6, netip.MustParseAddr("fd77::3"),
		top.Marker)
	for _, s := range []*lab.Stream{both, both6, only, only6} {
		awaitAnswers(t, s, 10)
	}

	died := time.Now()
	p.nb.Kill()
	p.a.await("the next egress of the list",
		func(st api.Status) bool { return st.Policies[1].Egress == "provider" })
	awaitAnswers(t, both, 20)
	t.Logf("box B died: gap %s", both.Report().Gap(died, time.Now()).Round(time.Millisecond))
	refusals, err := top.Client.Capture("eth0", refusalOf(top.Marker))
	must(t, err)
	st := p.a.await("the word that box B is unreachable", func(st api.Status) bool {
		_, said := condition(st, health.MemberUnreachable)
		return said && st.Egresses[0].State == "unreachable" && !st.Egresses[0].Usable &&
			st.Policies[0].Egress == ""
	})
	t.Logf("said after %s: %s", time.Since(died).Round(time.Millisecond),
		st.Egresses[0].LastChange.Cause)
	await(t, "the refusal of the client bound to box B", func() bool {
		refused, err := refusals.Result()
		must(t, err)
		return refused.Matched > 0
	})
	must(t, refusals.Stop())
	_, before, _ := only.Counts()
	// Longer than neighbour discovery takes to give box B up: it must be tried again all the same.
	time.Sleep(3500 * time.Millisecond)
	if _, now, _ := only.Counts(); now != before {
		t.Errorf("the client bound to box B is answered without it")
	}

	must(t, p.nb.Start(p.ctx))
	p.a.await("the way back through box B", atHome)
	back := time.Now()
	for _, s := range []*lab.Stream{only, both, only6} {
		awaitAnswers(t, s, 10)
	}
	t.Logf("box B is back: all flow after %s more", time.Since(back).Round(time.Millisecond))
	first, second := top.Providers[0], top.Providers[1]
	onlySeenAs(t, "the client bound to box B", only, second.Public4[0])
	onlySeenAs(t, "the client bound to box B, IPv6", only6, second.Public6[0])
	onlySeenAs(t, "the other client", both, first.Public4[0], second.Public4[0])
	onlySeenAs(t, "the other client, IPv6", both6, first.Public6[0], second.Public6[0])
	noLeak(t, leaksA)
	noLeak(t, leaksB)
}

// TestVersionsFailApartBehindMember: the same of an egress that is another member, when the
// provider behind it drops one IP version.
func TestVersionsFailApartBehindMember(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.b.write("ztbridge.yaml", p.zerotier(p.nb)+providerConfig)
	p.a.write("ztbridge.yaml", p.zerotier(p.na)+"ingress: [ing0]\negress:\n"+
		by("home", boxB4, boxB6)+`
  provider: {openvpn: {profile: provider.ovpn}}
policy: [{from: [ing0], egress: [home, provider]}]
probe: {targets: [192.0.2.10, "2001:db8:c0::10"], hold_down: 2s}
`)
	p.b.start()
	p.a.start()
	p.b.awaitEgress("provider")
	p.a.await("both ways out", func(st api.Status) bool {
		return len(st.Egresses) == 2 && st.Egresses[0].RTT > 0 && st.Egresses[1].RTT > 0 &&
			st.Policies[0].Egress == "home" && st.Policies[0].Egress6 == ""
	})
	versionsFailApart(t, p.lab, p.a, p.lab.Providers[1], "home", "provider")
}

// TestTwoBoxesThatNameEachOther: a packet goes from one to the other once and is refused there; and
// if the other has a way out of its own further down its list, it takes that.
func TestTwoBoxesThatNameEachOther(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	top := p.lab
	p.a.write("ztbridge.yaml", p.zerotier(p.na)+"ingress: [ing0]\negress:\n"+
		by("other", boxB4, boxB6)+"policy: [{egress: [other]}]\n")
	onlyA := p.zerotier(p.nb) + "egress:\n" + by("other", ztlab.Box4, ztlab.Box6)
	p.b.write("ztbridge.yaml", onlyA+"policy: [{egress: [other]}]\n")
	p.a.start()
	p.b.start()
	p.a.awaitEgress("other")
	p.b.awaitEgress("other")

	isUDP := func(q netlab.Packet) bool {
		return q.Proto == "udp" &&
			netlab.Carrying(top.Marker)(q)
	}
	between, err := top.Box.Capture(p.iface, isUDP)
	must(t, err)
	leaks, err := top.WatchLeaks()
	must(t, err)
	streams := []*lab.Stream{
		p.stream(top.Client, lab.UDP, lab.ClientTarget4, netip.Addr{}, top.Marker),
		p.stream(top.Client, lab.UDP, lab.ClientTarget6, netip.Addr{}, top.Marker),
	}
	time.Sleep(3 * time.Second)
	sent := 0
	for _, s := range streams {
		r := s.Stop()
		sent += r.Sent
		if r.Received > 0 {
			t.Errorf("answered with no way out: %v", r)
		}
	}
	must(t, between.Stop())
	crossed, err := between.Result()
	must(t, err)
	t.Logf("%d packets sent, %d crossed between the boxes", sent, crossed.Matched)
	if crossed.Matched == 0 || crossed.Matched > sent {
		t.Errorf(
			"%d packets sent, %d crossed between the boxes, want each at most once and some: %v",
			sent, crossed.Matched, crossed)
	}

	p.b.write("ztbridge.yaml", onlyA+
		"  provider: {openvpn: {profile: provider.ovpn}}\npolicy: [{egress: [other, provider]}]\n")
	must(t, p.b.daemon.Signal(reloadSignal))
	stream := p.stream(top.Client, lab.UDP, lab.ClientTarget4, netip.Addr{}, top.Marker)
	awaitAnswers(t, stream, 20)
	onlySeenAs(t, "the client", stream, top.Providers[1].Public4[0])
	noLeak(t, leaks)
}

package e2e

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/health"
	"ztbridge/bridge/lab"
	"ztbridge/bridge/lab/ztlab"
	"ztbridge/policyroute/netlab"
)

// TestRingOfThreeBoxes: of three boxes that each name the next as their way out, one sees its own
// probes come back, says so and refuses, and no packet comes round any more. Once one of them has a
// way out of its own, all have.
//
//	client ── ing0 ── box A ─▶ box B ─▶ box C ── (at last) ── tunztb-provider
//	                    ▲─────────────────┘
func TestRingOfThreeBoxes(t *testing.T) {
	t.Parallel()
	m := newMesh(t, lab.Options{}, ztlab.NetworkConfig{})
	top := m.lab
	type member struct {
		*box
		node *ztlab.Node
		at   netip.Addr
	}
	var ring []member
	iface := ""
	for i, name := range []string{"", "boxb", "boxc"} {
		ns := top.Box
		if name != "" {
			site, err := top.AddSite(name)
			must(t, err)
			ns = site.NS
		}
		at := netip.AddrFrom4([4]byte{10, 99, 0, byte(1 + i)})
		node := m.node(ns, at)
		iface = m.join(node, false).Iface
		ring = append(ring, member{newBox(t, ns), node, at})
	}
	for i, box := range ring {
		next := ring[(i+1)%len(ring)]
		awaitAnswers(t, m.stream(box.ns, lab.Ping, next.at, netip.Addr{}, top.HostMarker), 1)
		box.write("ztbridge.yaml", m.zerotier(box.node)+ringConfig(next.at, ""))
	}
	crossed, err := top.Box.Capture(iface, func(p netlab.Packet) bool {
		return p.Proto == "udp" && p.Outgoing && netlab.Carrying(top.Marker)(p)
	})
	must(t, err)
	leaks, err := top.WatchLeaks()
	must(t, err)
	stream := m.stream(top.Client, lab.UDP, lab.ClientTarget4, netip.Addr{}, top.Marker)
	began := time.Now()
	for _, box := range ring {
		box.start()
	}
	looped := func(st api.Status) bool {
		c, ok := condition(st, health.EgressRing)
		return ok && c.Subject == "next" && st.Egresses[0].State == "ring" &&
			st.Policies[0].Egress == ""
	}
	broken := func() string {
		for i, box := range ring {
			if st, err := box.status(); err == nil && looped(st) {
				return fmt.Sprintf("box %c", 'A'+i)
			}
		}
		return ""
	}
	await(t, "a box that sees the ring", func() bool { return broken() != "" })
	t.Logf("%s sees the ring and breaks it, after %s", broken(),
		time.Since(began).Round(time.Millisecond))
	for i, box := range ring {
		box.await(fmt.Sprintf("box %c to say that its way out is none", 'A'+i),
			func(st api.Status) bool {
				return len(st.Egresses) == 1 &&
					(st.Egresses[0].State == "ring" || st.Egresses[0].State == "degraded")
			})
	}
	// Each box lets a packet through once at most, and none comes round.
	before, err := crossed.Result()
	must(t, err)
	sent, _, _ := stream.Counts()
	time.Sleep(5 * time.Second) // the window of the measurement
	after, err := crossed.Result()
	must(t, err)
	now, answered, _ := stream.Counts()
	t.Logf(
		"%d packets of the client, of which %d left box A into the network; then, in 5 s, %d and %d", sent, before.Matched, now-sent, after.Matched-before.Matched)
	if after.Matched-before.Matched > now-sent+1 || answered > 0 {
		t.Errorf("packets come round: %v, %d were answered", after, answered)
	}
	if broken() == "" {
		t.Error("the ring is forgotten")
	}

	last := ring[2]
	last.write("provider.ovpn", top.Providers[0].Config())
	last.write("ztbridge.yaml", m.zerotier(last.node)+ringConfig(ring[0].at, "provider"))
	must(t, last.daemon.Signal(reloadSignal))
	healed := time.Now()
	awaitAnswers(t, stream, 20)
	t.Logf("with a way out in box C all flows after %s", time.Since(healed).Round(time.Millisecond))
	// Box C would rather go by box A, and must go on seeing that this leads back.
	ends := func(st api.Status) bool {
		return st.Policies[0].Egress == "provider" &&
			st.Egresses[0].State == "ring"
	}
	last.await("box C to see that it is the end", ends)
	time.Sleep(ringMemory) // it must not be forgotten while probes come back
	if st, err := last.status(); err != nil || !ends(st) {
		t.Errorf("box C uses %q, egress next is %q: %v", st.Policies[0].Egress,
			st.Egresses[0].State, err)
	}
	onlySeenAs(t, "the client", stream, top.Providers[0].Public4[0])
	noLeak(t, leaks)
}

// ringMemory is much longer than a box remembers that its probes came back.
const ringMemory = 11 * time.Second

func ringConfig(next netip.Addr, beside string) string {
	list, egress := "next", ""
	if beside != "" {
		list, egress = "next, "+beside, "  "+beside+": {openvpn: {profile: provider.ovpn}}\n"
	}
	return fmt.Sprintf(
		"ingress: [ing0]\negress:\n  next: {zerotier: {via: %s}}\n%spolicy: [{egress: [%s]}]\n"+
			"probe: {targets: [192.0.2.10], hold_down: 1s}\n", next, egress, list)
}

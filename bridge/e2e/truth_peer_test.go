package e2e

import (
	"testing"

	"ztbridge/bridge/api"
	"ztbridge/bridge/health"
	"ztbridge/bridge/lab"
	"ztbridge/bridge/lab/ztlab"
)

const truthProbe = `probe: {targets: [192.0.2.10, "2001:db8:c0::10"], hold_down: 2s}` + "\n"

// TestTruthPeer is TestTruth of a client whose traffic leaves by another box.
func TestTruthPeer(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	webOf(t, p.lab)
	exit := p.zerotier(p.nb) + "egress: {provider: {openvpn: {profile: provider.ovpn}}}\n" +
		truthProbe
	own := "ingress: [ing0]\negress:\n" + by("home", boxB4, boxB6) +
		"policy: [{from: [ing0], egress: [home]}]\n" + truthProbe
	p.b.write("ztbridge.yaml", exit)
	p.a.write("ztbridge.yaml", p.zerotier(p.na)+own)
	p.b.start()
	p.a.start()
	p.b.awaitEgress("provider")
	p.a.await("the way through box B", func(st api.Status) bool {
		return len(st.Policies) == 1 && st.Policies[0].Egress == "home" && st.Egresses[0].RTT > 0
	})
	l := &truthLab{Topology: p.lab, t: t, box: p.a}
	l.streamsOf(func(kind lab.Kind, v lab.Version) *lab.Stream {
		s, err := l.ClientStream(kind, v, 20)
		must(t, err)
		return s
	})
	behind := func(config string) func(*truthLab) {
		return func(l *truthLab) {
			p.b.write("ztbridge.yaml", config)
			p.b.reload()
		}
	}
	const through = "though the machine that it leads to does"
	other, err := p.planet.NewNetwork(p.ctx, ztlab.NetworkConfig{Name: "other"})
	must(t, err)
	mesh := *p.mesh
	mesh.network = other
	l.tell([]brokenState{
		{name: "a machine that is gone", brk: func(*truthLab) { p.nb.Kill() },
			mend: func(l *truthLab) { must(l.t, p.nb.Start(p.ctx)) },
			code: health.MemberUnreachable, dead: all, headline: "No exit is connected"},
		{name: "a machine that is not authorised any more",
			brk:  func(l *truthLab) { must(l.t, p.network.Deauthorise(p.ctx, p.nb)) },
			mend: func(l *truthLab) { must(l.t, p.network.Authorise(p.ctx, p.nb, boxB4, boxB6)) },
			code: health.MemberUnreachable, dead: all, headline: "No exit is connected"},
		{name: "a machine whose own exit is dead",
			brk: func(*truthLab) { p.lab.Providers[1].Kill() },
			mend: func(l *truthLab) {
				must(l.t, p.lab.Providers[1].Restart(l.t.Context()))
			},
			code: health.EgressSilent, dead: all, says: []string{"IPv4", through},
			headline: "nothing beyond home answers"},
		{name: "a machine that lets nobody out",
			brk:  behind(exit + "policy: [{from: [10.99.0.77], egress: [provider]}]\n"),
			mend: behind(exit), code: health.EgressSilent, dead: all,
			says: []string{"IPv4", through}, headline: "nothing beyond home answers"},
		{name: "a machine that sends it back",
			brk: behind(p.zerotier(p.nb) + "egress:\n" + by("other", ztlab.Box4, ztlab.Box6) +
				"policy: [{egress: [other]}]\n" + truthProbe),
			mend: behind(exit), code: health.EgressSilent, dead: all, says: []string{"IPv4"}},
		{name: "a network that this box is not authorised in",
			brk:  func(l *truthLab) { reconfigure(mesh.zerotier(p.na) + own)(l) },
			mend: func(l *truthLab) { reconfigure(p.zerotier(p.na) + own)(l) },
			code: health.NetworkDenied, dead: all, headline: "No exit is connected"},
	})
}

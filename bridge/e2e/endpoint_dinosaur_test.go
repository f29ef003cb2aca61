package e2e

import (
	"net/netip"
	"testing"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
	"ztbridge/bridge/lab/ztlab"
	"ztbridge/policyroute/netlab"
)

const dinosaurConfig = `
endpoint: {address: 198.51.100.2, listen: [udp/1194, tcp/443]}
policy: [{from: [endpoint], egress: [home]}]
probe: {targets: [192.0.2.10], hold_down: 1s}
egress:
`

// TestDinosaur: guest → endpoint of box A → ZeroTier → box B → provider. The Internet sees the
// provider; the guests' packets are in clear on neither box's line, also while box B is away.
func TestDinosaur(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	top, provider := p.lab, p.lab.Providers[1]
	p.b.write("ztbridge.yaml", p.zerotier(p.nb)+providerConfig)
	p.a.write("ztbridge.yaml", p.zerotier(p.na)+dinosaurConfig+by("home", boxB4, boxB6))
	leaksA := watchGuests(t, top)
	foreign := []netip.Prefix{clientPool4, clientPool6, ztlab.Net4, ztlab.Net6}
	for _, a := range []netip.Addr{lab.ClientTarget4, lab.ClientTarget6} {
		foreign = append(foreign, netip.PrefixFrom(a, a.BitLen()))
	}
	leaksB, err := top.Router.Capture(p.site.Router,
		netlab.Any(netlab.Within(foreign...), netlab.Carrying(top.Marker)))
	must(t, err)
	p.b.start()
	p.a.start()
	p.b.awaitEgress("provider")
	p.a.await("the way through box B", func(st api.Status) bool {
		return st.Policies[0].Egress == "home" && st.Egresses[0].RTT > 0
	})

	phone := newGuest(t, top, p.a, "phone", "udp")
	tablet := newGuest(t, top, p.a, "tablet", "tcp")
	stream := phone.stream(lab.UDP, targetOf(lab.ClientTarget4), 50, top.Marker)
	awaitAnswers(t, stream, 20)
	p.b.stop()
	p.a.await("that box B lets nothing through",
		func(st api.Status) bool { return st.Egresses[0].State == "degraded" })
	p.b.start()
	awaitAnswers(t, stream, 20)
	onlySeenAs(t, "the phone, while box B was restarted", stream, provider.Public4[0])
	for _, g := range []*guest{phone, tablet} {
		g.seenAs(top.Marker, provider.Public4[0], provider.Public6[0])
	}
	noLeak(t, leaksA)
	noLeak(t, leaksB)
}

package e2e

import (
	"net/netip"
	"testing"

	"ztbridge/bridge/api"
	"ztbridge/policyroute/netlab"
	"ztbridge/policyroute/netlab/ztlab"
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
	p := newPair(t)
	lab, provider := p.lab, p.lab.Providers[1]
	p.b.write("ztbridge.yaml", p.zerotier(p.nb)+providerConfig)
	p.a.write("ztbridge.yaml", p.zerotier(p.na)+dinosaurConfig+by("home", boxB4, boxB6))
	leaksA := watchGuests(t, lab)
	foreign := []netip.Prefix{clientPool4, clientPool6, ztlab.Net4, ztlab.Net6}
	for _, a := range []netip.Addr{netlab.ClientTarget4, netlab.ClientTarget6} {
		foreign = append(foreign, netip.PrefixFrom(a, a.BitLen()))
	}
	leaksB, err := lab.Router.Capture(p.site.Router,
		netlab.Any(netlab.Within(foreign...), netlab.Carrying(lab.Marker)))
	must(t, err)
	p.b.start()
	p.a.start()
	p.b.awaitEgress("provider")
	p.a.await("the way through box B", func(st api.Status) bool {
		return st.Policies[0].Egress == "home" && st.Egresses[0].RTT > 0
	})

	phone := newGuest(t, lab, p.a, "phone", "udp")
	tablet := newGuest(t, lab, p.a, "tablet", "tcp")
	stream := phone.stream(netlab.UDP, targetOf(netlab.ClientTarget4), 50, lab.Marker)
	awaitAnswers(t, stream, 20)
	p.b.stop()
	p.a.await("that box B lets nothing through",
		func(st api.Status) bool { return st.Egresses[0].State == "degraded" })
	p.b.start()
	awaitAnswers(t, stream, 20)
	onlySeenAs(t, "the phone, while box B was restarted", stream, provider.Public4[0])
	for _, g := range []*guest{phone, tablet} {
		g.seenAs(lab.Marker, provider.Public4[0], provider.Public6[0])
	}
	noLeak(t, leaksA)
	noLeak(t, leaksB)
}

package policytest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"ztbridge/policyroute"
)

// Random returns an intent on Devices that compiles. It has any number of ingresses, egresses that
// exist or not, IPv6 or not, and policies that overlap.
func Random(r *rand.Rand) policyroute.Intent {
	in := policyroute.Intent{Links6: []string{WAN}, ForceForwarding6: r.IntN(4) == 0,
		SourceConns: []uint32{0, sourceConns}[r.IntN(2)]}
	in.Ingresses = []policyroute.Ingress{members(), endpoint()}[:1+r.IntN(2)]
	in.Ingresses[0].Switches = r.IntN(3) == 0
	in.Egresses = []policyroute.Egress{provider(), backup(), direct(), home()}
	r.Shuffle(len(in.Egresses), func(i, j int) {
		in.Egresses[i], in.Egresses[j] = in.Egresses[j], in.Egresses[i]
	})
	in.Egresses = in.Egresses[:1+r.IntN(4)]
	for i := range in.Egresses {
		e := &in.Egresses[i]
		e.Present, e.IPv6 = r.IntN(4) > 0, e.IPv6 && r.IntN(3) > 0
		if r.IntN(3) == 0 {
			e.DNS = nil
		}
		e.NoIPv4 = e.IPv6 && r.IntN(6) == 0
		if e.Kind == policyroute.EgressWAN && r.IntN(3) == 0 {
			e.DNS = []netip.Addr{e.Closed[1].Addr().Next()}
		}
		if e.Kind == policyroute.EgressWAN && r.IntN(2) == 0 {
			e.NAT4 = policyroute.NAT{Kind: policyroute.SNAT, To: netip.MustParseAddr("203.0.113.7")}
		}
	}
	in.Ingresses[0].Bound = randomBound(r)
	use := map[string]string{}
	for n := range r.IntN(6) {
		in.Policies = append(in.Policies, randomPolicy(r, in, n, use))
	}
	for _, from := range in.Ingresses {
		for _, to := range in.Ingresses {
			if r.IntN(3) == 0 {
				in.Peerings = append(in.Peerings, policyroute.Peering{From: from.Name, To: to.Name})
			}
		}
	}
	if r.IntN(2) == 0 {
		in.Listeners = []policyroute.Listener{{Proto: "tcp", Port: 443}}
		in.Services = []policyroute.Listener{{Proto: "udp", Port: 51820}}
	}
	if r.IntN(2) == 0 {
		for i := range in.Listeners {
			in.Listeners[i].Answers = true
		}
		in.Uplinks = []policyroute.Uplink{{Iface: WAN, Present: r.IntN(3) > 0, V4: true,
			V6: r.IntN(2) == 0,
			Addrs: []netip.Addr{netip.MustParseAddr("203.0.113.2"),
				netip.MustParseAddr("2001:db8::2")},
			Gateway4: netip.MustParseAddr("203.0.113.1"), Gateway6: netip.MustParseAddr("fe80::1")}}
	}
	if r.IntN(2) == 0 {
		in.Inbound = []policyroute.Inbound{{Egress: in.Egresses[0].Name,
			To: Prefixes("10.147.17.80")[0], Proto: "tcp", Ports: []uint16{22}}}
	}
	return in
}

func randomBound(r *rand.Rand) (out []policyroute.Binding) {
	for _, p := range Prefixes("10.147.17.66", "10.147.17.7", "fd80:56c2:e21c::7") {
		if r.IntN(2) == 0 {
			out = append(out, policyroute.Binding{Prefix: p,
				MAC: fmt.Sprintf("02:00:00:00:00:%02x", r.IntN(3))})
		}
	}
	return out
}

func randomPolicy(r *rand.Rand, in policyroute.Intent, n int,
	use map[string]string) policyroute.Policy {
	p := policyroute.Policy{Name: fmt.Sprintf("policy[%d]", n)}
	for range r.IntN(3) {
		p.From = append(p.From, pick(r,
			Prefixes("10.147.17.0/24", "10.147.17.64/26", "10.147.17.66", "10.9.0.0/25", "10.9.0.9",
				"fd80:56c2:e21c::/88", "fd80:56c2:e21c::7", "fd09::/64", "0.0.0.0/0", "::/0")))
	}
	for range r.IntN(3) {
		p.To = append(p.To, pick(r, Prefixes("10.0.0.0/8", "10.8.0.0/16", "1.1.1.1", "8.8.8.0/24",
			"128.0.0.0/2",
			"fc00::/7", "2606:4700::/32", "0.0.0.0/0", "::/0")))
	}
	if r.IntN(3) == 0 {
		p.Ingress = []string{pick(r, in.Ingresses).Name}
	}
	for _, e := range in.Egresses {
		if r.IntN(2) == 0 {
			p.Egress = append(p.Egress, e.Name)
		}
	}
	r.Shuffle(len(p.Egress), func(i, j int) { p.Egress[i], p.Egress[j] = p.Egress[j], p.Egress[i] })
	key := strings.Join(p.Egress, ",")
	if _, ok := use[key]; !ok {
		use[key] = pick(r, append(slices.Clone(p.Egress), ""))
		use[key+" 6"] = pick(r, append(slices.Clone(p.Egress), ""))
	}
	p.Use, p.Use6 = use[key], use[key+" 6"]
	return p
}

func pick[T any](r *rand.Rand, xs []T) T { return xs[r.IntN(len(xs))] }

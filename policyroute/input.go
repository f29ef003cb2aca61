package policyroute

// hookInput is before filter (0), as hookForward is.
const hookInput = -5

// input judges what is for the box itself, as far as it concerns us: what a provider sends must not
// reach the box's own services by the tunnel's address, and our forwarders serve clients alone.
func (b *filter) input() []NftRule {
	var rules []NftRule
	for _, e := range b.c.in.Egresses {
		if e.Owned && e.Iface != "" {
			rules = append(rules,
				NftRule{IIF: e.Iface, CTState: []string{"established", "related"}, Verdict: accept},
				NftRule{IIF: e.Iface, Verdict: drop})
		}
	}
	for _, e := range b.c.in.Egresses {
		if e.ResolverPort == 0 {
			continue
		}
		for _, proto := range []string{"udp", "tcp"} {
			to := NftRule{Proto: proto, DstPorts: []uint16{e.ResolverPort}}
			for _, g := range b.c.in.Ingresses {
				client := to
				client.IIF, client.Verdict = g.Iface, accept
				rules = append(rules, client)
			}
			to.Verdict = drop
			rules = append(rules, to)
		}
	}
	return rules
}

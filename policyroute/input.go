package policyroute

import (
	"net/netip"
	"slices"
)

// Both are before filter (0), as hookForward is.
const (
	hookInput  = -5
	hookOutput = -5
)

// input filters packets to the box itself that concern us. A provider must not reach the box's own
// services by the tunnel's address, and our forwarders serve clients alone. A late answer to a
// client whose connection is forgotten is for the box itself, too: a reset in reply would leave by
// the WAN and tell a stranger that both are one.
func (b *filter) input() []NftRule {
	var rules []NftRule
	for i := range b.c.in.Ingresses {
		g := &b.c.in.Ingresses[i]
		rules = append(rules, b.refuse(g),
			NftRule{IIF: g.Iface, CTState: []string{"new"}, SetLabel: LabelIngress})
	}
	tunnels := b.c.tunnels()
	for _, e := range tunnels {
		rules = append(rules, NftRule{IIF: e.Iface, Verdict: goTo("replies")})
	}
	if len(tunnels) > 0 {
		b.chain("replies", []NftRule{{CTState: []string{"established", "related"}, Verdict: accept},
			{Verdict: drop}})
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

// output keeps the kernel's own packets about clients' connections from leaving by the WAN. main
// routes the box's own packets, and an error about a packet that came by a tunnel (its hop limit is
// used up, the client is gone) quotes that packet to its sender, with the box's own address on top.
// Such errors are known by the connection that they are about: its source is translated. Those
// about connections that somebody else on this box translates are dropped with them; nothing
// depends on errors, and the packets that they are about are lost already.
func (b *filter) output() []NftRule {
	own := append(b.redirects(), b.label()...)
	own = append(own, b.inside()...)
	tunnels := b.c.tunnels()
	if len(tunnels) == 0 {
		return own
	}
	toWorld := []NftRule{{OIF: "lo", Verdict: accept}}
	for _, g := range b.c.in.Ingresses {
		toWorld = append(toWorld, NftRule{OIF: g.Iface, Verdict: accept})
	}
	rules := []NftRule{{CTState: []string{"related"}, CTStatus: "snat"}}
	for _, e := range tunnels {
		toWorld = append(toWorld, NftRule{OIF: e.Iface, Verdict: accept})
		for _, a := range e.Addrs {
			rules = append(rules, NftRule{Src: netip.PrefixFrom(a.Addr(), a.Addr().BitLen())})
		}
	}
	b.chain("to_world", append(toWorld, NftRule{Verdict: drop}))
	for i := range rules {
		rules[i].Verdict = goTo("to_world")
	}
	return append(own, rules...)
}

// label marks the box's own connections to members: errors about them are believed, and they stay
// inside.
func (b *filter) label() []NftRule {
	var rules []NftRule
	for _, g := range b.c.in.Ingresses {
		rules = append(rules,
			NftRule{OIF: g.Iface, CTState: []string{"new"}, SetLabel: LabelIngress})
	}
	return rules
}

// inside keeps what the box sends to members on the members' ingress, whether that exists or not.
// main's default route would show it to the WAN. Addresses that are not known to be behind an
// ingress are known by their connection.
func (b *filter) inside() []NftRule {
	inside := []NftRule{{OIF: "lo", Verdict: accept}}
	var rules []NftRule
	for i := range b.c.in.Ingresses {
		g := &b.c.in.Ingresses[i]
		inside = append(inside, NftRule{OIF: g.Iface, Verdict: accept})
		only := []NftRule{{OIF: "lo", Verdict: accept}, {OIF: g.Iface, Verdict: accept}}
		if len(g.Elsewhere) > 0 { // who gives the WAN addresses may give it those of members
			only = append(only, NftRule{CTLabel: LabelIngress, Verdict: drop})
		}
		for _, p := range g.Elsewhere {
			only = append(only, NftRule{Dst: p, Verdict: accept})
		}
		only = append(only, NftRule{Verdict: drop})
		behind := b.behind(g)
		if len(behind) > 0 {
			b.chain("only_"+g.Iface, only)
		}
		for _, p := range behind {
			rules = append(rules, NftRule{Dst: p, Verdict: goTo("only_" + g.Iface)})
		}
	}
	b.chain("inside", append(inside, NftRule{Verdict: drop}))
	return append(rules, NftRule{CTLabel: LabelIngress, Verdict: goTo("inside")})
}

// behind are the destinations that the box reaches by the ingress and by nothing else.
func (b *filter) behind(g *Ingress) []netip.Prefix {
	out := b.prefixesOf(g)
	for _, p := range g.Reached {
		if p = p.Masked(); p.Bits() > 0 && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// redirects keeps the box from telling clients of a shorter path. Linux does so where a packet
// leaves by the interface by which it came. On that path they would bypass their policy, and its
// failover, for minutes. Of IPv4 it tells none: Linux keeps what it would say about a translated
// connection to itself.
func (b *filter) redirects() []NftRule {
	var rules []NftRule
	for _, g := range b.c.in.Ingresses {
		rules = append(rules, NftRule{OIF: g.Iface, Verdict: drop})
	}
	drops := NftVerdict{Kind: "jump", Chain: b.chain("redirects", rules)}
	return []NftRule{{Family: V6, Proto: "icmpv6", ICMPType: icmp6Redirect, Verdict: drops}}
}

package policyroute

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
)

// Messages that configure a host from its network (RFC 4861, RFC 792, RFC 2131, RFC 8415).
const (
	icmp6RouterAdvertisement = 134
	icmp6NeighbourSolicit    = 135
	icmp6Redirect            = 137
	icmpRedirect             = 5
	dhcpClient4              = 68
	dhcpClient6              = 546
)

// linkLocal6 are the addresses by which neighbours communicate. Replies never leave their link.
var linkLocal6 = netip.MustParsePrefix("fe80::/10")

// loopback4 is the box itself, from itself alone. Linux drops ::1 from any link in any case.
var loopback4 = netip.MustParsePrefix("127.0.0.0/8")

// multicast are the addresses of all hosts on a link.
var multicast = prefixes("224.0.0.0/4", "255.255.255.255/32", "ff00::/8")

// entrance returns the chain for all that enters by an ingress, before it is routed.
func (b *filter) entrance() NftChain {
	c := entranceChain()
	if b.c.in.SourceConns > 0 {
		b.chain(countChain, b.count())
		if slices.ContainsFunc(b.c.in.Ingresses, func(g Ingress) bool { return !g.Owned }) {
			b.chain(solicitChain, b.solicit())
		}
	}
	for i := range b.c.in.Ingresses {
		g := &b.c.in.Ingresses[i]
		if len(g.Bound) > 0 {
			c.Rules = append(c.Rules, NftRule{IIF: g.Iface,
				Verdict: NftVerdict{Kind: "jump", Chain: b.bound(g)}})
		}
		c.Rules = append(c.Rules, NftRule{IIF: g.Iface, Verdict: goTo(b.enter(g))})
	}
	for _, e := range b.c.tunnels() {
		c.Rules = append(c.Rules, NftRule{IIF: e.Iface, Verdict: goTo(b.arrive(e))})
	}
	for _, r := range b.c.egressAddrs() {
		r.Verdict = goTo(b.once("elsewhere",
			[]NftRule{{IIF: "lo", Verdict: accept}, {Verdict: drop}}))
		c.Rules = append(c.Rules, r)
	}
	return c
}

// egressAddrs matches what is for an address with which clients' packets leave by a tunnel or by a
// peer. By another interface, a neighbour there would speak for the Internet: its packets count as
// replies, and are believed where that interface is an egress, too. A peer's link has services of
// the box as well, so that there only replies to clients match.
func (c *compiler) egressAddrs() []NftRule {
	var rules []NftRule
	for _, e := range c.tunnels() {
		for _, a := range e.Addrs {
			rules = append(rules, NftRule{Dst: netip.PrefixFrom(a.Addr(), a.Addr().BitLen())})
		}
	}
	for _, e := range c.in.Egresses {
		for _, a := range e.Local {
			r := NftRule{Dst: netip.PrefixFrom(a, a.BitLen()), CTReply: true, CTStatus: "snat"}
			if !slices.ContainsFunc(rules, func(o NftRule) bool { return o.Dst == r.Dst }) {
				rules = append(rules, r)
			}
		}
	}
	return rules
}

// arrive returns the chain that drops what a provider sends to another address than the tunnel's.
// It would count as a reply, or as an error, of a connection that left by another way. This stands
// before translations are undone.
func (b *filter) arrive(e Egress) string {
	var rules []NftRule
	for _, a := range e.Addrs {
		rules = append(rules, NftRule{Dst: netip.PrefixFrom(a.Addr(), a.Addr().BitLen()),
			Verdict: accept})
	}
	return b.once("arrive", append(rules, NftRule{Verdict: drop}))
}

// bound returns the chain that drops packets from a bound address if another device than its owner
// sent them. That device would take the owner's exit, and count as the owner.
func (b *filter) bound(g *Ingress) string {
	var rules []NftRule
	for _, f := range Families {
		m := VerdictMap{Name: fmt.Sprintf("bound%d_%s", f, g.Iface), Family: f}
		for _, bind := range g.Bound {
			if p := bind.Prefix; FamilyOf(p.Addr()) == f {
				owner := b.once("owner", []NftRule{{NotSrcMAC: bind.MAC, Verdict: drop}})
				m.Elements = append(m.Elements, VerdictElement{p.Masked().Addr(), lastOf(p), owner})
			}
		}
		if len(m.Elements) == 0 {
			continue
		}
		slices.SortFunc(m.Elements,
			func(x, y VerdictElement) int { return x.First.Compare(y.First) })
		b.out.Maps = append(b.out.Maps, m)
		rules = append(rules, NftRule{Family: f, VMap: m.Name})
	}
	return b.chain("bound_"+g.Iface, rules)
}

// enter returns the chain that drops sources whose replies would not return by the ingress. A reply
// or an ICMP error would leave by main's default route, with the sender's content. A connection
// that passed once is labelled with its ingress, and checked no more: the label tells it from one
// that somebody else opened, whose source a member could take. By an ingress that is also an
// egress, the Internet replies as well.
func (b *filter) enter(g *Ingress) string {
	var known []NftRule
	if slices.Contains(b.c.egressIfaces(), g.Iface) {
		for _, r := range b.c.egressAddrs() {
			if r.CTStatus == "" { // of a tunnel
				r.CTReply, r.CTStatus, r.Verdict = true, "snat", drop
				known = append(known, r)
			}
		}
		known = append(known,
			NftRule{CTState: []string{"established"}, CTReply: true, Verdict: accept},
			NftRule{CTState: []string{"related"}, Verdict: accept})
	}
	if g.Switches {
		// Packets between its hosts pass, whatever their addresses are.
		for _, p := range slices.Concat(multicast, b.prefixesOf(g)) {
			known = append(known, NftRule{Dst: p, Verdict: accept})
		}
	}
	rules := enterRules(b.c.entered[g.Iface], known)
	if b.c.in.SourceConns == 0 {
		return b.once("enter", rules)
	}
	counts := NftRule{CTFirst: true, Verdict: NftVerdict{Kind: "jump", Chain: countChain}}
	toBox, linkLocal := counts, counts
	toBox.LocalDst, linkLocal.Src = true, linkLocal6
	at := slices.IndexFunc(rules, func(r NftRule) bool { return r.Dst == loopback4 })
	if g.Switches {
		rules = slices.Insert(rules, at, toBox)
	}
	at = slices.IndexFunc(rules, func(r NftRule) bool { return r.Src == linkLocal6 })
	rules = slices.Insert(rules, at, linkLocal)
	if !g.Owned { // else there are no neighbours
		rules = slices.Insert(rules, at, NftRule{Family: V6, Proto: "icmpv6",
			ICMPType: icmp6NeighbourSolicit,
			Verdict:  NftVerdict{Kind: "jump", Chain: solicitChain}})
	}
	return b.once("enter", append(rules, counts))
}

const countChain, solicitChain = "count", "solicit"

// solicit drops what has the kernel keep too many neighbours: each solicitation can be from an
// address of its own, and belongs to no connection that is counted.
func (b *filter) solicit() []NftRule {
	m := Meter{Name: "solicit_neighbour", Expires: true}
	b.out.Meters = append(b.out.Meters, m)
	slices.SortFunc(b.out.Meters, func(x, y Meter) int { return cmp.Compare(x.Name, y.Name) })
	return []NftRule{{Over: Over{Meter: m.Name, Rate: SolicitRate}, Verdict: drop}}
}

// count drops what opens a connection while its source opens too many, or has too many. Of what one
// source may have at most an eighth of the host's table is made (decide), so that there is room for
// the others, and for the host. A neighbour counts as NeighbourSources at most.
func (b *filter) count() []NftRule {
	var rules []NftRule
	add := func(f Family, of string, share uint32) {
		rate := Meter{Name: "rate" + of, Family: f, Expires: true}
		conns := Meter{Name: "conns" + of, Family: f}
		b.out.Meters = append(b.out.Meters, conns, rate)
		rules = append(rules,
			NftRule{Family: f, Over: Over{Meter: rate.Name, Rate: share * SourceRate},
				Verdict: drop},
			NftRule{Family: f, Over: Over{Meter: conns.Name, Conns: share * b.c.in.SourceConns},
				Verdict: drop})
	}
	for _, f := range Families {
		add(f, strconv.Itoa(int(f)), 1)
	}
	// Neighbours come last: what one host behind a router has too much is not the others' fault.
	add(0, "_neighbour", NeighbourSources)
	slices.SortFunc(b.out.Meters, func(x, y Meter) int { return cmp.Compare(x.Name, y.Name) })
	return rules
}

func (b *filter) prefixesOf(g *Ingress) []netip.Prefix {
	var out []netip.Prefix
	for _, m := range b.c.members {
		if m.ingress == g {
			out = append(out, m.prefix)
		}
	}
	return out
}

// enterRules drop what no host behind an ingress may send. Connections that pass get the label of
// the ingress; with none, 0, each packet is checked. The box's own services on 127.0.0.1 trust who
// asks: programs that set route_localnet for all interfaces, as kube-proxy does, would let clients
// ask.
func enterRules(label uint8, known []NftRule) []NftRule {
	var rules []NftRule
	if label != 0 {
		rules = []NftRule{enteredBy(label, accept)}
	}
	rules = append(rules, NftRule{Dst: loopback4, Verdict: drop})
	rules = append(append(rules, known...), NftRule{Src: linkLocal6, Verdict: accept},
		NftRule{NoReturn: true, Verdict: drop})
	if label != 0 {
		rules = append(rules, NftRule{CTOriginal: true, SetLabel: label})
	}
	return rules
}

// enteredBy matches packets of hosts behind an ingress on connections with its label.
func enteredBy(label uint8, v NftVerdict) NftRule {
	return NftRule{CTState: []string{"established"}, CTOriginal: true, CTLabel: label, Verdict: v}
}

// labelEntered gives each ingress a label that follows from its interface, so that it stays the
// same while others come and go. Beyond the number of labels, ingresses have none.
func labelEntered(ingresses []Ingress) map[string]uint8 {
	number := map[string]int{}
	for _, g := range ingresses[:min(len(ingresses), LabelEnteredLast-LabelEnteredFirst+1)] {
		number[g.Iface] = none
	}
	assign(number, LabelEnteredLast-LabelEnteredFirst+1)
	labels := map[string]uint8{}
	for iface, n := range number {
		labels[iface] = uint8(LabelEnteredFirst + n)
	}
	return labels
}

// refuse returns the chain for packets from an ingress to the box itself.
func (b *filter) refuse(g *Ingress) NftRule {
	if !b.names[errorsChain] {
		b.names[errorsChain] = true
		b.chain(errorsChain, errorRules())
	}
	rules := refuseRules()
	if g.Switches { // else the entrance has checked the source
		back := NftVerdict{Kind: "return"}
		if label := b.c.entered[g.Iface]; label != 0 {
			rules = append(rules, enteredBy(label, back))
		}
		rules = append(rules, NftRule{Src: linkLocal6, Verdict: back},
			NftRule{NoReturn: true, Verdict: drop})
	}
	return NftRule{IIF: g.Iface,
		Verdict: NftVerdict{Kind: "jump", Chain: b.once("refuse", rules)}}
}

const errorsChain = "errors"

// errorRules drop an ICMP error unless it is about a connection between members, or between one and
// the box. An error about another connection would make its path smaller, or end it: of IPv6, Linux
// believes an error about an echo request that nobody sent.
func errorRules() []NftRule {
	return []NftRule{{CTLabel: LabelIngress, Verdict: NftVerdict{Kind: "return"}}, {Verdict: drop}}
}

// toErrors leads ICMP errors to errorRules; with "invalid", those about unknown connections too.
func toErrors(states ...string) []NftRule {
	judge := NftVerdict{Kind: "jump", Chain: errorsChain}
	return []NftRule{{Family: V4, Proto: "icmp", CTState: states, Verdict: judge},
		{Family: V6, Proto: "icmpv6", CTState: states, Verdict: judge}}
}

// refuseRules drop packets that would configure the box. Between the hosts of a bridge they pass:
// those are never for the box.
func refuseRules() []NftRule {
	return append([]NftRule{
		{Family: V6, Proto: "icmpv6", ICMPType: icmp6RouterAdvertisement, Verdict: drop},
		{Family: V6, Proto: "icmpv6", ICMPType: icmp6Redirect, Verdict: drop},
		{Family: V4, Proto: "icmp", ICMPType: icmpRedirect, Verdict: drop},
		{Family: V4, Proto: "udp", DstPorts: []uint16{dhcpClient4}, Verdict: drop},
		{Family: V6, Proto: "udp", DstPorts: []uint16{dhcpClient6}, Verdict: drop},
	}, toErrors("invalid", "related")...)
}

// strangers refuse to forward a client's packets that enter by an interface which is no ingress.
// They match the source address, and interfaces built on an ingress.
func (b *filter) strangers() []NftRule {
	var rules []NftRule
	for _, name := range b.c.in.Stacked {
		rules = append(rules, NftRule{IIF: name, Verdict: drop}, NftRule{OIF: name, Verdict: drop})
	}
	for i := range b.c.in.Ingresses {
		g := &b.c.in.Ingresses[i]
		var its []NftRule
		for _, p := range g.Elsewhere {
			its = append(its, NftRule{Src: p, Verdict: NftVerdict{Kind: "return"}})
		}
		for _, m := range b.c.members {
			if m.ingress == g {
				its = append(its, NftRule{Src: m.prefix, Verdict: drop})
			}
		}
		if len(g.Elsewhere) > 0 { // what returns is judged further
			its = []NftRule{{Verdict: NftVerdict{Kind: "jump", Chain: b.once("strangers", its)}}}
		}
		rules = append(rules, its...)
	}
	return rules
}

func entranceChain() NftChain {
	return NftChain{Name: "entrance",
		Hook: &Hook{Type: "filter", Hook: "prerouting", Priority: hookEntrance}}
}

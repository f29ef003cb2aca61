package policyroute

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// Priorities of our base chains (nft(8), "priority names").
const (
	hookEntrance = -145 // after conntrack (-200), before any nat
	hookForward  = -5   // before filter (0), so that others see what is left
	// Before dstnat (-100) and srcnat (100): the first chain that translates a connection is the
	// only one, and of two with one priority, that is the one that was made later.
	hookPrerouting  = -105
	HookPostrouting = 95
	hookTranslated  = 105 // after every translation
)

// filter builds table inet ztb. From an ingress the way is
//
//	forward ─▶ from_zt0 ─▶ (members: peerings) ─▶ map sources4_zt0 ─▶ class4_… ─▶ list4_23101 ─▶ accept | drop
//
// and for packets to one it is forward ─▶ to_zt0. The first packet of a connection and those that
// follow are treated alike, by policy: a change of policy applies to open connections too. Only the
// opposite direction passes as a reply.
//
// Every packet passes these chains. So rules for few packets stand in chains of their own, behind
// one match that keeps the others out, and cheap comparisons stand before names of interfaces.
type filter struct {
	c      *compiler
	out    Ruleset
	byText map[string]string // content of a chain → its name
	names  map[string]bool   // taken
}

func (c *compiler) nft() Ruleset {
	if len(c.in.Ingresses) == 0 {
		return Ruleset{}
	}
	b := &filter{c: c, byText: map[string]string{}, names: map[string]bool{}}
	forward := NftChain{Name: "forward",
		Hook: &Hook{Type: "filter", Hook: "forward", Priority: hookForward}}
	steer := NftChain{Name: "prerouting",
		Hook: &Hook{Type: "nat", Hook: "prerouting", Priority: hookPrerouting}}
	translate := NftChain{Name: "postrouting",
		Hook: &Hook{Type: "nat", Hook: "postrouting", Priority: HookPostrouting}}
	var towards []NftRule
	for i := range c.in.Ingresses {
		g := &c.in.Ingresses[i]
		v4, v6 := c.view(g, V4), c.view(g, V6)
		if g.Switches && !slices.Contains(c.egressIfaces(), g.Iface) {
			forward.Rules = append(forward.Rules,
				NftRule{IIF: g.Iface, OIF: g.Iface, Verdict: accept})
		}
		forward.Rules = append(forward.Rules,
			NftRule{IIF: g.Iface, Verdict: goTo(b.from(g, v4, v6))})
		towards = append(towards, NftRule{OIF: g.Iface, Verdict: goTo(b.to(g))})
		if name := b.dns(g, v4, v6); name != "" {
			steer.Rules = append(steer.Rules, NftRule{IIF: g.Iface, Verdict: goTo(name)})
		}
		// The input interface is known here since Linux 5.7. The box's own packets have none, or
		// (IPv6) the one they leave by: these match a translation only if an ingress is an egress
		// as well, and then only on the way to the Internet, where only our probes leave by it.
		translate.Rules = append(translate.Rules, NftRule{IIF: g.Iface, Verdict: goTo("translate")})
	}
	forward.Rules = slices.Concat(forward.Rules, towards, b.strangers(), b.edges())
	for _, e := range c.tunnels() {
		// Packets from a provider are for clients, never for the box's other networks.
		forward.Rules = append(forward.Rules, NftRule{IIF: e.Iface, Verdict: drop})
	}
	b.chain("translate", b.translate())
	entrance, input, output := b.entrance(), b.input(), b.output()
	slices.SortFunc(b.out.Chains, func(x, y NftChain) int { return cmp.Compare(x.Name, y.Name) })
	b.out.Chains = append(b.out.Chains, entrance, forward, steer, translate)
	for _, own := range []NftChain{b.ownPorts(),
		{Name: "input", Hook: &Hook{Type: "filter", Hook: "input", Priority: hookInput},
			Rules: input},
		{Name: "output", Hook: &Hook{Type: "filter", Hook: "output", Priority: hookOutput},
			Rules: output},
	} {
		if len(own.Rules) > 0 {
			b.out.Chains = append(b.out.Chains, own)
		}
	}
	slices.SortStableFunc(b.out.Maps,
		func(x, y VerdictMap) int { return cmp.Compare(x.Name, y.Name) })
	return b.out
}

var (
	accept = NftVerdict{Kind: "accept"}
	drop   = NftVerdict{Kind: "drop"}
)

func goTo(chain string) NftVerdict { return NftVerdict{Kind: "goto", Chain: chain} }

func (b *filter) chain(name string, rules []NftRule) string {
	b.out.Chains = append(b.out.Chains, NftChain{Name: name, Rules: rules})
	return name
}

// once returns the chain with this content, and makes it if there is none.
func (b *filter) once(prefix string, rules []NftRule) string {
	key := prefix
	for _, r := range rules {
		key += "\n" + r.String()
	}
	if b.byText[key] == "" {
		b.byText[key] = b.chain(b.name(prefix, key), rules)
	}
	return b.byText[key]
}

// name returns a name that follows from a key. It stays the same while other chains and maps come
// and go.
func (b *filter) name(prefix, key string) string {
	name := fmt.Sprintf("%s_%08x", prefix, hash(key))
	for b.names[name] { // two keys with one hash
		name += "x"
	}
	b.names[name] = true
	return name
}

// from returns the chain for packets that entered by an ingress.
func (b *filter) from(g *Ingress, v4, v6 *view) string {
	var sizes []NftRule
	if g.Owned {
		sizes = append(sizes, mss(NftRule{}, g.MTU, g.Carries)...)
	}
	for _, e := range b.mtus() {
		sizes = append(sizes, mss(NftRule{OIF: e.iface}, e.mtu, g.Carries)...)
	}
	for i := range b.c.in.Ingresses {
		if peer := &b.c.in.Ingresses[i]; peer.Owned && peer != g {
			sizes = append(sizes, mss(NftRule{OIF: peer.Iface}, peer.MTU, peer.Carries,
				g.Carries)...)
		}
	}
	// A packet of no connection, or of one that a rule excludes from conntrack (NOTRACK), is not
	// translated. It would leave with the client's own address.
	rules := append([]NftRule{{CTState: []string{"invalid", "untracked"}, Verdict: drop}},
		b.resize(sizes)...)
	rules = append(rules, b.steered(accept)...)
	for i := range b.c.in.Ingresses {
		peer := &b.c.in.Ingresses[i]
		for _, e := range b.c.in.Egresses {
			if e.Iface == g.Iface {
				rules = append(rules, b.inbound(e.Name, peer)...)
			}
		}
		rules = append(rules, b.peering(g, peer)...)
	}
	for _, v := range []*view{v4, v6} {
		rules = append(rules, b.sources(v)...)
	}
	return b.chain("from_"+g.Iface, append(rules, NftRule{Verdict: drop}))
}

// resize sends only packets that open a TCP connection through the rules that clamp its MSS.
func (b *filter) resize(rules []NftRule) []NftRule {
	if len(rules) == 0 {
		return nil
	}
	return []NftRule{{Syn: true, Verdict: NftVerdict{Kind: "jump", Chain: b.once("mss", rules)}}}
}

// steered matches queries that we sent to a resolver which is a member.
func (b *filter) steered(v NftVerdict) []NftRule {
	var rules []NftRule
	for _, n := range b.c.neighbours() {
		rules = append(rules, dnsTo(NftRule{OIF: n.iface, Verdict: v}, n.resolver)...)
	}
	return rules
}

// edges refuse to forward what nobody asked for between networks of the host that are not ours. A
// host that is no router would become one for its WAN's neighbours.
func (b *filter) edges() []NftRule {
	var rules []NftRule
	for _, e := range b.c.in.Edges {
		from := NftRule{IIF: e.Iface, Family: e.Family}
		if e.Switches {
			within := from
			within.OIF, within.Verdict = e.Iface, accept
			rules = append(rules, within)
		}
		from.CTState, from.Verdict = []string{"invalid", "new", "untracked"}, drop
		rules = append(rules, from)
	}
	return rules
}

// peering returns the rules for packets from one ingress to members behind another, or behind the
// same. Packets to a member's address are never routed to the Internet. If the other ingress is
// also an egress, only its prefixes tell members from the Internet.
func (b *filter) peering(g, peer *Ingress) []NftRule {
	var towards []NftRule
	for _, m := range b.c.members {
		if m.ingress == peer {
			towards = append(towards, NftRule{Dst: m.prefix})
		}
	}
	if len(towards) == 0 {
		if slices.Contains(b.c.egressIfaces(), peer.Iface) {
			return nil
		}
		towards = []NftRule{{OIF: peer.Iface}}
	}
	var rules []NftRule
	if !slices.Contains(b.c.egressIfaces(), g.Iface) { // else routers beyond it send errors, too
		rules = toErrors("related")
	}
	rules = append(rules, NftRule{OIF: peer.Iface, CTState: []string{"established", "related"},
		CTReply: true, Verdict: accept})
	if b.c.peers(g, peer) {
		rules = append(rules,
			NftRule{OIF: peer.Iface, CTState: []string{"new"}, SetLabel: LabelIngress},
			NftRule{OIF: peer.Iface, Verdict: accept})
	}
	judge := b.once("members", append(rules, NftRule{Verdict: drop}))
	for i := range towards {
		towards[i].Verdict = goTo(judge)
	}
	return towards
}

// to returns the chain for packets that would leave by an ingress and did not enter by one.
func (b *filter) to(g *Ingress) string {
	var sizes []NftRule
	if g.Owned {
		sizes = append(sizes, mss(NftRule{}, g.MTU, g.Carries)...)
	}
	for _, e := range b.mtus() {
		sizes = append(sizes, mss(NftRule{IIF: e.iface}, e.mtu, g.Carries)...)
	}
	rules := b.resize(sizes)
	for _, iface := range b.c.egressIfaces() {
		rules = append(rules, NftRule{IIF: iface, CTState: []string{"established", "related"},
			CTReply: true, Verdict: accept})
	}
	for _, e := range b.c.in.Egresses {
		rules = append(rules, b.inbound(e.Name, g)...)
	}
	return b.chain("to_"+g.Iface, append(rules, NftRule{Verdict: drop}))
}

func (b *filter) inbound(egress string, g *Ingress) []NftRule {
	var rules []NftRule
	for _, f := range Families {
		for _, in := range b.c.inbound(f, g) {
			if in.Egress == egress {
				rules = append(rules,
					NftRule{IIF: b.c.egress[egress].Iface, OIF: g.Iface, Dst: in.To,
						Proto: in.Proto, DstPorts: in.Ports, Verdict: accept})
			}
		}
	}
	return rules
}

// sources leads from the sources of an ingress to their classes. It uses a map, or a direct jump if
// there is only one class. Without policies there are none.
func (b *filter) sources(v *view) []NftRule {
	if len(v.classes) == 0 {
		return nil
	}
	m := VerdictMap{Name: fmt.Sprintf("sources%d_%s", v.family, v.ingress.Iface), Family: v.family}
	chains := make([]string, len(v.classes))
	for i, k := range v.classes {
		chains[i] = b.class(v.family, k)
	}
	if len(v.spans) == 1 && v.spans[0].label != none {
		return []NftRule{{Family: v.family, Verdict: goTo(chains[v.spans[0].label])}}
	}
	m.Elements = make([]VerdictElement, 0, len(v.spans))
	for _, s := range v.spans {
		if s.label != none {
			m.Elements = append(m.Elements, VerdictElement{s.first, s.last, chains[s.label]})
		}
	}
	b.out.Maps = append(b.out.Maps, m)
	return []NftRule{{Family: v.family, VMap: m.Name}}
}

// mapFrom is the number of destinations from which a class uses a map instead of one rule each.
const mapFrom = 8

// class returns the chain that decides a class by destination. Ingresses share it.
func (b *filter) class(f Family, k *class) string {
	others := b.closedResolvers(f, k.dns.resolver)
	key := fmt.Sprintf("%d %s %v %v", f, k.key, k.dnsApart, others)
	if _, ok := b.byText[key]; !ok {
		b.byText[key] = b.newClass(f, k, others)
	}
	return b.byText[key]
}

func (b *filter) newClass(f Family, k *class, others []netip.Addr) string {
	var rules []NftRule
	if k.dnsApart {
		rules = dnsTo(NftRule{Verdict: goTo(b.list(f, k.dnsList))}, k.dns.resolver)
	}
	for _, a := range others {
		rules = append(rules, dnsTo(NftRule{Verdict: drop}, a)...)
	}
	spans := k.dst.spans()
	if len(rules) == 0 && len(spans) == 1 {
		return b.list(f, spans[0].label)
	}
	if len(spans) < mapFrom {
		for _, st := range k.steps {
			for _, p := range st.to {
				rules = append(rules, NftRule{Dst: p, Verdict: goTo(b.list(f, st.list))})
			}
		}
		return b.once(fmt.Sprintf("class%d", f),
			append(rules, NftRule{Verdict: goTo(b.list(f, k.dst.label))}))
	}
	m := VerdictMap{Name: b.name(fmt.Sprintf("destinations%d", f), k.key), Family: f}
	for _, s := range spans {
		m.Elements = append(m.Elements, VerdictElement{s.first, s.last, b.list(f, s.label)})
	}
	b.out.Maps = append(b.out.Maps, m)
	return b.once(fmt.Sprintf("class%d", f),
		append(rules, NftRule{Family: f, DstVMap: m.Name}, NftRule{Verdict: drop}))
}

// list returns the chain of an egress list. It lets packets out by any of them, so that a failover
// does not change the filter. It has the number of the list's table.
func (b *filter) list(f Family, l int) string {
	name, names := fmt.Sprintf("list%d_none", f), []string(nil)
	if l != none {
		name, names = fmt.Sprintf("list%d_%d", f, b.c.table(l)), b.c.lists[l].names
	}
	if b.names[name] {
		return name
	}
	b.names[name] = true
	var rules []NftRule
	for _, egress := range names {
		if e := b.c.egress[egress]; e.Iface != "" && e.carries(f) {
			rules = append(rules, NftRule{OIF: e.Iface, Verdict: b.leave(f, e)})
		}
	}
	return b.chain(name, append(rules, NftRule{Verdict: drop}))
}

// leave returns the rules for packets that a policy sends by an egress. All may leave, except to
// destinations that the egress closes.
func (b *filter) leave(f Family, e *Egress) NftVerdict {
	closed := ofFamily(f, e.Closed)
	slices.SortFunc(closed, netip.Prefix.Compare)
	if len(closed) == 0 {
		return accept
	}
	var rules []NftRule
	for _, r := range e.closedResolvers(f) {
		rules = append(rules, dnsTo(NftRule{Verdict: accept}, r)...)
	}
	for _, p := range ofFamily(f, e.Open) {
		rules = append(rules, NftRule{Dst: p, Verdict: accept})
	}
	if len(closed) < mapFrom {
		for _, p := range closed {
			rules = append(rules, NftRule{Dst: p, Verdict: drop})
		}
		return goTo(b.once("leave", append(rules, NftRule{Verdict: accept})))
	}
	refuse := b.once("closed", []NftRule{{Verdict: drop}})
	m := VerdictMap{Family: f}
	for _, p := range closed {
		if n := len(m.Elements); n > 0 && !m.Elements[n-1].Last.Less(p.Addr()) {
			continue // within the one before
		}
		m.Elements = append(m.Elements, VerdictElement{p.Addr(), lastOf(p), refuse})
	}
	m.Name = b.closedMap(m)
	return goTo(b.once("leave", append(rules, NftRule{Family: f, DstVMap: m.Name},
		NftRule{Verdict: accept})))
}

// closedMap returns the name of the map with these elements, and makes it if there is none.
func (b *filter) closedMap(m VerdictMap) string {
	key := fmt.Sprintf("closed%d %v", m.Family, m.Elements)
	if b.byText[key] == "" {
		m.Name = b.name(fmt.Sprintf("closed%d", m.Family), key)
		b.byText[key] = m.Name
		b.out.Maps = append(b.out.Maps, m)
	}
	return b.byText[key]
}

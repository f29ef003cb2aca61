package policyroute

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// dns steers the queries of an ingress' clients and returns the chain's name. It returns "" when
// there is nowhere to steer them. Queries to the box and to members are left alone.
func (b *filter) dns(g *Ingress, views ...*view) string {
	rules := []NftRule{{LocalDst: true, Verdict: accept}}
	for _, m := range b.c.members {
		rules = append(rules, NftRule{Dst: m.prefix, Verdict: accept})
	}
	steers := false
	for _, v := range views {
		m := VerdictMap{Name: fmt.Sprintf("dns%d_%s", v.family, g.Iface), Family: v.family}
		steered := steeredSpans(v)
		m.Elements = make([]VerdictElement, 0, len(steered))
		for _, s := range steered {
			m.Elements = append(m.Elements,
				VerdictElement{s.first, s.last, b.resolver(v.classes[s.label].dns)})
		}
		if len(m.Elements) == 0 {
			continue
		}
		steers = true
		b.out.Maps = append(b.out.Maps, m)
		for _, proto := range dnsProtocols {
			rules = append(rules, NftRule{Family: v.family, Proto: proto, DstPorts: []uint16{53},
				VMap: m.Name})
		}
	}
	if !steers {
		return ""
	}
	return b.chain("dns_"+g.Iface, rules)
}

var dnsProtocols = []string{"udp", "tcp"}

// steeredSpans are the sources whose queries are steered, with neighbours of one fate joined. The
// label is that of any class of the same fate.
func steeredSpans(v *view) []span {
	out := make([]span, 0, len(v.spans))
	for _, s := range v.spans {
		if s.label == none || v.classes[s.label].dns == (steering{}) {
			continue
		}
		if n := len(out); n > 0 && out[n-1].last.Next() == s.first &&
			v.classes[out[n-1].label].dns == v.classes[s.label].dns {
			out[n-1].last = s.last
			continue
		}
		out = append(out, s)
	}
	return out
}

// resolver is the chain that sends a query where it belongs.
func (b *filter) resolver(s steering) string {
	key := "resolver " + s.String()
	if name, ok := b.byText[key]; ok {
		return name
	}
	rules := []NftRule{{Verdict: NftVerdict{Kind: "dnat", Addr: s.resolver}}}
	if s.port != 0 {
		rules = nil
		for _, proto := range dnsProtocols {
			rules = append(rules, NftRule{Proto: proto,
				Verdict: NftVerdict{Kind: "redirect", Port: s.port}})
		}
	}
	b.byText[key] = b.once("resolver", rules)
	return b.byText[key]
}

// dnsTo matches queries that we steered to a resolver.
func dnsTo(r NftRule, resolver netip.Addr) []NftRule {
	var rules []NftRule
	for _, proto := range dnsProtocols {
		r.Dst = netip.PrefixFrom(resolver, resolver.BitLen())
		r.Proto, r.DstPorts, r.CTStatus = proto, []uint16{53}, "dnat"
		rules = append(rules, r)
	}
	return rules
}

// translate rewrites sources of clients' packets on the way out. It never sees others.
func (b *filter) translate() []NftRule {
	rules := b.steered(NftVerdict{Kind: "masquerade"})
	ifaces := b.c.egressIfaces()
	for _, m := range b.c.members {
		if slices.Contains(ifaces, m.ingress.Iface) {
			// One interface, two roles: what goes to a member behind it is no way out.
			rules = append(rules, NftRule{OIF: m.ingress.Iface, Dst: m.prefix, Verdict: accept})
		}
	}
	for _, iface := range ifaces {
		e := &b.c.in.Egresses[slices.IndexFunc(b.c.in.Egresses,
			func(e Egress) bool { return e.Iface == iface })]
		for _, f := range Families {
			rules = append(rules, b.translation(f, e)...)
		}
	}
	return rules
}

func (b *filter) translation(f Family, e *Egress) []NftRule {
	nat := e.nat(f)
	r := NftRule{OIF: e.Iface, Family: f}
	switch {
	case nat.Kind == SNAT:
		r.Verdict = NftVerdict{Kind: "snat", Addr: nat.To}
	case nat.Kind == NoNAT && !nat.Prefix.IsValid():
		r.Verdict = accept
	case nat.Kind == NoNAT:
		routed := r
		routed.Src, routed.Verdict = nat.Prefix.Masked(), accept
		r.Verdict = NftVerdict{Kind: "masquerade"}
		return append([]NftRule{routed}, b.otherPorts(r)...)
	default:
		r.Verdict = NftVerdict{Kind: "masquerade"}
	}
	if r.Verdict.Kind == "accept" || e.Owned {
		return []NftRule{r}
	}
	return b.otherPorts(r)
}

// otherPorts returns a translation that gives no client a port of the box's own services. What the
// client's correspondent then sent to that service would reach the client instead: the kernel asks
// its connections before it asks sockets. ownPorts drops what gets such a port by chance.
func (b *filter) otherPorts(r NftRule) []NftRule {
	var rules []NftRule
	for _, own := range b.c.servicePorts() {
		own.OIF, own.Family, own.Verdict = r.OIF, r.Family, r.Verdict
		own.Verdict.Random = true
		rules = append(rules, own)
	}
	return append(rules, r)
}

// ownPorts drops new connections of clients that were translated to a port of the box's own
// services. The kernel forgets a connection whose first packet is dropped.
func (b *filter) ownPorts() NftChain {
	c := NftChain{Name: "translated",
		Hook: &Hook{Type: "filter", Hook: "postrouting", Priority: hookTranslated}}
	for _, iface := range b.c.egressIfaces() {
		if slices.ContainsFunc(b.c.tunnels(), func(e Egress) bool { return e.Iface == iface }) {
			continue
		}
		for _, own := range b.c.servicePorts() {
			own.OIF, own.CTState, own.CTStatus, own.Verdict = iface, []string{"new"}, "snat", drop
			c.Rules = append(c.Rules, own)
		}
	}
	return c
}

// servicePorts matches the ports at which the box itself is asked. Those of our listeners, SSH and
// ZeroTier are among them also while nothing listens there.
func (c *compiler) servicePorts() []NftRule {
	ports := map[string][]uint16{"tcp": {sshPort}, "udp": {zeroTierPort}}
	for _, l := range slices.Concat(c.in.Listeners, c.in.Services) {
		ports[l.Proto] = append(ports[l.Proto], l.Port)
	}
	var rules []NftRule
	for _, proto := range dnsProtocols {
		slices.Sort(ports[proto])
		rules = append(rules, NftRule{Proto: proto, SrcPorts: slices.Compact(ports[proto])})
	}
	return rules
}

// wire is an egress device and the largest packet that all egresses that use it carry; 0: unknown.
type wire struct {
	iface string
	mtu   int
}

func (b *filter) mtus() []wire {
	var out []wire
	for _, iface := range b.c.egressIfaces() {
		w := wire{iface: iface}
		for _, e := range b.c.in.Egresses {
			if e.Iface == iface {
				w.mtu = least(w.mtu, e.MTU, e.Carries)
			}
		}
		out = append(out, w)
	}
	return out
}

// minMSS is what every host must accept anyway (RFC 9293: IPv4's default).
const minMSS = 536

// mss fixes the segment size of TCP for both families, on a path that limits the size of packets. 0
// is no limit. Fixed, because a clamp to what the kernel knows of the path fails in one direction
// where routes depend on policy (measured).
func mss(match NftRule, limits ...int) []NftRule {
	packet := least(append(limits, ethernetMTU)...)
	var rules []NftRule
	for _, f := range Families {
		headers := 40
		if f == V6 {
			headers = 60
		}
		match.Family, match.SynMSS = f, uint16(max(minMSS, packet-headers))
		rules = append(rules, match)
	}
	return rules
}

// ethernetMTU is taken for the MTU of a way that is not known to carry less.
const ethernetMTU = 1500

// least returns the least of those that are not 0; 0 if all are.
func least(sizes ...int) int {
	n := 0
	for _, size := range sizes {
		if size > 0 && (n == 0 || size < n) {
			n = size
		}
	}
	return n
}

// Closed returns the state that guards the box until its daemon has started. Nothing is forwarded
// from or to these interfaces, and nothing that enters by them configures the box. That goes for
// what a bridge merely switches, too, where netfilter sees it: nobody knows yet whether the bridge
// leads elsewhere. A name may end in '*'. What the host itself sends to behind, the prefixes that
// were behind them, is refused unless main has a route there.
func Closed(ifaces []string, behind ...netip.Prefix) State {
	c := NftChain{Name: "forward", Hook: &Hook{Type: "filter", Hook: "forward",
		Priority: hookForward}}
	enter, entrance := NftChain{Name: "enter", Rules: enterRules(0, nil)}, entranceChain()
	refuse := NftChain{Name: "refuse", Rules: refuseRules()}
	errs := NftChain{Name: errorsChain, Rules: errorRules()}
	input := NftChain{Name: "input", Hook: &Hook{Type: "filter", Hook: "input",
		Priority: hookInput}}
	names := slices.Compact(slices.SortedFunc(slices.Values(ifaces), cmp.Compare[string]))
	var kept []Rule
	for _, f := range Families {
		for _, p := range ofFamily(f, behind) {
			kept = append(kept, keptRules(behindRules(f, &Ingress{Prefixes: []netip.Prefix{p}}))...)
		}
	}
	for _, name := range names {
		if !strings.HasSuffix(name, "*") { // a routing rule knows whole names alone
			for _, f := range Families {
				kept = append(kept, Rule{Family: f, Priority: RuleKept, IIF: name,
					Action: Unreachable, Kept: true})
			}
		}
		c.Rules = append(c.Rules, NftRule{IIF: name, Verdict: drop},
			NftRule{OIF: name, Verdict: drop})
		entrance.Rules = append(entrance.Rules, NftRule{IIF: name, Verdict: goTo("enter")})
		input.Rules = append(input.Rules,
			NftRule{IIF: name, Verdict: NftVerdict{Kind: "jump", Chain: "refuse"}},
			NftRule{IIF: name, CTState: []string{"new"}, SetLabel: LabelIngress})
	}
	return State{Rules: kept,
		Nft: Ruleset{Chains: []NftChain{enter, errs, refuse, entrance, c, input}}}
}

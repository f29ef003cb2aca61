package policyroute

import (
	"fmt"
	"net/netip"
	"slices"
)

const (
	// plainLimit is how many rules of a family are at most listed one after the other, in the
	// plainest form. Every packet of the box is compared with all of them.
	plainLimit = 100
	// rulePlainFirst is the priority of policy[0] when rules are listed; policy[n] follows at +n.
	rulePlainFirst = 15100
)

// rules compiles one family's rules.
func (c *compiler) rules(f Family) ([]Rule, error) {
	if len(c.in.Ingresses) == 0 {
		return c.ownRules(f), nil
	}
	var rules []Rule
	for i := range c.in.Ingresses {
		g := &c.in.Ingresses[i]
		rules = append(rules,
			Rule{Family: f, Priority: RuleMembers, IIF: g.Iface, Action: Lookup,
				Table: TableMembers},
			Rule{Family: f, Priority: RuleDeny, IIF: g.Iface, Action: Unreachable},
			Rule{Family: f, Priority: RuleKept, IIF: g.Iface, Action: Unreachable, Kept: true})
		// Main has no route to clients of the endpoint, since we write none there. Replies from the
		// box and from an egress match these rules.
		unrouted := g.Unrouted
		if g.Owned {
			unrouted = g.Prefixes
		}
		for _, p := range ofFamily(f, unrouted) {
			rules = append(rules, Rule{Family: f, Priority: RuleMembers, To: p, Action: Lookup,
				Table: TableMembers})
		}
		rules = append(rules, behindRules(f, g)...)
	}
	for _, name := range c.in.Stacked {
		rules = append(rules,
			Rule{Family: f, Priority: RuleDeny, IIF: name, Action: Unreachable},
			Rule{Family: f, Priority: RuleKept, IIF: name, Action: Unreachable, Kept: true})
	}
	policy, ok := c.plainRules(f)
	if !ok {
		var err error
		if policy, err = c.treeRules(f); err != nil {
			return nil, err
		}
	}
	rules = append(rules, keptRules(rules)...)
	rules = append(append(rules, policy...), c.ownRules(f)...)
	for i := range rules {
		rules[i].From, rules[i].To = selector(rules[i].From), selector(rules[i].To)
	}
	return rules, nil
}

// selector returns the prefix as the kernel tells it: one that matches every address is none.
func selector(p netip.Prefix) netip.Prefix {
	if p.IsValid() && p.Bits() == 0 {
		return netip.Prefix{}
	}
	return p
}

// keptRules returns what keeps packets for the destinations of the rules off main's default route
// while those rules are removed.
func keptRules(rules []Rule) []Rule {
	var kept []Rule
	for _, r := range rules {
		switch {
		case !r.To.IsValid():
			continue
		case r.Priority == RuleNearer:
			r.Priority = RuleKeptNearer
		default:
			r.Priority, r.Action, r.Table = RuleKeptBehind, Unreachable, 0
		}
		r.Kept = true
		if !slices.Contains(kept, r) {
			kept = append(kept, r)
		}
	}
	return kept
}

// behindRules keep packets for members behind an ingress off main's default route, for example
// while the ingress is gone.
func behindRules(f Family, g *Ingress) []Rule {
	if g.Owned {
		return nil // their prefixes have rules already
	}
	var rules []Rule
	for _, p := range ofFamily(f, g.Prefixes) {
		if slices.Contains(g.Unrouted, p) {
			continue
		}
		rules = append(rules,
			Rule{Family: f, Priority: RuleNearer, To: p, Action: Lookup, Table: TableMain,
				MinBits: p.Bits()},
			Rule{Family: f, Priority: RuleBehind, To: p, Action: Lookup, Table: TableMembers})
	}
	return rules
}

// ownRules route the box's own packets that concern an egress by that egress.
func (c *compiler) ownRules(f Family) []Rule {
	var rules []Rule
	for n, e := range c.in.Egresses {
		for _, a := range e.Addrs {
			if e.Owned && FamilyOf(a.Addr()) == f {
				rules = append(rules,
					Rule{Family: f, Priority: RuleSource,
						From:   netip.PrefixFrom(a.Addr(), a.Addr().BitLen()),
						Action: Lookup, Table: TableEgressFirst + n})
			}
		}
		rules = append(rules, Rule{Family: f, Priority: RuleProbe, Mark: MarkFirst + uint32(n),
			Action: Lookup, Table: TableEgressFirst + n})
	}
	return append(rules, c.answerRules(f)...)
}

// answerRules route the endpoint's replies by the uplink on which the request came: only its
// address tells which.
func (c *compiler) answerRules(f Family) []Rule {
	var rules []Rule
	for n, u := range c.in.Uplinks {
		for _, a := range u.Addrs {
			if FamilyOf(a) != f || !u.leads(f) {
				continue
			}
			for _, l := range c.in.Listeners {
				if !l.Answers {
					continue
				}
				r := Rule{Family: f, Priority: RuleNear, From: netip.PrefixFrom(a, a.BitLen()),
					Proto: l.Proto, SrcPort: l.Port,
					Action: Lookup, Table: TableMain, MinBits: 1}
				rules = append(rules, r)
				r.Priority, r.Table, r.MinBits = RuleAnswer, TableUplinkFirst+n, 0
				rules = append(rules, r)
			}
		}
	}
	return rules
}

// leads reports whether the uplink has a default route of the family.
func (u *Uplink) leads(f Family) bool { return f == V4 && u.V4 || f == V6 && u.V6 }

// plainRules lists the policies in their order. It declines if there would be too many, or if a
// resolver needs a rule of its own: only the dispatch tree has a place for those.
func (c *compiler) plainRules(f Family) ([]Rule, bool) {
	if len(c.in.Policies) > RulePolicyLast-rulePlainFirst+1 {
		return nil, false
	}
	var rules []Rule
	for i := range c.in.Ingresses {
		g := &c.in.Ingresses[i]
		for n := range c.in.Policies {
			if rules = c.appendPlain(rules, f, g, n); len(rules) > plainLimit {
				return nil, false
			}
		}
	}
	for i := range c.in.Ingresses {
		for _, k := range c.view(&c.in.Ingresses[i], f).classes {
			if k.mayConflict {
				return nil, false
			}
		}
	}
	return rules, true
}

func (c *compiler) appendPlain(rules []Rule, f Family, g *Ingress, n int) []Rule {
	p := &c.in.Policies[n]
	from, to := selectors(f, p.From), selectors(f, p.To)
	if !p.applies(g) {
		return rules
	}
	for _, src := range from {
		for _, dst := range to {
			rules = append(rules, Rule{Family: f, Priority: rulePlainFirst + n, IIF: g.Iface,
				From: src, To: dst,
				Action: Lookup, Table: c.table(c.listOf[n])})
		}
	}
	return rules
}

// selectors returns the prefixes of the family. An empty list gives one invalid prefix, which
// matches any address.
func selectors(f Family, ps []netip.Prefix) []netip.Prefix {
	if len(ps) == 0 {
		return []netip.Prefix{{}}
	}
	seen := map[netip.Prefix]bool{}
	var out []netip.Prefix
	for _, p := range ofFamily(f, ps) {
		if !seen[p] {
			seen[p] = true
			out = append(out, p)
		}
	}
	return out
}

func (c *compiler) table(l int) int { return TablePolicyFirst + l }

// routes compiles one family's routes.
func (c *compiler) routes(f Family) []Route {
	var routes []Route
	for _, m := range c.members {
		if FamilyOf(m.prefix.Addr()) != f {
			continue
		}
		// A member whose ingress is gone is unreachable: its packets must not follow a policy's
		// default route to the Internet.
		routes = append(routes, Route{Family: f, Table: TableMembers, Dst: m.prefix,
			Metric: MetricDeny, Type: UnreachableRoute})
		if m.ingress.Present {
			routes = append(routes, Route{Family: f, Table: TableMembers, Dst: m.prefix,
				Metric: MetricLive, Dev: m.ingress.Iface})
		}
	}
	for l := range c.lists {
		if c.lists[l].taken {
			routes = append(routes, policyTable(f, c.table(l), c.inUse(l, f))...)
		}
	}
	for n := range c.in.Egresses {
		e := &c.in.Egresses[n]
		if !e.Present || !e.carries(f) {
			e = nil
		}
		routes = append(routes, defaults(f, TableEgressFirst+n, e)...)
	}
	for n, u := range c.in.Uplinks {
		if u.Present && u.leads(f) && len(c.answerRules(f)) > 0 {
			gw := u.Gateway4
			if f == V6 {
				gw = u.Gateway6
			}
			routes = append(routes, Route{Family: f, Table: TableUplinkFirst + n, Dst: f.Default(),
				Metric: MetricLive, Dev: u.Iface, Gateway: gw})
		}
	}
	return routes
}

// policyTable returns the routes of a list's table. Destinations that the egress in use closes are
// refused, except for its resolvers. Its gateway has a route, too: a reverse-path check (rp_filter)
// looks it up here before the gateway's messages, such as "packet too big", reach a client. The
// filter drops what clients send to the gateway.
func policyTable(f Family, table int, e *Egress) []Route {
	routes := defaults(f, table, e)
	if len(routes) == 1 { // nothing leads out
		return routes
	}
	open := e.closedResolvers(f)
	if gw := routes[1].Gateway; gw.IsValid() && e.closes(gw) && !slices.Contains(open, gw) {
		open = append(open, gw)
	}
	for _, p := range ofFamily(f, e.Closed) {
		// one address alone, as a cloud's resolver: one route for it
		if p.IsSingleIP() && slices.Contains(open, p.Addr()) {
			continue
		}
		routes = append(routes, Route{Family: f, Table: table, Dst: p, Metric: MetricLive,
			Type: UnreachableRoute})
	}
	reachable := ofFamily(f, e.Open)
	for _, a := range open {
		reachable = append(reachable, netip.PrefixFrom(a, a.BitLen()))
	}
	for _, p := range reachable {
		live := routes[1]
		live.Dst = p
		routes = append(routes, live)
	}
	return routes
}

// closedResolvers returns the egress' resolvers that are inside what it closes.
func (e *Egress) closedResolvers(f Family) []netip.Addr {
	var out []netip.Addr
	for _, r := range e.DNS {
		if FamilyOf(r) == f && e.closes(r) && !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return out
}

// closedResolvers returns the resolvers that an egress opens in what it closes, but for the one to
// which a class's queries are steered. A policy for their address leads nobody there.
func (b *filter) closedResolvers(f Family, own netip.Addr) []netip.Addr {
	var out []netip.Addr
	for i := range b.c.in.Egresses {
		for _, a := range b.c.in.Egresses[i].closedResolvers(f) {
			if a != own && !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	return out
}

// defaults returns the default routes of a table: by the egress, if there is one, and the refusal
// behind it.
func defaults(f Family, table int, e *Egress) []Route {
	routes := []Route{{Family: f, Table: table, Dst: f.Default(), Metric: MetricDeny,
		Type: UnreachableRoute}}
	if e == nil {
		return routes
	}
	gw := e.Gateway4
	if f == V6 {
		gw = e.Gateway6
	}
	if e.Kind == EgressPeer && !gw.IsValid() {
		return routes // on a shared link a default route needs a next hop
	}
	return append(routes, Route{Family: f, Table: table, Dst: f.Default(), Metric: MetricLive,
		Dev: e.Iface, Gateway: gw})
}

// errCrowded reports that an ingress's rules of one family do not fit its priorities.
func errCrowded(g *Ingress, f Family, zones int) error {
	return fmt.Errorf(
		"%w: ingress %q: %d %s prefixes and exceptions do not fit the %d priorities of policy "+
			"rules",
		ErrIntent, g.Name, zones, f, RulePolicyLast-RulePolicyFirst+1)
}

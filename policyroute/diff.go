package policyroute

import (
	"net/netip"
	"slices"
	"strings"
)

// Diff returns the plan that changes the kernel from have to want. Diff(s, s) is empty, and a
// target that applies Diff(a, b) to a is then in b, except for links: drivers make and remove
// devices, so Diff configures those links of want that have shows to exist, and removes our
// addresses from links that want does not name.
//
// The order is: first the filter, atomically, since it alone keeps every packet to an allowed path;
// then refusals, then routes that lead somewhere, then removals. A teardown stops forwarding first
// and removes the filter last.
func Diff(have, want State) Plan {
	var ops []Op
	add := func(more []Op) { ops = append(ops, more...) }

	nft := nftOps(have.Nft, want.Nft)
	teardown := want.Nft.Empty()
	if !teardown {
		add(nft)
	}
	set, restore := sysctlOps(have.Sysctls, want.Sysctls)
	add(pick(restore, isForwarding))
	add(pick(set, not(isForwarding)))

	links, obsolete, stripped := addressOps(have.Links, want.Links)
	add(links)
	replaced, deleted := routeOps(withoutDevices(have.Routes, stripped), want.Routes)
	add(replaced)
	added, removed := ruleOps(have.Rules, want.Rules)
	add(added)
	add(removed)
	add(deleted)
	add(obsolete)

	add(chainOps(have.IPTables, seen(want.IPTables, have.Unseen)))
	add(pick(set, isForwarding))
	add(pick(restore, not(isForwarding)))
	if teardown {
		add(nft)
	}
	return Plan{Ops: ops}
}

// sysctlOps returns the parameters to write, and those to restore.
func sysctlOps(have, want []Sysctl) (set, restore []Op) {
	present := map[string]string{}
	for _, s := range have {
		present[s.Key] = s.Value
	}
	wanted := map[string]bool{}
	for _, s := range want {
		wanted[s.Key] = true
		if v, ok := present[s.Key]; !ok || v != s.Value {
			set = append(set, SetSysctl{Sysctl: s})
		}
	}
	for _, s := range have {
		if !wanted[s.Key] {
			restore = append(restore, RestoreSysctl{Key: s.Key})
		}
	}
	return set, restore
}

// isForwarding reports whether a parameter lets packets pass: those are set last and restored
// first. IPv6 requires it too, because accept_ra=2 must be set before forwarding and last longer.
func isForwarding(o Op) bool {
	switch o := o.(type) {
	case SetSysctl:
		return strings.HasSuffix(o.Sysctl.Key, "forwarding")
	case RestoreSysctl:
		return strings.HasSuffix(o.Key, "forwarding")
	}
	return false
}

func not(f func(Op) bool) func(Op) bool { return func(o Op) bool { return !f(o) } }

func pick(ops []Op, f func(Op) bool) []Op {
	return slices.DeleteFunc(slices.Clone(ops), not(f))
}

// addressOps returns the operations on links before the routes and the addresses to remove after
// them. It also returns the devices that lose their last IPv4 address meanwhile. The kernel flushes
// the IPv4 routes of such a device (fib_disable_ip), so those addresses go first and the routes are
// set again.
func addressOps(have, want []Link) (before, after []Op, stripped []string) {
	wanted := map[string]Link{}
	for _, l := range want {
		wanted[l.Name] = l
	}
	for _, h := range have {
		w := wanted[h.Name]
		before = append(before, linkOps(h, w)...)
		var gone []Op
		for _, a := range h.Addrs {
			if !slices.Contains(w.Addrs, a) {
				gone = append(gone, DelAddr{Dev: h.Name, Addr: a})
			}
		}
		if slices.ContainsFunc(h.Addrs, isV4) && !slices.ContainsFunc(w.Addrs, isV4) {
			stripped = append(stripped, h.Name)
			before = append(before, gone...)
			continue
		}
		after = append(after, gone...)
	}
	return before, after, stripped
}

func isV4(p netip.Prefix) bool { return p.Addr().Is4() }

// linkOps configures a link and adds its addresses. Zero values of want change nothing.
func linkOps(have, want Link) []Op {
	var ops []Op
	set := SetLink{Name: have.Name, Up: want.Up && !have.Up}
	if want.MTU != have.MTU {
		set.MTU = want.MTU
	}
	if set != (SetLink{Name: have.Name}) {
		ops = append(ops, set)
	}
	for _, a := range want.Addrs {
		if !slices.Contains(have.Addrs, a) {
			ops = append(ops, AddAddr{Dev: have.Name, Addr: a})
		}
	}
	return ops
}

func withoutDevices(routes []Route, devs []string) []Route {
	if len(devs) == 0 {
		return routes
	}
	return slices.DeleteFunc(slices.Clone(routes), func(r Route) bool {
		return r.Family == V4 && slices.Contains(devs, r.Dev)
	})
}

// routeID identifies the route that a replace replaces.
type routeID struct {
	family Family
	table  int
	dst    netip.Prefix
	metric uint32
}

func (r Route) id() routeID { return routeID{r.Family, r.Table, r.Dst, r.Metric} }

// routeOps puts refusals before routes that lead somewhere, and removes in the opposite order.
func routeOps(have, want []Route) (replaced, deleted []Op) {
	present := make(map[routeID]Route, len(have))
	for _, r := range have {
		present[r.id()] = r
	}
	wanted := make(map[routeID]bool, len(want))
	for _, r := range want {
		wanted[r.id()] = true
	}
	for _, t := range []RouteType{UnreachableRoute, Unicast} {
		for _, r := range want {
			if h, ok := present[r.id()]; r.Type == t && (!ok || h != r) {
				replaced = append(replaced, ReplaceRoute{Route: r})
			}
		}
	}
	for _, t := range []RouteType{Unicast, UnreachableRoute} {
		for _, r := range have {
			if r.Type == t && !wanted[r.id()] {
				deleted = append(deleted, DelRoute{Route: r})
			}
		}
	}
	return replaced, deleted
}

// ruleOps adds rules in an order in which no packet matches a general rule before a special one
// exists. It removes them in the opposite order.
func ruleOps(have, want []Rule) (added, removed []Op) {
	for _, r := range inOrder(minus(want, have)) {
		added = append(added, AddRule{Rule: r})
	}
	gone := inOrder(minus(have, want))
	slices.Reverse(gone)
	for _, r := range gone {
		removed = append(removed, DelRule{Rule: r})
	}
	return added, removed
}

// inOrder sorts rules for adding: the refusal behind them all, then the detour around a dispatch
// tree, then the rest. Plain rules follow their priority, so that the first match is there first.
// With a tree it is the opposite: everything below a goto is there before the goto leads to it.
func inOrder(rules []Rule) []Rule {
	tree := slices.ContainsFunc(rules, func(r Rule) bool { return r.Action == Goto })
	rank := func(r Rule) int {
		switch {
		case r.Priority == RuleKeptNearer:
			return -1 // else the box refused its own answers to members for a moment
		case r.Action == Unreachable:
			return 0
		case r.Action == Goto && r.IIF == "":
			return 1
		}
		return 2
	}
	slices.SortStableFunc(rules, func(a, b Rule) int {
		if d := rank(a) - rank(b); d != 0 {
			return d
		}
		if tree {
			return b.Priority - a.Priority
		}
		return a.Priority - b.Priority
	})
	return rules
}

// minus returns the rules of a that are not in b.
func minus(a, b []Rule) []Rule {
	var out []Rule
	b = inNormalOrder(b)
	for _, r := range inNormalOrder(a) {
		for len(b) > 0 && compareRules(b[0], r) < 0 {
			b = b[1:]
		}
		if len(b) == 0 || b[0] != r {
			out = append(out, r)
		}
	}
	return out
}

// inNormalOrder returns the rules sorted as Normalize does; Compile and a kernel return them so.
func inNormalOrder(rules []Rule) []Rule {
	if slices.IsSortedFunc(rules, compareRules) {
		return rules
	}
	return slices.SortedFunc(slices.Values(rules), compareRules)
}

type chainID struct {
	family Family
	name   string
}

// seen returns the chains of the families that have a usable iptables.
func seen(chains []Chain, unseen []Unseen) []Chain {
	return slices.DeleteFunc(slices.Clone(chains), func(c Chain) bool {
		return slices.ContainsFunc(unseen, func(u Unseen) bool { return u.Family == c.Family })
	})
}

func chainOps(have, want []Chain) []Op {
	var ops []Op
	present := map[chainID]Chain{}
	for _, c := range have {
		present[chainID{c.Family, c.Name}] = c
	}
	wanted := map[chainID]bool{}
	for _, c := range want {
		wanted[chainID{c.Family, c.Name}] = true
		h, ok := present[chainID{c.Family, c.Name}]
		if !ok || !slices.Equal(h.Rules, c.Rules) {
			ops = append(ops, SetChain{Chain: c})
		}
		if h.Parent != c.Parent {
			ops = append(ops, EnsureJump{Family: c.Family, Parent: c.Parent, Chain: c.Name})
		}
	}
	for _, c := range have {
		if !wanted[chainID{c.Family, c.Name}] {
			ops = append(ops, DeleteChain{Family: c.Family, Parent: parentOf(c.Name),
				Chain: c.Name})
		}
	}
	return ops
}

// parentOf returns the built-in chain that leads to one of our chains. An observed state does not
// have it when the jump is not in its place.
func parentOf(chain string) string {
	if chain == ChainInput {
		return "INPUT"
	}
	return "FORWARD"
}

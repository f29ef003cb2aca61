package policyroute

import (
	"math/bits"
	"net/netip"
	"slices"
)

// Thousands of sources cannot be compared one by one. The kernel walks its rules in order, for
// every packet, even the box's own. Beyond plainLimit they become a tree of gotos that mirrors the
// nesting of prefixes, so that a packet is compared with a few dozen:
//
//	15010  iif zt0 goto 15012              each ingress to its root
//	15011  goto 15900                      everybody else around the tree
//	15012  iif zt0 from 10.147.16.0/24 goto 15207      a node: disjoint prefixes, at most 16
//	15012  iif zt0 from 10.147.17.0/24 goto 15390
//	15013  iif zt0 lookup 23101                        its terminal: what holds for all the others
//	15207  iif zt0 from 10.147.16.9/32 lookup 23102
//	15208  iif zt0 lookup 23101
//
// Rules of one priority are disjoint, so the order in which they were added means nothing; where
// prefixes of a node nest, the longer ones have the smaller priority. Every node ends in a terminal
// that matches all of its ingress, so nothing runs on into the next. Every rule names its ingress,
// so a lost detour costs time and no correctness; a goto whose target is lost falls to the terminal
// of its own node, and there the filter decides.
const (
	ruleEntry  = RulePolicyFirst
	ruleDetour = RulePolicyFirst + 1
	ruleNodes  = RulePolicyFirst + 2

	fanBits = 4 // a node splits into 16 at most
)

// leafSizes are tried in turn: larger leaves need fewer priorities and more comparisons.
var leafSizes = []int{32, 64, 128}

func (c *compiler) treeRules(f Family) ([]Rule, error) {
	rules := []Rule{{Family: f, Priority: ruleDetour, Action: Goto, Target: RuleDeny}}
	for i := range c.in.Ingresses {
		g := &c.in.Ingresses[i]
		v := c.view(g, f)
		if len(v.classes) == 0 {
			continue // the entry is missing, the detour leads to the refusal
		}
		own, err := c.tree(v)
		if err != nil {
			return nil, err
		}
		rules = append(rules, own...)
	}
	return rules, nil
}

func (c *compiler) tree(v *view) ([]Rule, error) {
	for _, leaf := range leafSizes {
		t := &tree{c: c, v: v, leaf: leaf, classAt: map[int]int{},
			rules: make([]Rule, 0, v.src.size()*5/4)}
		if rules, ok := t.build(); ok {
			return rules, nil
		}
	}
	return nil, errCrowded(v.ingress, v.family, v.src.size())
}

// tree builds the rules of one ingress and family. Ingresses share priorities: each rule names its
// ingress.
type tree struct {
	c       *compiler
	v       *view
	leaf    int
	slots   [RulePolicyLast + 1 - ruleNodes]bool
	classAt map[int]int // class → priority of its node of destinations
	rules   []Rule
	crowded bool
}

// inlineLimit is the number of destinations of a class up to which they are listed beside its
// sources. More destinations get a node of their own.
const inlineLimit = 4

// axis is the selector by which a part of the tree branches, and the targets of its labels.
type axis struct {
	key         string // tells the parts of a tree apart
	begin, stop int    // its slots: from begin, before stop
	by          func(r *Rule, p netip.Prefix)
	// do returns the rules of a label. Their priorities are relative: 0 for the last, which matches
	// whatever the others left, and less before it.
	do func(label int) []Rule
}

func (t *tree) sources(stop int) axis {
	outcomes := map[int][]Rule{} // thousands of sources share a few
	return axis{key: t.v.ingress.Iface, stop: stop,
		by: func(r *Rule, p netip.Prefix) { r.From = p }, do: func(label int) []Rule {
			if outcomes[label] == nil {
				outcomes[label] = t.classOutcome(label)
			}
			return outcomes[label]
		}}
}

func (t *tree) destinations(key string, begin int) axis {
	return axis{key: t.v.ingress.Iface + " " + key, begin: begin, stop: len(t.slots),
		by: func(r *Rule, p netip.Prefix) { r.To = p },
		do: func(l int) []Rule { return []Rule{t.listOutcome(l)} }}
}

func (t *tree) build() ([]Rule, bool) {
	// Nodes of destinations can be reached from any node of sources, so they come after those.
	end := len(t.slots)
	if slices.ContainsFunc(t.v.classes, func(k *class) bool { return !k.inline() }) {
		end /= 2
	}
	for n, k := range t.v.classes {
		if !k.inline() {
			t.classAt[n] = t.classNode(k, end)
		}
	}
	root := t.node(t.sources(end), t.v.src, -1)
	t.emit(Rule{Priority: ruleEntry, Action: Goto, Target: root})
	return t.rules, !t.crowded
}

func (k *class) inline() bool { return k.dst.size() <= inlineLimit && !k.dnsApart }

func (t *tree) classOutcome(n int) []Rule {
	if n == none {
		return []Rule{t.listOutcome(none)}
	}
	k := t.v.classes[n]
	if !k.inline() {
		return []Rule{{Action: Goto, Target: t.classAt[n]}}
	}
	rules := []Rule{t.listOutcome(k.dst.label)}
	var walk func(z *zone)
	walk = func(z *zone) {
		for _, s := range z.sub {
			r := t.listOutcome(s.label)
			r.To, r.Priority = s.prefix, s.height()-k.dst.height()
			rules = append(rules, r)
			walk(s)
		}
	}
	walk(k.dst)
	return rules
}

func (t *tree) listOutcome(l int) Rule {
	if l == none {
		return Rule{Action: Goto, Target: RuleDeny}
	}
	return Rule{Action: Lookup, Table: t.c.table(l)}
}

// classNode places the destinations of a class, after the exception for its steered DNS.
func (t *tree) classNode(k *class, begin int) int {
	x := t.destinations(k.key, begin)
	if !k.dnsApart {
		return t.node(x, k.dst, begin-1)
	}
	at := t.place(x, begin, 2, begin-1)
	resolver := netip.PrefixFrom(k.dns.resolver, k.dns.resolver.BitLen())
	for _, proto := range []string{"tcp", "udp"} {
		t.emit(Rule{Priority: ruleNodes + at, To: resolver, Proto: proto, DstPort: 53,
			Action: Lookup, Table: t.c.table(k.dnsList)})
	}
	rest := t.node(x, k.dst, at+1)
	t.emit(Rule{Priority: ruleNodes + at + 1, Action: Goto, Target: rest})
	return ruleNodes + at
}

// node places a zone and its sub-zones somewhere after a slot, and returns its priority.
func (t *tree) node(x axis, z *zone, after int) int {
	if z.size() <= t.leaf {
		levels := x.levels(z) + x.depth(z.label)
		at := t.place(x, x.leafSlot(z), levels+1, after)
		t.flat(x, z, at)
		t.put(x, z, at+levels, false)
		return ruleNodes + at
	}
	groups := split(z, t.leaf)
	levels := 0
	for _, g := range groups {
		if len(g.sub) == 0 {
			levels = max(levels, x.depth(g.label))
		}
	}
	last := levels + 1 + x.depth(z.label)
	at := t.place(x, x.innerSlot(z), last+1, after)
	for _, g := range groups {
		if len(g.sub) == 0 {
			t.put(x, g, at+levels, true)
			continue
		}
		r := Rule{Priority: ruleNodes + at, Action: Goto, Target: t.node(x, g, at+last)}
		x.by(&r, g.prefix)
		t.emit(r)
	}
	t.put(x, z, at+last, false)
	return ruleNodes + at
}

// depth is the number of priorities before its last that a label's rules take.
func (x axis) depth(label int) int {
	d := 0
	for _, r := range x.do(label) {
		d = max(d, -r.Priority)
	}
	return d
}

// levels is the number of priorities that all sub-zones of z take when they are listed, inner
// prefixes first.
func (x axis) levels(z *zone) int {
	n := 0
	for _, s := range z.sub {
		n = max(n, x.levels(s)+x.depth(s.label)+1)
	}
	return n
}

// flat lists all sub-zones of z from a slot on.
func (t *tree) flat(x axis, z *zone, at int) {
	for _, s := range z.sub {
		t.flat(x, s, at)
		t.put(x, s, at+x.levels(s)+x.depth(s.label), true)
	}
}

// put emits the rules of a zone, the last of them at a slot. A terminal is not selective: it
// catches everything that came to its node.
func (t *tree) put(x axis, z *zone, at int, selective bool) {
	for _, r := range x.do(z.label) {
		r.Priority += ruleNodes + at
		if selective {
			x.by(&r, z.prefix)
		}
		t.emit(r)
	}
}

func (t *tree) emit(r Rule) {
	r.Family, r.IIF = t.v.family, t.v.ingress.Iface
	t.rules = append(t.rules, r)
}

// A node's wanted place depends on its own prefix alone. So one member more or less moves few
// nodes. What leads to others has the front, the longer its prefix the farther behind, since a goto
// leads forward only; leaves have the rest.

// front is the number of slots that inner nodes are spread over.
func (x axis) front() int { return (x.stop - x.begin) / 6 }

func (x axis) innerSlot(z *zone) int {
	return x.begin + x.front()*z.prefix.Bits()/z.prefix.Addr().BitLen() + x.hash(z)%(x.front()/8)
}

func (x axis) leafSlot(z *zone) int {
	return x.begin + x.front() + x.hash(z)%(x.stop-x.begin-x.front())
}

func (x axis) hash(z *zone) int { return int(hash(x.key+" "+z.prefix.String()) >> 1) }

// place takes n adjacent free slots after a slot: from wish on if there are any, else others.
func (t *tree) place(x axis, wish, n, after int) int {
	for _, part := range [][2]int{{max(wish, after+1), x.stop},
		{after + 1, max(wish, after+1) + n - 1}} {
		for at := part[0]; at+n <= min(part[1], x.stop); at++ {
			if t.free(at, n) {
				for s := at; s < at+n; s++ {
					t.slots[s] = true
				}
				return at
			}
		}
	}
	t.crowded = true
	return after + 1
}

func (t *tree) free(at, n int) bool {
	for s := at; s < at+n; s++ {
		if t.slots[s] {
			return false
		}
	}
	return true
}

// split groups the direct sub-zones of z by the bits that follow their common prefix. It makes at
// most 16 groups, and no more than it takes for a group to be a leaf. A group of several becomes
// a zone of its own with the label of z. Boundaries are those of addresses, and between levels
// those of four bits: they stay when members come and go, however far away.
func split(z *zone, leaf int) []*zone {
	if len(z.sub) == 1 {
		return z.sub
	}
	first, last := z.sub[0].prefix, z.sub[len(z.sub)-1].prefix
	level := commonBits(first.Addr(), last.Addr()) / fanBits * fanBits
	return group(z, level+1, level+fanBits, leaf)
}

func group(z *zone, length, longest, leaf int) []*zone {
	var out []*zone
	for rest := z.sub; len(rest) > 0; {
		n := 1
		p, _ := rest[0].prefix.Addr().Prefix(length)
		for rest[0].prefix.Bits() >= length && n < len(rest) && p.Contains(rest[n].prefix.Addr()) {
			n++
		}
		g := &zone{prefix: p, label: z.label, sub: rest[:n]}
		switch {
		case n == 1: // alone in its group
			out = append(out, rest[0])
		case length < longest && g.size() > leaf:
			out = append(out, group(g, length+1, longest, leaf)...)
		default:
			out = append(out, g)
		}
		rest = rest[n:]
	}
	return out
}

// commonBits is the number of leading bits that two addresses share.
func commonBits(a, b netip.Addr) int {
	x, y := a.AsSlice(), b.AsSlice()
	for i := range x {
		if d := x[i] ^ y[i]; d != 0 {
			return i*8 + bits.LeadingZeros8(d)
		}
	}
	return len(x) * 8
}

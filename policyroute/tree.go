package policyroute

import (
	"hash/fnv"
	"math/bits"
	"net/netip"
	"slices"
)

// Thousands of sources cannot be compared one by one: the kernel walks its rules in order, for every
// packet, the box's own included. Beyond plainLimit they become a tree of gotos that mirrors the
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
// prefixes of a node nest, the longer ones have the smaller priority. Every node ends in a terminal that
// matches all of its ingress, so nothing runs on into the next. Every rule names its ingress, so a lost
// detour costs time and no correctness; a goto whose target is lost falls to the terminal of its own
// node, and there the filter decides.
const (
	ruleEntry  = RulePolicyFirst
	ruleDetour = RulePolicyFirst + 1
	ruleNodes  = RulePolicyFirst + 2

	fanBits = 4 // a node splits into 16 at most
)

// leafSizes are tried in turn: larger leaves need fewer priorities and more comparisons.
var leafSizes = []int{16, 32, 64, 128}

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
		t := &tree{c: c, v: v, leaf: leaf, classAt: map[int]int{}, rules: make([]Rule, 0, v.src.size()*5/4)}
		if rules, ok := t.build(); ok {
			return rules, nil
		}
	}
	return nil, errCrowded(v.ingress, v.family, v.src.size())
}

// tree builds the rules of one ingress and family. Ingresses share priorities: each rule names its own.
type tree struct {
	c       *compiler
	v       *view
	leaf    int
	slots   [RulePolicyLast + 1 - ruleNodes]bool
	classAt map[int]int // class → priority of its node of destinations
	rules   []Rule
	crowded bool
}

// inlineLimit is the number of destinations of a class up to which they are listed beside its sources;
// more of them get a node of their own.
const inlineLimit = 4

// axis is the selector that a part of the tree discriminates by, and what its labels lead to.
type axis struct {
	by func(r *Rule, p netip.Prefix)
	// do returns the rules of a label. Their priorities are relative: 0 for the last, which matches
	// whatever the others left, and less before it.
	do func(label int) []Rule
}

func (t *tree) sources() axis {
	outcomes := map[int][]Rule{} // thousands of sources share a few
	return axis{func(r *Rule, p netip.Prefix) { r.From = p }, func(label int) []Rule {
		if outcomes[label] == nil {
			outcomes[label] = t.classOutcome(label)
		}
		return outcomes[label]
	}}
}

func (t *tree) destinations() axis {
	return axis{func(r *Rule, p netip.Prefix) { r.To = p },
		func(l int) []Rule { return []Rule{t.listOutcome(l)} }}
}

func (t *tree) build() ([]Rule, bool) {
	// Nodes of destinations are reached from any node of sources, so they come behind all of those.
	end := len(t.slots)
	if slices.ContainsFunc(t.v.classes, func(k *class) bool { return !k.inline() }) {
		end /= 2
	}
	for n, k := range t.v.classes {
		if !k.inline() {
			t.classAt[n] = t.classNode(k, end)
		}
	}
	root := t.node(t.sources(), t.v.src, "", -1, end)
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

// classNode places the destinations of a class, behind the exception for its steered DNS.
func (t *tree) classNode(k *class, from int) int {
	if !k.dnsApart {
		return t.node(t.destinations(), k.dst, k.key, from-1, len(t.slots))
	}
	at := t.place(k.key+" dns", 2, from-1, len(t.slots), true)
	resolver := netip.PrefixFrom(k.dns.resolver, k.dns.resolver.BitLen())
	for _, proto := range []string{"tcp", "udp"} {
		t.emit(Rule{Priority: ruleNodes + at, To: resolver, Proto: proto, DstPort: 53,
			Action: Lookup, Table: t.c.table(k.dnsList)})
	}
	rest := t.node(t.destinations(), k.dst, k.key, at+1, len(t.slots))
	t.emit(Rule{Priority: ruleNodes + at + 1, Action: Goto, Target: rest})
	return ruleNodes + at
}

// node places a zone and what is inside of it somewhere behind a slot, and returns its priority.
func (t *tree) node(x axis, z *zone, key string, after, end int) int {
	key += " " + z.prefix.String()
	if z.size() <= t.leaf {
		levels := x.levels(z) + x.depth(z.label)
		at := t.place(key, levels+1, after, end, false)
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
	at := t.place(key, last+1, after, end, true)
	for _, g := range groups {
		if len(g.sub) == 0 {
			t.put(x, g, at+levels, true)
			continue
		}
		r := Rule{Priority: ruleNodes + at, Action: Goto, Target: t.node(x, g, key, at+last, end)}
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

// levels is the number of priorities that everything inside of z takes when it is listed so that what
// nests is met from the inside.
func (x axis) levels(z *zone) int {
	n := 0
	for _, s := range z.sub {
		n = max(n, x.levels(s)+x.depth(s.label)+1)
	}
	return n
}

// flat lists everything inside of z from a slot on.
func (t *tree) flat(x axis, z *zone, at int) {
	for _, s := range z.sub {
		t.flat(x, s, at)
		t.put(x, s, at+x.levels(s)+x.depth(s.label), true)
	}
}

// put emits the rules of a zone, the last of them at a slot. A terminal is not selective: it catches
// everything that came to its node.
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

// place takes n neighbouring free slots behind a slot and before an end. Where depends on the key's
// hash, not on what else there is, so that one member more or less moves few nodes.
func (t *tree) place(key string, n, after, end int, inner bool) int {
	h := fnv.New32a()
	h.Write([]byte(t.v.ingress.Iface + key))
	first, room := after+1, end-after-n // room counts the places where n slots could begin
	if room <= 0 {
		t.crowded = true
		return after + 1
	}
	// Inner nodes stay near the front: their children must fit behind them.
	near := room
	if inner && room > 64 {
		near = room / 6
	}
	start := int(h.Sum32() % uint32(near))
	for i := range room {
		at := first + (start+i)%room
		if t.free(at, n) {
			for s := at; s < at+n; s++ {
				t.slots[s] = true
			}
			return at
		}
	}
	t.crowded = true
	return first
}

func (t *tree) free(at, n int) bool {
	for s := at; s < at+n; s++ {
		if t.slots[s] {
			return false
		}
	}
	return true
}

// split groups the direct sub-zones of z by the bits that follow what they have in common: one bit if
// the halves are leaves then, else four. A group of several becomes a zone of its own with the label of
// z. Boundaries are those of addresses, not of ranks: they stay when members come and go.
func split(z *zone, leaf int) []*zone {
	if len(z.sub) == 1 {
		return z.sub
	}
	first, last := z.sub[0].prefix, z.sub[len(z.sub)-1].prefix
	common := commonBits(first.Addr(), last.Addr())
	for width := 1; ; width++ {
		groups := group(z, common+width)
		fits := true
		for _, g := range groups {
			fits = fits && g.size() <= leaf
		}
		if fits || width == fanBits {
			return groups
		}
	}
}

func group(z *zone, length int) []*zone {
	var out []*zone
	var open *zone // a group that was made here
	for _, s := range z.sub {
		if s.prefix.Bits() < length {
			out, open = append(out, s), nil
			continue
		}
		p, _ := s.prefix.Addr().Prefix(length)
		if open == nil || open.prefix != p {
			open = &zone{prefix: p, label: z.label}
			out = append(out, open)
		}
		open.sub = append(open.sub, s)
	}
	for i, g := range out {
		if len(g.sub) == 1 && g.label == z.label {
			out[i] = g.sub[0] // alone in its group
		}
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

package policyroute

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// ErrIntent is wrapped by every error of Compile.
var ErrIntent = errors.New("cannot be carried out")

// Compile turns an intent into kernel objects. It is a pure function of the intent. Numbers of
// tables and marks depend only on the names and order of egresses, never on which are up: a
// failover changes routes and nothing else.
func Compile(in Intent) (State, error) {
	c, err := newCompiler(in)
	if err != nil {
		return State{}, err
	}
	var s State
	for _, f := range Families {
		rules, err := c.rules(f)
		if err != nil {
			return State{}, err
		}
		s.Rules = append(s.Rules, rules...)
		s.Routes = append(s.Routes, c.routes(f)...)
	}
	s.Links = c.links()
	s.Sysctls = c.sysctls()
	s.Nft = c.nft()
	s.IPTables = c.iptables()
	s.Normalize()
	return s, nil
}

// Normalize sorts everything whose order has no meaning, so that equal states compare equal.
func (s *State) Normalize() {
	slices.SortFunc(s.Links, func(a, b Link) int { return cmp.Compare(a.Name, b.Name) })
	for i := range s.Links {
		slices.SortFunc(s.Links[i].Addrs, netip.Prefix.Compare)
	}
	slices.SortFunc(s.Rules, compareRules)
	slices.SortFunc(s.Routes, compareRoutes)
	slices.SortFunc(s.Sysctls, func(a, b Sysctl) int { return cmp.Compare(a.Key, b.Key) })
	slices.SortFunc(s.IPTables, func(a, b Chain) int {
		return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.Name, b.Name))
	})
}

// compareRules compares by the first fields, and by the others only if those are equal: there are
// thousands of rules.
func compareRules(a, b Rule) int {
	if c := cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.Priority, b.Priority),
		cmp.Compare(a.IIF, b.IIF)); c != 0 {
		return c
	}
	if c := cmp.Or(comparePrefixes(a.From, b.From), comparePrefixes(a.To, b.To)); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.SrcPort, b.SrcPort),
		cmp.Compare(a.DstPort, b.DstPort),
		cmp.Compare(a.Mark, b.Mark), cmp.Compare(a.Action, b.Action), cmp.Compare(a.Table,
			b.Table), cmp.Compare(a.Target, b.Target),
		cmp.Compare(a.MinBits, b.MinBits), compareBools(a.Kept, b.Kept))
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// comparePrefixes orders masked prefixes as netip.Prefix.Compare does, without masking them again.
// Masking allocates an error for each invalid prefix, such as a selector that is not set.
func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

func compareRoutes(a, b Route) int {
	return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.Table, b.Table),
		a.Dst.Compare(b.Dst),
		cmp.Compare(a.Metric, b.Metric), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Dev, b.Dev),
		a.Gateway.Compare(b.Gateway))
}

// list is a distinct ordered list of egresses. All policies with this list share its table.
type list struct {
	taken bool // by some policy
	names []string
	use   map[Family]string // the egress that carries its traffic now
}

type compiler struct {
	in      Intent
	egress  map[string]*Egress
	lists   [TablePolicyLast - TablePolicyFirst + 1]list // by table
	listOf  []int                                        // policy → list
	members []member
	entered map[string]uint8 // labels of connections by ingress' interface
	views   map[viewID]*view // made when first asked for
}

// member is a prefix behind an ingress. If two ingresses have the same prefix, it belongs to the
// first.
type member struct {
	prefix  netip.Prefix
	ingress *Ingress
}

func newCompiler(in Intent) (*compiler, error) {
	c := &compiler{in: in, egress: map[string]*Egress{}, views: map[viewID]*view{},
		entered: labelEntered(in.Ingresses)}
	for _, check := range []func() error{c.checkIngresses, c.checkEgresses, c.collectLists,
		c.checkPairs, c.checkUplinks} {
		if err := check(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrIntent, err)
		}
	}
	return c, nil
}

// ifaceName is stricter than the kernel: its names need no quoting in any language that a state is
// printed in.
var ifaceName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,15}$`)

func (c *compiler) checkIngresses() error {
	names, ifaces := map[string]bool{}, map[string]bool{}
	taken := map[netip.Prefix]bool{}
	for i := range c.in.Ingresses {
		g := &c.in.Ingresses[i]
		switch {
		case !ifaceName.MatchString(g.Iface):
			return fmt.Errorf("ingress %q: interface name %q", g.Name, g.Iface)
		case names[g.Name], ifaces[g.Iface]:
			return fmt.Errorf("ingress %q (interface %q): named twice", g.Name, g.Iface)
		}
		names[g.Name], ifaces[g.Iface] = true, true
		if err := checkBound(g); err != nil {
			return err
		}
		for _, p := range g.Prefixes {
			if p.Bits() <= 0 {
				return fmt.Errorf("ingress %q: prefix %v behind it would be every address", g.Name,
					p)
			}
			if p = p.Masked(); !taken[p] {
				taken[p] = true
				c.members = append(c.members, member{p, g})
			}
		}
	}
	return nil
}

func checkBound(g *Ingress) error {
	for i, b := range g.Bound {
		mac, err := net.ParseMAC(b.MAC)
		if err != nil || len(mac) != 6 || mac.String() != b.MAC || !b.Prefix.IsValid() ||
			slices.ContainsFunc(g.Bound[:i],
				func(o Binding) bool { return o.Prefix.Overlaps(b.Prefix) }) {
			return fmt.Errorf("ingress %q: %v is bound twice, or to %q", g.Name, b.Prefix, b.MAC)
		}
	}
	return nil
}

func (c *compiler) checkEgresses() error {
	if limit := TableEgressLast - TableEgressFirst + 1; len(c.in.Egresses) > limit {
		return fmt.Errorf("%d egresses: at most %d", len(c.in.Egresses), limit)
	}
	for i := range c.in.Egresses {
		e := &c.in.Egresses[i]
		switch {
		case c.egress[e.Name] != nil:
			return fmt.Errorf("egress %q: named twice", e.Name)
		case e.Iface != "" && !ifaceName.MatchString(e.Iface):
			return fmt.Errorf("egress %q: interface name %q", e.Name, e.Iface)
		case e.Iface == "" && e.Present:
			return fmt.Errorf("egress %q: present without an interface", e.Name)
		}
		for _, f := range Families {
			if nat := e.nat(f); nat.Kind == SNAT && (!nat.To.IsValid() || FamilyOf(nat.To) != f) {
				return fmt.Errorf("egress %q: SNAT of %s to %v", e.Name, f, nat.To)
			}
		}
		c.egress[e.Name] = e
	}
	return nil
}

func (c *compiler) collectLists() error {
	number := map[string]int{}
	for _, p := range c.in.Policies {
		for _, name := range p.Egress {
			if c.egress[name] == nil {
				return fmt.Errorf("%s: no egress %q", p.Name, name)
			}
		}
		for _, f := range Families {
			if use := p.UseOf(f); use != "" && !slices.Contains(p.Egress, use) {
				return fmt.Errorf("%s: egress %q is not in its list", p.Name, use)
			}
		}
		number[listKey(p.Egress)] = none
	}
	if len(number) > len(c.lists) {
		return fmt.Errorf("%d different lists of egresses: at most %d", len(number), len(c.lists))
	}
	assign(number, len(c.lists))
	for _, p := range c.in.Policies {
		i := number[listKey(p.Egress)]
		l := &c.lists[i]
		if !l.taken {
			*l = list{taken: true, names: p.Egress,
				use: map[Family]string{V4: p.UseOf(V4), V6: p.UseOf(V6)}}
		}
		for _, f := range Families {
			if l.use[f] != p.UseOf(f) {
				return fmt.Errorf("%s: uses %q, another policy with the same list %q", p.Name,
					p.UseOf(f), l.use[f])
			}
		}
		c.listOf = append(c.listOf, i)
	}
	return nil
}

func listKey(names []string) string { return strings.Join(names, "\x00") }

// assign gives each key a number below limit that follows from the key. So a list of egresses keeps
// its number, and its table, whatever policies come and go. If two keys would have one number, the
// second takes the next free one.
func assign(number map[string]int, limit int) {
	taken := map[int]bool{}
	for _, key := range slices.Sorted(maps.Keys(number)) {
		n := int(hash(key) % uint32(limit))
		for taken[n] {
			n = (n + 1) % limit
		}
		number[key], taken[n] = n, true
	}
}

// hash returns a number for a key that does not depend on what else exists.
func hash(key string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(key))
	return h.Sum32()
}

func (c *compiler) checkUplinks() error {
	if limit := TableUplinkLast - TableUplinkFirst + 1; len(c.in.Uplinks) > limit {
		return fmt.Errorf("%d further uplinks: at most %d", len(c.in.Uplinks), limit)
	}
	for _, u := range c.in.Uplinks {
		if !ifaceName.MatchString(u.Iface) {
			return fmt.Errorf("uplink: interface name %q", u.Iface)
		}
	}
	return nil
}

func (c *compiler) checkPairs() error {
	known := func(name string) bool {
		return slices.ContainsFunc(c.in.Ingresses, func(g Ingress) bool { return g.Name == name })
	}
	for _, p := range c.in.Policies {
		for _, name := range p.Ingress {
			if !known(name) {
				return fmt.Errorf("%s: no ingress %q", p.Name, name)
			}
		}
	}
	for _, p := range c.in.Peerings {
		if !known(p.From) || !known(p.To) {
			return fmt.Errorf("peering %s → %s: no such ingress", p.From, p.To)
		}
	}
	for _, i := range c.in.Inbound {
		if c.egress[i.Egress] == nil {
			return fmt.Errorf("inbound to %s: no egress %q", i.To, i.Egress)
		}
		if i.Proto != "tcp" && i.Proto != "udp" {
			return fmt.Errorf("inbound to %s: protocol %q", i.To, i.Proto)
		}
	}
	return nil
}

// nat returns the translation for a family.
func (e *Egress) nat(f Family) NAT {
	if f == V6 {
		return e.NAT6
	}
	return e.NAT4
}

// closes reports whether clients cannot reach the destination by the egress.
func (e *Egress) closes(dst netip.Addr) bool {
	holds := func(p netip.Prefix) bool { return p.Contains(dst) }
	return slices.ContainsFunc(e.Closed, holds) && !slices.ContainsFunc(e.Open, holds)
}

// carries reports whether packets of the family may be sent into the egress.
func (e *Egress) carries(f Family) bool { return f == V4 && !e.NoIPv4 || f == V6 && e.IPv6 }

// inUse returns the egress that now carries a list's traffic of the family, or nil.
func (c *compiler) inUse(l int, f Family) *Egress {
	if l == none {
		return nil
	}
	e := c.egress[c.lists[l].use[f]]
	if e == nil || !e.Present || !e.carries(f) {
		return nil
	}
	return e
}

// applies reports whether the policy applies to packets that enter by the ingress.
func (p *Policy) applies(g *Ingress) bool {
	return len(p.Ingress) == 0 || slices.Contains(p.Ingress, g.Name)
}

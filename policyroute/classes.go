package policyroute

import (
	"net/netip"
	"slices"
	"strconv"
)

// step is a policy as it applies to a class of sources.
type step struct {
	policy int
	to     []netip.Prefix // of one family; empty means any, and is always the last step
	list   int
}

// class is the treatment that a set of sources of one ingress and family shares. It is the policies
// that apply to them, in order, up to the first for every destination.
type class struct {
	key   string // equal for equal decisions
	steps []step
	dst   *zone // destinations labelled with lists, or none

	// A client's DNS follows the policy for destinations in general. Its queries, to any resolver,
	// are sent to the resolver of that policy's egress. If another policy names the resolver's own
	// address ("to 10.0.0.0/8: block", resolver 10.64.0.1), the query still leaves by the
	// resolver's egress. Only port 53 has this exception, and only for queries that we steered
	// there.
	dns         steering
	dnsList     int
	dnsApart    bool // steered queries need rules of their own
	mayConflict bool // with the resolvers of other egresses of the list they might
}

// steering is where queries are sent: to an address, or to a port of the box. The zero value leaves
// them as they are.
type steering struct {
	resolver netip.Addr
	port     uint16
}

// view holds the policies as they apply to one ingress and family: sources labelled with classes.
type view struct {
	family  Family
	ingress *Ingress
	classes []*class
	src     *zone
	spans   []span // of src
}

// view returns the classes. Rules, filters and explanations are all made from it, and read the
// policies nowhere else.
func (c *compiler) view(g *Ingress, f Family) *view {
	at := viewID{g.Name, f}
	if c.views[at] == nil {
		c.views[at] = c.newView(g, f)
	}
	return c.views[at]
}

type viewID struct {
	ingress string
	family  Family
}

func (c *compiler) newView(g *Ingress, f Family) *view {
	v := &view{family: f, ingress: g}
	byKey := map[string]int{}
	var key []byte
	var claims []claim
	steps := make([]step, len(c.in.Policies))
	for i := range c.in.Policies {
		p := &c.in.Policies[i]
		from, to := ofFamily(f, p.From), ofFamily(f, p.To)
		if !p.applies(g) || len(p.From) > 0 && len(from) == 0 || len(p.To) > 0 && len(to) == 0 {
			continue
		}
		steps[i] = step{policy: i, to: to, list: c.listOf[i]}
		if len(from) == 0 {
			from = []netip.Prefix{f.Default()}
		}
		for _, prefix := range from {
			claims = append(claims, claim{prefix, i})
		}
	}
	ends := func(owner int) bool { return len(steps[owner].to) == 0 }
	v.src = zones(f, claims, ends, func(owners []int) int {
		if len(owners) == 0 {
			return none
		}
		key = appendClassKey(key[:0], steps, owners)
		i, ok := byKey[string(key)]
		if !ok {
			i = len(v.classes)
			byKey[string(key)] = i
			v.classes = append(v.classes, c.class(f, string(key), steps, owners))
		}
		return i
	})
	v.spans = v.src.spans()
	return v
}

// appendClassKey appends a key that is equal for owners with equal decisions.
func appendClassKey(key []byte, steps []step, owners []int) []byte {
	for _, o := range owners {
		for _, p := range steps[o].to {
			key = append(p.AppendTo(key), ' ')
		}
		key = append(strconv.AppendInt(key, int64(steps[o].list), 10), ';')
	}
	return key
}

func (c *compiler) class(f Family, key string, steps []step, owners []int) *class {
	k := &class{key: key, dnsList: none}
	var claims []claim
	for n, o := range owners {
		k.steps = append(k.steps, steps[o])
		to := steps[o].to
		if len(to) == 0 {
			to = []netip.Prefix{f.Default()}
			k.dnsList = steps[o].list
		}
		for _, p := range to {
			claims = append(claims, claim{p, n})
		}
	}
	k.dst = zones(f, claims, func(n int) bool { return true }, func(first []int) int {
		if len(first) == 0 {
			return none
		}
		return k.steps[first[0]].list
	})
	c.steer(k, f)
	return k
}

// steer chooses the resolver of a class.
func (c *compiler) steer(k *class, f Family) {
	if k.dnsList == none {
		return
	}
	for _, name := range c.lists[k.dnsList].names {
		e := c.egress[name]
		r := c.resolver(e, f)
		k.mayConflict = k.mayConflict || r.IsValid() && k.dst.find(r) != k.dnsList
	}
	e := c.inUse(k.dnsList, f)
	switch {
	case e == nil:
	case e.ResolverPort != 0:
		k.dns.port = e.ResolverPort
	default:
		k.dns.resolver = c.resolver(e, f)
		k.dnsApart = k.dns.resolver.IsValid() && k.dst.find(k.dns.resolver) != k.dnsList
	}
}

// resolver returns the egress' first resolver of the family that can be reached through it. A
// resolver inside an ingress's prefix can be reached only if that ingress is the egress' own
// interface, as with another member's forwarder.
func (c *compiler) resolver(e *Egress, f Family) netip.Addr {
	for _, a := range e.DNS {
		if FamilyOf(a) != f {
			continue
		}
		if m := c.memberOf(a); m == nil || m.ingress.Iface == e.Iface {
			return a
		}
	}
	return netip.Addr{}
}

// memberOf returns the most specific prefix of an ingress that contains the address, or nil.
func (c *compiler) memberOf(a netip.Addr) *member {
	var best *member
	for i := range c.members {
		m := &c.members[i]
		if m.prefix.Contains(a) && (best == nil || m.prefix.Bits() > best.prefix.Bits()) {
			best = m
		}
	}
	return best
}

// neighbour is a resolver that is a member, and the interface that leads to it.
type neighbour struct {
	iface    string
	resolver netip.Addr
}

// neighbours returns the members to which queries may be steered, each once.
func (c *compiler) neighbours() []neighbour {
	var out []neighbour
	for i := range c.in.Egresses {
		e := &c.in.Egresses[i]
		for _, f := range Families {
			r := c.resolver(e, f)
			n := neighbour{e.Iface, r}
			if r.IsValid() && e.ResolverPort == 0 && c.memberOf(r) != nil &&
				!slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	return out
}

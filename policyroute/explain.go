package policyroute

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Explanation describes the path of packets from one address to another, by the policy and in the
// kernel.
type Explanation struct {
	Policy string   // name of the policy that holds; empty when none does
	List   []string // its egresses, in order
	Egress string   // the one that carries the packets now; empty when they are refused
	Member string   // the ingress behind which the destination is, when it is a member
	Steer  string   // where DNS queries of the source go: an address, "port N of the box", or empty
	Reason string   // one sentence
	// the rules on the packet's way, as `ip rule` prints them, the deciding one last
	Rules []string
}

// Explain returns the path of packets from src to dst that enter by the named ingress. It reads the
// same classes from which Compile makes rules and filters.
func Explain(in Intent, src, dst netip.Addr, ingress string) (Explanation, error) {
	c, err := newCompiler(in)
	if err != nil {
		return Explanation{}, err
	}
	at := slices.IndexFunc(in.Ingresses, func(g Ingress) bool { return g.Name == ingress })
	if at < 0 {
		return Explanation{}, fmt.Errorf("%w: no ingress %q", ErrIntent, ingress)
	}
	src, dst = src.Unmap(), dst.Unmap()
	if src.Is4() != dst.Is4() {
		return Explanation{}, fmt.Errorf("%w: %s and %s are of different families", ErrIntent, src,
			dst)
	}
	s, err := Compile(in)
	if err != nil {
		return Explanation{}, err
	}
	g, f := &c.in.Ingresses[at], FamilyOf(dst)
	x := c.explain(g, f, src, dst)
	via := func(r *Rule) { x.Rules = append(x.Rules, r.String()) }
	if last := newMachine(s).decide(packet{iif: g.Iface, src: src, dst: dst}, via); last != nil {
		via(last)
	}
	return x, nil
}

func (c *compiler) explain(g *Ingress, f Family, src, dst netip.Addr) Explanation {
	var x Explanation
	v := c.view(g, f)
	label := v.src.find(src)
	if label != none {
		x.Steer = v.classes[label].dns.String()
	}
	if m := c.memberOf(dst); m != nil {
		x.Member = m.ingress.Name
		x.Reason = c.explainMember(g, m.ingress)
		return x
	}
	if label == none {
		x.Reason = "no rule of the policy covers this address: blocked; add it to from: of a rule"
		return x
	}
	for _, st := range v.classes[label].steps {
		if len(st.to) > 0 && !contains(st.to, dst) {
			continue
		}
		p := c.in.Policies[st.policy]
		x.Policy, x.List = p.Name, p.Egress
		x.Reason = c.explainPolicy(p, f)
		switch e := c.inUse(st.list, f); {
		case e == nil:
		case e.closes(dst):
			x.Reason = fmt.Sprintf(
				"%s: a network of this box, to which %s does not lead: blocked", p.Name, e.Name)
		default:
			x.Egress = e.Name
		}
		return x
	}
	x.Reason = "no rule that covers this address covers this destination: blocked"
	return x
}

func (c *compiler) explainMember(from, to *Ingress) string {
	switch {
	case !to.Present:
		return fmt.Sprintf("a device behind %s, whose interface %s is down: blocked", to.Name,
			to.Iface)
	case c.peers(from, to):
		return fmt.Sprintf("a device behind %s, which %s may reach", to.Name, from.Name)
	case c.peers(to, from):
		return fmt.Sprintf("a device behind %s: replies only", to.Name)
	}
	return fmt.Sprintf("a device behind %s, which %s may not reach: blocked", to.Name, from.Name)
}

func (c *compiler) explainPolicy(p Policy, f Family) string {
	e := c.egress[p.UseOf(f)]
	switch {
	case len(p.Egress) == 0:
		return p.Name + " blocks it"
	case e == nil:
		return fmt.Sprintf("%s: blocked, as none of these is connected: %s", p.Name,
			strings.Join(p.Egress, ", "))
	case !e.Present:
		return fmt.Sprintf("%s: blocked, as %s has no interface", p.Name, e.Name)
	case !e.carries(f):
		return fmt.Sprintf("%s: blocked, as %s carries no IPv%d", p.Name, e.Name, f)
	case p.Egress[0] != p.UseOf(f):
		return fmt.Sprintf("%s: %s is used in place of %s", p.Name, e.Name, p.Egress[0])
	}
	return fmt.Sprintf("%s: %s is used: it is the first", p.Name, e.Name)
}

// String names the place to which queries are sent.
func (s steering) String() string {
	switch {
	case s.port != 0:
		return fmt.Sprintf("port %d of the box", s.port)
	case s.resolver.IsValid():
		return s.resolver.String()
	}
	return ""
}

package policyroute

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Layer is one of the four layers, each of which alone keeps a packet from leaving by a wrong
// egress. See the package's documentation.
type Layer uint8

// The layers.
const (
	LayerDevice Layer = 1 + iota // the tunnel's device and the routes through it
	LayerTable                   // the unreachable default of each table
	LayerRule                    // the unreachable rule behind all lookups
	LayerFilter                  // table inet ztb
)

// Without returns the state as it is when layers have failed, or somebody has removed them.
func (s State) Without(layers ...Layer) State {
	for _, l := range layers {
		switch l {
		case LayerDevice:
			s.Routes = without(s.Routes, func(r Route) bool {
				return r.Type == Unicast && r.Table != TableMembers
			})
		case LayerTable:
			s.Routes = without(s.Routes, func(r Route) bool { return r.Type == UnreachableRoute })
		case LayerRule:
			s.Rules = without(s.Rules, func(r Rule) bool { return r.Action == Unreachable })
		case LayerFilter:
			s.Nft = Ruleset{}
		}
	}
	return s
}

func without[T any](xs []T, f func(T) bool) []T { return slices.DeleteFunc(slices.Clone(xs), f) }

// foreign is a device that nobody's policy names.
const foreign = "foreign0"

// LeakFree sends representative packets through a state and returns an error for the first that
// leaks. In its world the main table leads every packet to the WAN or to a stranger. A leak is a
// packet that leaves by a device that none of the intents allows. Packets come from the boundaries
// of every prefix that an intent names, in both families, by each ingress; they are first packets,
// later ones, replies, DNS, packets that no connection is kept for, and packets from outside that
// no member asked for.
func LeakFree(s State, intents ...Intent) error {
	return leakFree(s, intents, true, func(packet, string, []*judge) bool { return true })
}

// EscapeFree is LeakFree for what layers 1 to 3 promise. No client's packet leaves the box by a
// wrong egress or to a stranger. Who may speak to whom inside, what an egress closes, and whether a
// packet is translated, is not theirs alone.
func EscapeFree(s State, intents ...Intent) error {
	return leakFree(s, intents, false, func(p packet, dev string, judges []*judge) bool {
		return slices.ContainsFunc(judges,
			func(j *judge) bool { return j.ingress[p.iif] != nil }) &&
			!slices.ContainsFunc(judges, func(j *judge) bool { return j.ingress[dev] != nil })
	})
}

func leakFree(s State, intents []Intent, strict bool,
	counts func(packet, string, []*judge) bool) error {
	var judges []*judge
	for _, in := range intents {
		j, err := newJudge(in)
		if err != nil {
			return err
		}
		j.strict = strict
		judges = append(judges, j)
	}
	m := newMachine(s)
	for _, w := range worlds(intents) {
		for p := range packets(intents) {
			routed, dev := m.forward(p, w)
			if dev == "" || !counts(p, dev, judges) ||
				slices.ContainsFunc(judges, func(j *judge) bool { return j.allows(routed, dev) }) {
				continue
			}
			return fmt.Errorf("%s leaves by %s (main leads to %s)", routed, dev, w.dev)
		}
	}
	return nil
}

func (p packet) String() string {
	kind := "first packet"
	switch {
	case p.reply:
		kind = "reply"
	case p.opened:
		kind = "later packet"
	case p.untracked:
		kind = "untracked packet"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s → %s %s/%d from %s", kind, p.src, p.dst, p.proto, p.dport, p.iif)
	if p.steered {
		b.WriteString(" (steered)")
	}
	return b.String()
}

// judge evaluates policy as such, without any of what was compiled from it. It is written for being
// obviously right, not for speed.
type judge struct {
	in Intent
	// what an egress closes, or cannot translate, is not to leave by it
	strict   bool
	ingress  map[string]*Ingress // by interface
	resolved map[netip.Addr]bool // resolvers that something may be steered to
}

func newJudge(in Intent) (*judge, error) {
	if _, err := newCompiler(in); err != nil {
		return nil, err
	}
	j := &judge{in: in, ingress: map[string]*Ingress{}, resolved: map[netip.Addr]bool{}}
	for i := range in.Ingresses {
		j.ingress[in.Ingresses[i].Iface] = &in.Ingresses[i]
	}
	for _, e := range in.Egresses {
		for _, a := range e.DNS {
			j.resolved[a] = true
		}
	}
	return j, nil
}

// allows reports whether the packet may leave by the device.
func (j *judge) allows(p packet, dev string) bool {
	from, to := j.ingress[p.iif], j.ingress[dev]
	if j.inbound(p, dev) {
		return true
	}
	if from == nil {
		// From outside: replies by an egress to an ingress, and what none of our interfaces is part
		// of, unless the host would not forward it without us.
		return to == nil && !j.owned(p.iif) && !j.atEdge(p, dev) ||
			to != nil && p.reply && j.isEgress(p.iif)
	}
	if from == to && from.Switches && !j.isEgress(dev) {
		return true
	}
	if p.untracked && j.strict && to == nil {
		return false // with the client's own address
	}
	dns := p.steered && p.dport == 53 && j.resolved[p.dst]
	if owner := j.owner(p.dst); owner != nil {
		if dns && owner == to {
			return true
		}
		return owner == to && (p.reply ||
			slices.Contains(j.in.Peerings, Peering{from.Name, to.Name}))
	}
	if to != nil && len(to.Prefixes) == 0 &&
		(p.reply || slices.Contains(j.in.Peerings, Peering{from.Name, to.Name})) {
		return true
	}
	return dns && j.leads(p, from, true, dev) || j.leads(p, from, false, dev)
}

// leads reports whether the first policy that matches names an egress with the device. General
// policies are those that speak of every destination; a steered query belongs to the first of them.
func (j *judge) leads(p packet, from *Ingress, general bool, dev string) bool {
	for _, policy := range j.in.Policies {
		match := (len(policy.Ingress) == 0 || slices.Contains(policy.Ingress, from.Name)) &&
			contains(policy.From, p.src) &&
			(!general && contains(policy.To, p.dst) || len(policy.To) == 0)
		if !match {
			continue
		}
		return slices.ContainsFunc(j.in.Egresses, func(e Egress) bool {
			open := general || !j.strict || !e.closes(p.dst)
			return slices.Contains(policy.Egress, e.Name) && e.Iface == dev &&
				e.carries(p.family()) && open
		})
	}
	return false
}

// contains reports whether the address is in one of the prefixes; an empty list holds every
// address.
func contains(ps []netip.Prefix, a netip.Addr) bool {
	return len(ps) == 0 || slices.ContainsFunc(ps,
		func(p netip.Prefix) bool { return p.Contains(a) })
}

func (j *judge) inbound(p packet, dev string) bool {
	to := j.ingress[dev]
	return to != nil && slices.ContainsFunc(j.in.Inbound, func(in Inbound) bool {
		entered := slices.ContainsFunc(j.in.Egresses,
			func(e Egress) bool { return e.Name == in.Egress && e.Iface == p.iif })
		return entered && in.To.Contains(p.dst) && in.Proto == p.proto &&
			(len(in.Ports) == 0 || slices.Contains(in.Ports, p.dport))
	})
}

// atEdge reports whether a packet opens what the host itself would not forward.
func (j *judge) atEdge(p packet, dev string) bool {
	return !p.opened && slices.ContainsFunc(j.in.Edges, func(e Edge) bool {
		return e.Iface == p.iif && e.Family == p.family() && !(e.Switches && dev == e.Iface)
	})
}

func (j *judge) owned(iface string) bool {
	return slices.ContainsFunc(j.in.Egresses, func(e Egress) bool {
		return e.Owned && e.Iface == iface
	})
}

func (j *judge) isEgress(iface string) bool {
	return slices.ContainsFunc(j.in.Egresses, func(e Egress) bool { return e.Iface == iface })
}

// owner returns the ingress behind which the address is, or nil.
func (j *judge) owner(a netip.Addr) *Ingress {
	var owner *Ingress
	bits := -1
	for i := range j.in.Ingresses {
		for _, p := range j.in.Ingresses[i].Prefixes {
			if p.Contains(a) && p.Bits() > bits {
				owner, bits = &j.in.Ingresses[i], p.Bits()
			}
		}
	}
	return owner
}

package decide

import (
	"net/netip"
	"slices"

	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// Reload compares the intents before and after a reload.
type Reload struct {
	old, now policyroute.Intent
	clients  []netip.Prefix // of either
}

// NewReload compares two intents. It keeps both.
func NewReload(old, now policyroute.Intent) Reload {
	r := Reload{old: merged(old, now), now: merged(now, old)}
	for _, in := range []policyroute.Intent{r.old, r.now} {
		for _, p := range in.Policies {
			r.clients = append(r.clients, clientsOf(in, p)...)
		}
	}
	slices.SortFunc(r.clients, netip.Prefix.Compare)
	r.clients = slices.Compact(r.clients)
	return r
}

// merged returns an intent whose ingresses also have the prefixes of the other intent. Prefixes may
// be unknown for a moment, and that moves no connection.
func merged(in, other policyroute.Intent) policyroute.Intent {
	in.Ingresses = slices.Clone(in.Ingresses)
	for i := range in.Ingresses {
		for _, g := range other.Ingresses {
			if g.Iface == in.Ingresses[i].Iface {
				in.Ingresses[i].Prefixes = slices.Concat(in.Ingresses[i].Prefixes, g.Prefixes)
			}
		}
	}
	return in
}

// Moves reports whether packets from a client to a remote address leave by another egress than
// before. Steered is a query whose destination was rewritten: it follows the rules about all
// destinations.
func (r Reload) Moves(client, remote netip.Addr, steered bool) bool {
	if !slices.ContainsFunc(r.clients, func(p netip.Prefix) bool { return p.Contains(client) }) {
		return false
	}
	if (ownerOf(r.old, client) == nil) != (ownerOf(r.now, client) == nil) {
		return true // its ingress has come or gone
	}
	was, is := pathOf(r.old, client, remote, steered), pathOf(r.now, client, remote, steered)
	if was.use == is.use && was.use != (hop{}) {
		return false // only what stands behind it in the list is another
	}
	return !slices.Equal(was.list, is.list)
}

// path is the list of egresses of the first rule that matches, and the one in use.
type path struct {
	list []hop
	use  hop // zero: by none of them
}

// hop is where packets leave, and with which source address. The names of rules and egresses do not
// matter to connections.
type hop struct {
	iface string
	via   netip.Addr // the peer, where others share the interface
	nat   policyroute.NAT
}

func pathOf(in policyroute.Intent, client, remote netip.Addr, steered bool) path {
	if g := ownerOf(in, remote); g != nil && !steered {
		inside := hop{iface: g.Iface}
		return path{[]hop{inside}, inside}
	}
	from := ownerOf(in, client)
	i := slices.IndexFunc(in.Policies, func(p policyroute.Policy) bool {
		// A client behind a member's router is in no prefix of ours. It may enter by any ingress.
		enters := from == nil || len(p.Ingress) == 0 || slices.Contains(p.Ingress, from.Name)
		return enters && containsAddr(p.From, client) &&
			(len(p.To) == 0 || !steered && containsAddr(p.To, remote))
	})
	var w path
	if i < 0 {
		return w
	}
	for _, name := range in.Policies[i].Egress {
		for _, e := range in.Egresses {
			if e.Name != name {
				continue
			}
			h := hopOf(e, client)
			w.list = append(w.list, h)
			if name == in.Policies[i].UseOf(policyroute.FamilyOf(client)) {
				w.use = h
			}
		}
	}
	return w
}

func hopOf(e policyroute.Egress, client netip.Addr) hop {
	h := hop{iface: e.Iface, nat: e.NAT4}
	gateway := e.Gateway4
	if client.Is6() {
		h.nat, gateway = e.NAT6, e.Gateway6
	}
	if e.Kind == policyroute.EgressPeer {
		h.via = gateway
	}
	return h
}

// ownerOf returns the ingress behind which an address is, or nil. Where prefixes of several have
// it, as an interface's 10.0.0.0/8 and the endpoint's pool, the longest counts.
func ownerOf(in policyroute.Intent, a netip.Addr) *policyroute.Ingress {
	var owner *policyroute.Ingress
	bits := -1
	for i, g := range in.Ingresses {
		for _, p := range g.Prefixes {
			if p.Contains(a) && p.Bits() > bits {
				owner, bits = &in.Ingresses[i], p.Bits()
			}
		}
	}
	return owner
}

// containsAddr reports whether an address is in one of the prefixes. An empty list contains every
// address.
func containsAddr(ps []netip.Prefix, a netip.Addr) bool {
	return len(ps) == 0 || slices.ContainsFunc(ps,
		func(p netip.Prefix) bool { return p.Contains(a) })
}

// clientsOf returns the source prefixes of a rule. A rule for all addresses covers clients only:
// connections of other programs on this host, such as containers, are not ours.
func clientsOf(in policyroute.Intent, p policyroute.Policy) []netip.Prefix {
	from := p.From
	if len(from) == 0 {
		from = []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0),
			netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
	}
	var out []netip.Prefix
	for _, f := range from {
		if f.Bits() > 0 {
			out = append(out, f)
			continue
		}
		for _, g := range in.Ingresses {
			if len(p.Ingress) > 0 && !slices.Contains(p.Ingress, g.Name) {
				continue
			}
			for _, prefix := range g.Prefixes {
				if f.Contains(prefix.Addr()) {
					out = append(out, prefix)
				}
			}
		}
	}
	return out
}

// FlowsThrough selects the connections of one IP version of a list's clients through one of its
// egresses. Through a tunnel they have the tunnel's address. The WAN's address is also that of the
// host's own connections, which must live; there the clients' own addresses select them. Queries to
// the egress's forwarder are selected by its port: they stay on the box.
func FlowsThrough(intent policyroute.Intent, f policyroute.Family, list []string,
	egress string) kernel.Flows {
	var out kernel.Flows
	for _, e := range intent.Egresses {
		if e.Name == egress && e.ResolverPort != 0 {
			out.Redirected = append(out.Redirected, e.ResolverPort)
		}
		if e.Name == egress && e.Owned {
			for _, a := range e.Addrs {
				if policyroute.FamilyOf(a.Addr()) == f {
					out.Translated = append(out.Translated, a.Addr())
				}
			}
			return out
		}
	}
	for _, p := range intent.Policies {
		if slices.Equal(p.Egress, list) {
			for _, c := range clientsOf(intent, p) {
				if policyroute.FamilyOf(c.Addr()) == f {
					out.Sources = append(out.Sources, c)
				}
			}
		}
	}
	return out
}

// Translated returns the prefixes of members whose addresses every egress translates: the Internet
// never sees them.
func Translated(intent policyroute.Intent) []netip.Prefix {
	var out []netip.Prefix
	for _, g := range intent.Ingresses {
		for _, p := range g.Prefixes {
			if !slices.ContainsFunc(intent.Egresses, func(e policyroute.Egress) bool {
				nat := e.NAT4
				if p.Addr().Is6() {
					nat = e.NAT6
				}
				return nat.Kind == policyroute.NoNAT &&
					(!nat.Prefix.IsValid() || nat.Prefix.Overlaps(p))
			}) {
				out = append(out, p)
			}
		}
	}
	return out
}

// Taken selects the connections of clients that have the port of a service that was not there
// before: what is sent to the service would reach the client.
func Taken(before, now policyroute.Intent) kernel.Flows {
	var out kernel.Flows
	for _, l := range now.Services {
		if !slices.Contains(before.Services, l) {
			out.Ports = append(out.Ports, kernel.Port{Proto: l.Proto, Number: l.Port})
		}
	}
	if len(out.Ports) > 0 {
		out.Clients = Translated(now)
	}
	return out
}

// Entered reports whether clients enter by an interface that was not there before.
func Entered(before, now policyroute.Intent) bool {
	return slices.ContainsFunc(now.Ingresses, func(g policyroute.Ingress) bool {
		return g.Present && !slices.ContainsFunc(before.Ingresses,
			func(b policyroute.Ingress) bool { return b.Present && b.Iface == g.Iface })
	})
}

package bridge

import (
	"context"
	"net/netip"
	"slices"

	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// inForce is what the last pass that succeeded made the kernel hold.
type inForce struct {
	loaded *loaded
	intent policyroute.Intent
}

// settle notes what is in force now. After a reload it cuts the connections that the new policy
// sends another way: the kernel itself ends those that were masqueraded, and none else. The others
// must live: the answers of a cut one meet no entry any more, and a client that only listens waits
// for them forever.
func (d *daemon) settle(ctx context.Context, intent policyroute.Intent) {
	before, now := d.inForce, inForce{d.loaded, intent}
	if before.loaded == nil || before.loaded == now.loaded {
		d.inForce = now
		return
	}
	n, err := d.kernel.CutFlows(ctx, kernel.Flows{Moved: newReload(before.intent, intent).moves})
	if err != nil { // the next pass tries again
		d.opts.Logger.Warn("cutting flows failed", "cause", "reload", "error", err)
		return
	}
	d.inForce = now
	if n > 0 {
		d.opts.Logger.Info("flows cut", "cause", "reload", "count", n)
	}
}

// reload is what was asked for and what is now.
type reload struct {
	old, now policyroute.Intent
	clients  []netip.Prefix // of either
}

func newReload(old, now policyroute.Intent) reload {
	r := reload{old: merged(old, now), now: merged(now, old)}
	for _, in := range []policyroute.Intent{r.old, r.now} {
		for _, p := range in.Policies {
			r.clients = append(r.clients, clientsOf(in, p)...)
		}
	}
	slices.SortFunc(r.clients, netip.Prefix.Compare)
	r.clients = slices.Compact(r.clients)
	return r
}

// merged returns an intent whose ingresses have the prefixes, too, that the other one knows of:
// what lies behind an interface may be unknown for a moment, and that moves nobody.
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

// moves says that what a client sends to somebody goes another way than before. Steered is a query
// whose destination was rewritten: it follows the rules about all destinations.
func (r reload) moves(client, remote netip.Addr, steered bool) bool {
	if !slices.ContainsFunc(r.clients, func(p netip.Prefix) bool { return p.Contains(client) }) {
		return false
	}
	if (ownerOf(r.old, client) == nil) != (ownerOf(r.now, client) == nil) {
		return true // its ingress has come or gone
	}
	was, is := wayOf(r.old, client, remote, steered), wayOf(r.now, client, remote, steered)
	if was.use == is.use && was.use != (hop{}) {
		return false // only what stands behind it in the list is another
	}
	return !slices.Equal(was.list, is.list)
}

// way is what the first rule that matches says: by which of them, in order, and by which one now.
type way struct {
	list []hop
	use  hop // zero: by none of them
}

// hop is where packets leave, and as whom. What a rule or an egress is called does not matter to
// them.
type hop struct {
	iface string
	via   netip.Addr // the member that an interface is shared with
	nat   policyroute.NAT
}

func wayOf(in policyroute.Intent, client, remote netip.Addr, steered bool) way {
	if g := ownerOf(in, remote); g != nil && !steered {
		inside := hop{iface: g.Iface}
		return way{[]hop{inside}, inside}
	}
	from := ownerOf(in, client)
	i := slices.IndexFunc(in.Policies, func(p policyroute.Policy) bool {
		// A client behind a router of a member's is in no prefix of ours. It may enter by any
		// ingress.
		enters := from == nil || len(p.Ingress) == 0 || slices.Contains(p.Ingress, from.Name)
		return enters && holds(p.From, client) &&
			(len(p.To) == 0 || !steered && holds(p.To, remote))
	})
	var w way
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
			if name == in.Policies[i].Use {
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
	if e.Kind == policyroute.EgressMember {
		h.via = gateway
	}
	return h
}

// ownerOf returns the ingress behind which an address is, or nil.
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

// holds says that an address is in one of the prefixes; an empty list holds every address.
func holds(ps []netip.Prefix, a netip.Addr) bool {
	return len(ps) == 0 || slices.ContainsFunc(ps,
		func(p netip.Prefix) bool { return p.Contains(a) })
}

// clientsOf returns the prefixes that a rule speaks of. A rule for all addresses speaks of clients:
// the connections of others on this host, containers say, are none of ours.
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

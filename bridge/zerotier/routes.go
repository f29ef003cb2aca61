package zerotier

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ztbridge/bridge/health"
)

// RouteProblems returns the routes that keep members from using this box as intended. They are
// missing, or lead elsewhere. to holds the destinations, a default route for all; those of an IP
// version in which the box has no address in the network are left out. The subject is the network's
// name in the configuration.
func (n NetworkStatus) RouteProblems(name string, to []netip.Prefix) []health.Problem {
	var missing, elsewhere, lines []string
	partly := false // a destination that is not everything
	for _, p := range to {
		via, ok := n.own(p)
		if !ok {
			continue
		}
		here, others := n.hops(p)
		switch {
		case here && len(others) == 0:
			continue
		case len(others) > 0:
			elsewhere = append(elsewhere, others...)
		default:
			missing = append(missing, p.String())
		}
		partly = partly || p.Bits() > 0
		lines = append(lines, fmt.Sprintf("%s via %s", p, via))
	}
	add := strings.Join(lines, " and ")
	what := "members do not leave by it"
	if partly {
		what = "what members send there does not come to it"
	}
	switch {
	case len(elsewhere) > 0:
		slices.Sort(elsewhere)
		return []health.Problem{{Code: health.NetworkOtherRoute, Subject: name,
			Message: fmt.Sprintf("network %s sends its members elsewhere: %s is not by an address "+
				"of this box", name, strings.Join(slices.Compact(elsewhere), " and ")),
			Remedy: fmt.Sprintf("run: ztbridge network setup; or, at the network's controller, "+
				"remove that route, wait 10 s, and add %s. If it leads to another box on purpose: "+
				"name in `from:` the members that use this one", add)}}
	case len(missing) == 0:
		return nil
	}
	remedy := fmt.Sprintf("add at the network's controller: %s", add)
	if !partly {
		remedy = "run: ztbridge network setup --yes; or " + remedy
	}
	remedy += ". If only some members use this box on purpose: name them in `from:`"
	return []health.Problem{{Code: health.NetworkNoRoute, Subject: name,
		Message: fmt.Sprintf("network %s has no managed route %s by this box: %s", name,
			strings.Join(missing, " and "), what), Remedy: remedy}}
}

// LeadInto returns the network's routes that send members to one of the given networks of this box,
// each once.
func (n NetworkStatus) LeadInto(networks []netip.Prefix) (out []netip.Prefix) {
	for _, r := range n.Routes {
		if r.Target.Bits() > 1 && n.IsOwn(r.Via) && !slices.Contains(out, r.Target) &&
			slices.ContainsFunc(networks, r.Target.Overlaps) {
			out = append(out, r.Target)
		}
	}
	return out
}

// own returns the box's first address in the network of a destination's IP version.
func (n NetworkStatus) own(to netip.Prefix) (netip.Addr, bool) {
	i := slices.IndexFunc(n.Addrs, func(p netip.Prefix) bool {
		return p.Addr().Is4() == to.Addr().Is4()
	})
	if i < 0 {
		return netip.Addr{}, false
	}
	return n.Addrs[i].Addr(), true
}

// hops reports whether the network's routes send all of a destination to this box. It returns those
// that send it elsewhere. The most specific one counts, and of several to one target the one that
// is listed first (tried with zerotier-one 1.14.1). A default route comes before its halves on
// Linux, which splits it as well, and after them elsewhere: both must lead here.
func (n NetworkStatus) hops(to netip.Prefix) (here bool, others []string) {
	var routes []Route
	for _, r := range n.Routes {
		half := to.Bits() == 0 && r.Target.Bits() == 1
		covers := r.Target.Bits() <= to.Bits() && r.Target.Contains(to.Addr())
		if r.Via.IsValid() && (covers || half && r.Target.Addr().Is4() == to.Addr().Is4()) &&
			!slices.ContainsFunc(routes, func(o Route) bool { return o.Target == r.Target }) {
			routes = append(routes, r)
		}
	}
	if to.Bits() > 0 && len(routes) > 0 {
		routes = []Route{slices.MaxFunc(routes, func(a, b Route) int {
			return cmp.Compare(a.Target.Bits(), b.Target.Bits())
		})}
	}
	halves := 0
	for _, r := range routes {
		switch {
		case !n.IsOwn(r.Via):
			others = append(others, fmt.Sprintf("%s via %s", r.Target, r.Via))
		case r.Target.Bits() > to.Bits():
			halves++
		default:
			here = true
		}
	}
	return here || halves == 2, others
}

// IsOwn reports whether an address is the box's in the network. In a 6PLANE network a whole /80 is.
func (n NetworkStatus) IsOwn(a netip.Addr) bool {
	const sixPlane = 0xfc
	return a.IsValid() && slices.ContainsFunc(n.Addrs, func(p netip.Prefix) bool {
		return p.Addr() == a || p.Addr().Is6() && p.Addr().As16()[0] == sixPlane &&
			p.Bits() == 40 && netip.PrefixFrom(p.Addr(), 80).Masked().Contains(a)
	})
}

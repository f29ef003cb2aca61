package zerotier

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ztbridge/bridge/health"
)

// RouteProblems returns what keeps members from leaving by this box: default routes that the
// network lacks, or that lead elsewhere. Its subject is the network's name in the configuration. It
// is about IPv6 only where the network has IPv6 addresses.
func (n NetworkStatus) RouteProblems(name string) []health.Problem {
	var missing, elsewhere, lines []string
	for _, via := range n.own() {
		switch others := n.defaultRoutes(via); {
		case n.leadsHere(via):
			continue
		case len(others) > 0:
			elsewhere = append(elsewhere, others...)
		default:
			missing = append(missing, target(via).String())
		}
		lines = append(lines, fmt.Sprintf("%s via %s", target(via), via))
	}
	add := strings.Join(lines, " and ")
	if len(elsewhere) > 0 {
		return []health.Problem{{Code: health.NetworkOtherRoute, Subject: name,
			Message: fmt.Sprintf("network %s sends its members elsewhere: %s is not by an address "+
				"of this box", name, strings.Join(elsewhere, " and ")),
			Remedy: fmt.Sprintf("run: ztbridge network setup; or, at the network's controller, "+
				"remove that route, wait 10 s, and add %s. If it leads to another box on purpose: "+
				"name in `from:` the members that use this one", add)}}
	}
	if len(missing) > 0 {
		return []health.Problem{{Code: health.NetworkNoRoute, Subject: name,
			Message: fmt.Sprintf("network %s has no managed route %s by this box: members do not "+
				"leave by it", name, strings.Join(missing, " and ")),
			Remedy: fmt.Sprintf("run: ztbridge network setup --yes; or add at the network's "+
				"controller: %s", add)}}
	}
	return nil
}

// own returns the box's first address in the network of each IP version.
func (n NetworkStatus) own() []netip.Addr {
	var out []netip.Addr
	for _, is4 := range []bool{true, false} {
		i := slices.IndexFunc(n.Addrs, func(p netip.Prefix) bool { return p.Addr().Is4() == is4 })
		if i >= 0 {
			out = append(out, n.Addrs[i].Addr())
		}
	}
	return out
}

// target returns the default route's destination in the IP version of an address.
func target(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, 0).Masked() }

// defaultRoutes returns the network's default routes in the IP version of an address.
func (n NetworkStatus) defaultRoutes(a netip.Addr) (out []string) {
	for _, r := range n.Routes {
		if r.Target == target(a) && r.Via.IsValid() {
			out = append(out, fmt.Sprintf("%s via %s", r.Target, r.Via))
		}
	}
	return out
}

// leadsHere reports whether the network's routes send all of an IP version to this box: by the
// default route, or by its two halves.
func (n NetworkStatus) leadsHere(a netip.Addr) bool {
	to := func(p netip.Prefix) bool {
		return slices.ContainsFunc(n.Routes,
			func(r Route) bool { return r.Target == p && n.isOwn(r.Via) })
	}
	lower, upper := netip.MustParsePrefix("::/1"), netip.MustParsePrefix("8000::/1")
	if a.Is4() {
		lower, upper = netip.MustParsePrefix("0.0.0.0/1"), netip.MustParsePrefix("128.0.0.0/1")
	}
	return to(target(a)) || to(lower) && to(upper)
}

// isOwn reports whether an address is the box's in the network. In a 6PLANE network a whole /80 is.
func (n NetworkStatus) isOwn(a netip.Addr) bool {
	const sixPlane = 0xfc
	return a.IsValid() && slices.ContainsFunc(n.Addrs, func(p netip.Prefix) bool {
		return p.Addr() == a || p.Addr().Is6() && p.Addr().As16()[0] == sixPlane &&
			p.Bits() == 40 && netip.PrefixFrom(p.Addr(), 80).Masked().Contains(a)
	})
}

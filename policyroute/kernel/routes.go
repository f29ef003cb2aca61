package kernel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
)

// listRoutes returns our routes of one family; names maps the indices of links.
func (k *Kernel) listRoutes(f policyroute.Family,
	names map[int]string) ([]policyroute.Route, error) {
	filter := &netlink.Route{Protocol: policyroute.Protocol}
	raw, err := k.strict.RouteListFiltered(int(afOf(f)), filter,
		netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
	switch {
	case errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EOPNOTSUPP):
		return nil, nil // a kernel without IPv6
	case err != nil:
		return nil, fmt.Errorf("listing %s routes: %w", f, err)
	}
	var out []policyroute.Route
	for _, r := range raw {
		if r.Table < policyroute.TableFirst || r.Table > policyroute.TableLast {
			continue
		}
		route := policyroute.Route{Family: f, Table: r.Table, Dst: fromIPNet(r.Dst),
			Metric: uint32(r.Priority)}
		switch r.Type {
		case unix.RTN_UNICAST:
			route.Dev = names[r.LinkIndex]
			if gw, ok := netip.AddrFromSlice(r.Gw); ok {
				route.Gateway = gw
			}
		case unix.RTN_UNREACHABLE:
			route.Type = policyroute.UnreachableRoute
		default:
			continue
		}
		out = append(out, route)
	}
	return out, nil
}

func (k *Kernel) replaceRoute(r policyroute.Route) error {
	route := toRoute(r)
	if r.Type == policyroute.Unicast {
		link, err := k.rtnl.LinkByName(r.Dev)
		if err != nil {
			return fmt.Errorf("finding link %s: %w", r.Dev, err)
		}
		route.LinkIndex = link.Attrs().Index
		route.Scope = netlink.SCOPE_LINK
		if r.Gateway.IsValid() {
			route.Gw = r.Gateway.AsSlice()
			route.Scope = netlink.SCOPE_UNIVERSE
			route.SetFlag(netlink.FLAG_ONLINK)
		}
	}
	return k.rtnl.RouteReplace(route)
}

func (k *Kernel) delRoute(r policyroute.Route) error {
	route := toRoute(r)
	route.Scope = netlink.SCOPE_NOWHERE // matches any
	err := k.rtnl.RouteDel(route)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// toRoute translates what names a route.
func toRoute(r policyroute.Route) *netlink.Route {
	out := &netlink.Route{
		Table: r.Table, Dst: toIPNet(r.Dst),
		Priority: int(r.Metric), Protocol: policyroute.Protocol, Type: unix.RTN_UNICAST,
	}
	if r.Type == policyroute.UnreachableRoute {
		out.Type = unix.RTN_UNREACHABLE
	}
	return out
}

func toIPNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// fromIPNet keeps the bits behind the mask: an address of a link has them.
func fromIPNet(n *net.IPNet) netip.Prefix {
	addr, _ := netip.AddrFromSlice(n.IP)
	bits, total := n.Mask.Size()
	if total == 32 {
		addr = addr.Unmap()
	}
	return netip.PrefixFrom(addr, bits)
}

// wrongRoutes returns main's routes by which answers do not come to a source.
func (k *Kernel) wrongRoutes(f policyroute.Family, sources []Source, egress string,
	dsts []netip.Addr) ([]Diversion, error) {
	dead, err := k.deadRoutes(f, sources)
	if err != nil {
		return nil, err
	}
	nearer, err := k.nearerRoutes(f, sources, egress, dsts)
	return append(dead, nearer...), err
}

// deadRoutes returns main's routes that throw away what goes to a source.
func (k *Kernel) deadRoutes(f policyroute.Family, sources []Source) ([]Diversion, error) {
	var out []Diversion
	for i, name := range []string{"blackhole", "unreachable", "prohibit"} {
		routes, err := k.rtnl.RouteListFiltered(int(afOf(f)), &netlink.Route{
			Type: unix.RTN_BLACKHOLE + i, Table: unix.RT_TABLE_MAIN},
			netlink.RT_FILTER_TYPE|netlink.RT_FILTER_TABLE)
		if err != nil {
			return nil, fmt.Errorf("listing %s routes: %w", name, err)
		}
		for _, r := range routes {
			if r.Dst == nil {
				continue
			}
			to := fromIPNet(r.Dst)
			for _, s := range sources {
				if !slices.ContainsFunc(s.Prefixes, func(p netip.Prefix) bool {
					return p.Bits() <= to.Bits() && p.Contains(to.Addr())
				}) {
					continue
				}
				out = append(out, Diversion{Iface: s.Iface, Src: inside(to),
					Rule:   fmt.Sprintf("route %s %s", name, to),
					Remove: fmt.Sprintf("%s route del %s %s", ipProgram(f), name, to)})
			}
		}
	}
	return out, nil
}

// nearerRoutes returns main's routes that lead a part of a source's own subnet to another
// interface. Subnets of other interfaces are not among them: the host's state has those.
func (k *Kernel) nearerRoutes(f policyroute.Family, sources []Source, egress string,
	dsts []netip.Addr) ([]Diversion, error) {
	i := slices.IndexFunc(dsts, func(a netip.Addr) bool { return policyroute.FamilyOf(a) == f })
	if egress == "" || i < 0 {
		return nil, nil
	}
	routes, err := k.rtnl.RouteListFiltered(int(afOf(f)), &netlink.Route{
		Type: unix.RTN_UNICAST, Table: unix.RT_TABLE_MAIN},
		netlink.RT_FILTER_TYPE|netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("listing routes: %w", err)
	}
	var out []Diversion
	for _, s := range sources {
		link, err := k.rtnl.LinkByName(s.Iface)
		if err != nil {
			continue
		}
		for _, r := range routes {
			if r.Dst == nil || r.Protocol == unix.RTPROT_KERNEL ||
				r.LinkIndex == link.Attrs().Index ||
				!onLink(routes, link.Attrs().Index, fromIPNet(r.Dst)) {
				continue
			}
			to := fromIPNet(r.Dst)
			_, oif, err := k.routeOf(flow{iif: egress, src: dsts[i], dst: inside(to)})
			if err != nil || oif == s.Iface {
				continue // it decides about nothing, or cannot be asked about now
			}
			what := to.String()
			if gateway, ok := netip.AddrFromSlice(r.Gw); ok {
				what += " via " + gateway.Unmap().String()
			}
			what += " dev " + oif
			out = append(out, Diversion{Iface: s.Iface, Src: inside(to), Rule: "route " + what,
				Remove: ipProgram(f) + " route del " + what, Elsewhere: true})
		}
	}
	return out, nil
}

// onLink reports whether a destination lies in a subnet of the link itself.
func onLink(routes []netlink.Route, link int, to netip.Prefix) bool {
	return slices.ContainsFunc(routes, func(r netlink.Route) bool {
		return r.LinkIndex == link && r.Protocol == unix.RTPROT_KERNEL && r.Dst != nil &&
			fromIPNet(r.Dst).Bits() <= to.Bits() && fromIPNet(r.Dst).Contains(to.Addr())
	})
}

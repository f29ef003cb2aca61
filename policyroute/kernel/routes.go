package kernel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

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

// deadTypes are the routes that throw packets away, as ip-route(8) names them.
var deadTypes = map[int]string{unix.RTN_BLACKHOLE: "blackhole", unix.RTN_UNREACHABLE: "unreachable",
	unix.RTN_PROHIBIT: "prohibit"}

// wrongRoutes returns main's routes that throw away what goes to a source, and those that lead a
// part of its own subnet to another interface. Subnets of other interfaces are not among them: the
// host's state has those.
func (k *Kernel) wrongRoutes(f policyroute.Family, sources []Source, egress string,
	dsts []netip.Addr) ([]Diversion, error) {
	routes, err := k.rtnl.RouteListFiltered(int(afOf(f)),
		&netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("listing routes: %w", err)
	}
	var out []Diversion
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		to, name := fromIPNet(r.Dst), deadTypes[r.Type]
		for _, s := range sources {
			d := Diversion{Iface: s.Iface, Src: inside(to), Elsewhere: name == ""}
			switch {
			case d.Elsewhere && k.onLink(routes, s.Iface, r):
				d.Rule = k.elsewhere(r, flow{iif: egress, to: s.Iface, dst: d.Src}, dsts)
			case !d.Elsewhere && slices.ContainsFunc(s.Prefixes, holds(to)):
				d.Rule = fmt.Sprintf("route %s %s", name, to)
			}
			if d.Rule != "" {
				d.Remove = strings.Replace(d.Rule, "route", ipProgram(f)+" route del", 1)
				out = append(out, d)
			}
		}
	}
	return out, nil
}

// elsewhere describes a route if replies from any of dsts leave by it; "" if it decides about none,
// or that cannot be asked now.
func (k *Kernel) elsewhere(r netlink.Route, reply flow, dsts []netip.Addr) string {
	i := slices.IndexFunc(dsts, func(a netip.Addr) bool { return a.Is4() == reply.dst.Is4() })
	if reply.iif == "" || i < 0 {
		return ""
	}
	reply.src = dsts[i]
	_, oif, err := k.routeOf(reply)
	if err != nil || oif == reply.to {
		return ""
	}
	rule := "route " + fromIPNet(r.Dst).String()
	if gateway, ok := netip.AddrFromSlice(r.Gw); ok {
		rule += " via " + gateway.Unmap().String()
	}
	return rule + " dev " + oif
}

// holds returns a function that reports whether the whole of a prefix is in another.
func holds(p netip.Prefix) func(netip.Prefix) bool {
	return func(wide netip.Prefix) bool {
		return wide.Bits() <= p.Bits() && wide.Contains(p.Addr())
	}
}

// onLink reports whether a route takes, to another interface, a part of the subnet of a link.
func (k *Kernel) onLink(routes []netlink.Route, iface string, r netlink.Route) bool {
	link, err := k.rtnl.LinkByName(iface)
	return err == nil && r.Protocol != unix.RTPROT_KERNEL && r.LinkIndex != link.Attrs().Index &&
		slices.ContainsFunc(routes, func(own netlink.Route) bool {
			return own.LinkIndex == link.Attrs().Index && own.Protocol == unix.RTPROT_KERNEL &&
				own.Dst != nil && holds(fromIPNet(r.Dst))(fromIPNet(own.Dst))
		})
}

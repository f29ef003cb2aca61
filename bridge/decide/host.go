package decide

import (
	"net/netip"
	"slices"
	"strings"

	"ztbridge/bridge/config"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// HostState is what the host's kernel holds that is not ours: links, addresses, default routes. It
// is a value, so that decisions are tested without a kernel.
type HostState kernel.HostState

// Link returns the interface of that name.
func (w HostState) Link(name string) (kernel.Link, bool) {
	for _, l := range w.Links {
		if l.Name == name {
			return l, true
		}
	}
	return kernel.Link{}, false
}

// Exists reports whether there is an interface of that name.
func (w HostState) Exists(name string) bool {
	_, ok := w.Link(name)
	return ok
}

// Up reports whether the interface exists and is administratively up.
func (w HostState) Up(name string) bool {
	l, ok := w.Link(name)
	return ok && l.Up
}

// Owner returns the interface that has an address.
func (w HostState) Owner(addr netip.Addr) (kernel.Link, bool) {
	for _, l := range w.Links {
		if slices.ContainsFunc(l.Addrs, func(p netip.Prefix) bool { return p.Addr() == addr }) {
			return l, true
		}
	}
	return kernel.Link{}, false
}

// OnLink returns the interface whose subnet contains a whole prefix.
func (w HostState) OnLink(p netip.Prefix) (kernel.Link, bool) {
	for _, l := range w.Links {
		for _, a := range l.Addrs {
			if Covers(a, p) {
				return l, true
			}
		}
	}
	return kernel.Link{}, false
}

// azureMetadata is the one metadata service with an address of the Internet. Metadata services give
// a machine's secrets to anyone who asks from it.
var azureMetadata = netip.MustParsePrefix("168.63.129.16/32")

// notInternet returns the prefixes that the box reaches because of its place, and its clients must
// not. They are those outside the Internet, the IPv6 networks of the box, and a cloud's metadata
// service. A public IPv4 network is part of the Internet like any other.
func (w HostState) notInternet() (closed, open []netip.Prefix) {
	closed, open = policyroute.NotInternet(w.outside())
	closed = append(closed, azureMetadata)
	for _, l := range w.Links {
		for _, p := range Subnets(l.Addrs) {
			if p.Addr().Is6() && !slices.ContainsFunc(closed,
				func(q netip.Prefix) bool { return Covers(q, p) }) {
				closed = append(closed, p)
			}
		}
	}
	slices.SortFunc(closed, netip.Prefix.Compare)
	return closed, open
}

// outside returns the addresses of the links of main's default routes.
func (w HostState) outside() []netip.Addr {
	var out []netip.Addr
	for _, r := range w.Defaults {
		l, _ := w.Link(r.Iface)
		for _, a := range l.Addrs {
			out = append(out, a.Addr())
		}
	}
	return out
}

// WithFormer returns the state with the links marked that have other names now than when they were
// ingresses. former holds those names by the links' indexes.
func (w HostState) WithFormer(former map[int]string) HostState {
	w.Links = slices.Clone(w.Links)
	for i, l := range w.Links {
		if name := former[l.Index]; name != l.Name {
			w.Links[i].Former = name
		}
	}
	return w
}

// Former returns the names of links as ingresses by their indexes: of those that are ingresses now,
// and those that were and still exist.
func Former(last map[int]string, ingresses []policyroute.Ingress, w HostState) map[int]string {
	out := map[int]string{}
	for _, l := range w.Links {
		if isIngress(ingresses, l.Name) {
			out[l.Index] = l.Name
		} else if last[l.Index] != "" {
			out[l.Index] = last[l.Index]
		}
	}
	return out
}

// StackedOn reports whether a link is built on another, directly or not. It is the other's master
// (a bridge, a bond, a VRF), or a VLAN or macvlan of it. Or it is the other under a new name.
func (w HostState) StackedOn(name, below string) bool {
	found := map[string]bool{}
	for next := []string{below}; len(next) > 0; next = next[1:] {
		for _, l := range w.Links {
			above := ""
			switch {
			case l.Name == next[0]:
				above = l.Master
			case l.Parent == next[0], l.Former == next[0]:
				above = l.Name
			}
			if above != "" && !found[above] {
				found[above] = true
				next = append(next, above)
			}
		}
	}
	return found[name]
}

// Renamed reports whether an ingress has another name now than it had.
func (w HostState) Renamed(ingress string) bool {
	return !w.Exists(ingress) && slices.ContainsFunc(w.Links,
		func(l kernel.Link) bool { return l.Former == ingress })
}

// Default returns main's best default route of a family; the zero value if there is none.
func (w HostState) Default(f policyroute.Family) kernel.DefaultRoute {
	for _, r := range w.Defaults {
		if r.Family == f {
			return r
		}
	}
	return kernel.DefaultRoute{}
}

// isSwitch reports whether the interface is a bridge without a default route of main.
func (w HostState) isSwitch(name string) bool {
	l, _ := w.Link(name)
	return l.Bridge && !w.leadsOut(name)
}

// leadsOut reports whether main has a default route by the interface.
func (w HostState) leadsOut(name string) bool {
	return slices.ContainsFunc(w.Defaults,
		func(r kernel.DefaultRoute) bool { return r.Iface == name })
}

// Supported removes from a state what this host cannot hold. That is IPv6 on a kernel without it,
// or on another program's device where it is off.
func (w HostState) Supported(s policyroute.State) policyroute.State {
	s.Routes = slices.DeleteFunc(s.Routes, func(r policyroute.Route) bool {
		l, _ := w.Link(r.Dev)
		return r.Family == policyroute.V6 && l.NoIPv6 && !IsOurs(r.Dev)
	})
	if !w.IPv6 {
		s.Rules = slices.DeleteFunc(s.Rules,
			func(r policyroute.Rule) bool { return r.Family == policyroute.V6 })
		s.Routes = slices.DeleteFunc(s.Routes,
			func(r policyroute.Route) bool { return r.Family == policyroute.V6 })
		for i := range s.Links {
			s.Links[i].Addrs = slices.DeleteFunc(s.Links[i].Addrs,
				func(p netip.Prefix) bool { return p.Addr().Is6() })
		}
		s.IPTables = slices.DeleteFunc(s.IPTables,
			func(c policyroute.Chain) bool { return c.Family == policyroute.V6 })
		s.Sysctls = slices.DeleteFunc(s.Sysctls,
			func(c policyroute.Sysctl) bool { return strings.HasPrefix(c.Key, "net/ipv6/") })
	}
	return s
}

// Covers reports whether every address of the inner prefix is in the outer one.
func Covers(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

// These bound the connections of one source to an eighth of the host's, from 256 to 4096. On a
// small box that is enough for one user's devices, and on a large one no more than they need: the
// kernel looks at each of them when one more is opened.
const (
	sourceShare                    = 8
	sourceConnsMin, sourceConnsMax = 256, 4096
)

// sourceConns returns how many connections one source may have on a host with the given maximum. It
// is 0 if the maximum is unknown.
func sourceConns(all int) uint32 {
	if all == 0 {
		return 0
	}
	return uint32(min(max(all/sourceShare, sourceConnsMin), sourceConnsMax))
}

// UplinkID identifies the host's own uplink; empty if there is none.
func UplinkID(w HostState) string {
	for _, f := range policyroute.Families {
		if r := w.Default(f); r.Iface != "" && w.Up(r.Iface) {
			return r.Iface + " " + r.Gateway.String()
		}
	}
	return ""
}

// Wanted returns what a decision for a configuration needs of the host's state.
func Wanted(cfg *config.Config) kernel.Wanted {
	return kernel.Wanted{Links: IngressIfaces(cfg),
		// A tunnel's address has no services.
		Services: slices.ContainsFunc(cfg.Egresses,
			func(e config.Egress) bool { return e.OpenVPN == nil })}
}

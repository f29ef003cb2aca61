package decide

import (
	"net/netip"
	"slices"

	"ztbridge/bridge/config"
	"ztbridge/bridge/zerotier"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// ConnectedPrefixes are the prefixes behind an ingress that another program manages, as far as the
// box can find out.
type ConnectedPrefixes struct {
	Prefixes []netip.Prefix   `json:"prefixes"`
	Routes   []zerotier.Route `json:"routes,omitempty"` // of a network
	// Reached are other destinations of main's routes by the interface.
	Reached []netip.Prefix `json:"reached,omitempty"`
}

// connectedPrefixes returns the prefixes behind the ingresses that other programs manage, by
// interface. While they cannot be found out, as when zerotier-one is stopped or a link has lost its
// addresses, the last known ones hold: otherwise traffic to members would be routed to the
// Internet.
func connectedPrefixes(cfg *config.Config, s Snapshot) map[string]ConnectedPrefixes {
	now, unsure, links := map[string]ConnectedPrefixes{}, map[string]bool{}, map[string]bool{}
	for _, n := range cfg.ZeroTier.Networks {
		st := Network(cfg, s, n.Name)
		now[st.Iface] = ConnectedPrefixes{Prefixes: st.Prefixes, Routes: st.Routes,
			Reached: s.Host.Reached[st.Iface]}
		unsure[st.Iface] = st.State != zerotier.NetworkOK
	}
	for _, i := range cfg.Interfaces {
		link, _ := s.Host.Link(i.Iface)
		now[i.Iface] = ConnectedPrefixes{Prefixes: Subnets(link.Configured()),
			Reached: s.Host.Reached[i.Iface]}
		unsure[i.Iface], links[i.Iface] = true, true
	}
	out := map[string]ConnectedPrefixes{}
	for iface, b := range now {
		if unsure[iface] {
			b = b.recall(s.Connected[iface], func(p netip.Prefix) bool {
				for _, other := range now {
					if other.covers(p) {
						return true
					}
				}
				return links[iface] && movedElsewhere(cfg, s.Host, iface, p)
			})
		}
		out[iface] = b
	}
	return out
}

// Behind returns the prefixes behind all ingresses, sorted, each once.
func Behind(connected map[string]ConnectedPrefixes) []netip.Prefix {
	var out []netip.Prefix
	for _, c := range connected {
		out = append(out, slices.DeleteFunc(slices.Clone(c.Prefixes),
			func(p netip.Prefix) bool { return p.Bits() <= 0 })...)
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Compact(out)
}

// movedElsewhere reports whether a subnet of an ingress's link is now on another link, or
// configured for another ingress.
func movedElsewhere(cfg *config.Config, w HostState, from string, subnet netip.Prefix) bool {
	return slices.ContainsFunc(w.Links, func(l kernel.Link) bool {
		return l.Name != from && slices.Contains(Subnets(l.Addrs), subnet)
	}) || slices.ContainsFunc(cfg.Interfaces, func(i config.Interface) bool {
		return i.Iface != from && ConnectedPrefixes{Prefixes: i.Prefixes}.covers(subnet)
	})
}

// recall adds the last known prefixes of IP versions that have none now. Prefixes that are
// elsewhere now are left out.
func (b ConnectedPrefixes) recall(last ConnectedPrefixes,
	elsewhere func(netip.Prefix) bool) ConnectedPrefixes {
	out := b
	out.Prefixes = slices.Clone(b.Prefixes)
	for _, p := range last.Prefixes {
		if !slices.ContainsFunc(b.Prefixes,
			func(q netip.Prefix) bool { return sameFamily(p, q) }) && !elsewhere(p) {
			out.Prefixes = append(out.Prefixes, p)
		}
	}
	if len(b.Reached) == 0 {
		out.Reached = slices.DeleteFunc(slices.Clone(last.Reached), elsewhere)
	}
	if len(b.Routes) == 0 {
		out.Routes = slices.DeleteFunc(slices.Clone(last.Routes),
			func(r zerotier.Route) bool { return elsewhere(r.Target) })
	}
	return out
}

func sameFamily(a, b netip.Prefix) bool {
	return policyroute.FamilyOf(a.Addr()) == policyroute.FamilyOf(b.Addr())
}

// covers reports whether one of the prefixes holds the whole of p. A part does not count: nobody
// would own the rest.
func (b ConnectedPrefixes) covers(p netip.Prefix) bool {
	return slices.ContainsFunc(b.Prefixes, func(q netip.Prefix) bool { return Covers(q, p) })
}

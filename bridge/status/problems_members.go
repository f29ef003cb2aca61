package status

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ztbridge/bridge/config"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/health"
	"ztbridge/bridge/zerotier"
)

// memberProblems returns problems of a network's members that the box's own membership does not
// have: strangers among them, no route to the box, or addresses that are also used elsewhere.
func memberProblems(cfg *config.Config, s decide.Snapshot, name string,
	st zerotier.NetworkStatus) []health.Problem {
	var out []health.Problem
	if st.Public {
		out = append(out, health.Problem{Code: health.NetworkPublic, Subject: name,
			Message: fmt.Sprintf("network %s (%s) is public: anybody who knows its id can join it "+
				"and use this box's exits", name, st.ID),
			Remedy: "make it private at its controller (Access Control: Private)"})
	}
	out = append(out, st.RouteProblems(name, destinations(cfg, name, st))...)
	for _, p := range st.LeadInto(lans(s.Host, st.Iface)) {
		if lets(cfg, s, name, p) {
			continue
		}
		out = append(out, health.Problem{Code: health.Closed, Subject: name + " " + p.String(),
			Message: fmt.Sprintf("network %s sends its members to %s by this box, which lets "+
				"nobody in there", name, p),
			Remedy: fmt.Sprintf("write {from: %s, to: %s} under peering:, then: ztbridge reload; "+
				"or remove that route at the network's controller", name, p)})
	}
	if overlaps := overlapsOf(cfg, s, st); len(overlaps) > 0 {
		out = append(out, health.Problem{Code: health.NetworkOverlap, Subject: name,
			Message: fmt.Sprintf("network %s overlaps what this box uses otherwise: %s; traffic "+
				"to those addresses may go to the wrong one", name, strings.Join(overlaps, ", ")),
			Remedy: "give the network another subnet at its controller, or renumber the other one"})
	}
	return out
}

// destinations returns where the rules send what a whole network's members send: default routes
// for everything. Rules for single members do not count: those may use the box for other reasons.
func destinations(cfg *config.Config, network string, st zerotier.NetworkStatus) []netip.Prefix {
	var out []netip.Prefix
	for _, r := range cfg.Policy {
		whole := func(sel config.Selector) bool {
			return sel.Kind == config.ByIngress && slices.Contains(sel.Ingress, network) ||
				sel.Kind == config.ByPrefix && slices.ContainsFunc(st.Prefixes,
					func(p netip.Prefix) bool { return decide.Covers(sel.Prefix, p) })
		}
		if len(r.Egress) == 0 || !slices.ContainsFunc(r.From, whole) {
			continue
		}
		to := r.To
		if len(to) == 0 {
			to = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
		}
		for _, p := range to {
			if !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	return out
}

// lans returns the networks that the box itself is in, without those behind an interface.
func lans(host decide.HostState, iface string) []netip.Prefix {
	var out []netip.Prefix
	for _, l := range host.Links {
		if l.Name != iface && !decide.IsOurs(l.Name) {
			out = append(out, slices.DeleteFunc(decide.Subnets(l.Addrs),
				func(p netip.Prefix) bool { return p.Addr().IsLoopback() })...)
		}
	}
	return out
}

// lets reports whether a peering lets members of a network into some of a destination.
func lets(cfg *config.Config, s decide.Snapshot, network string, to netip.Prefix) bool {
	return slices.ContainsFunc(cfg.Peering, func(p config.Peering) bool {
		if p.From != network || p.To == "" {
			return p.From == network && p.Prefix.Overlaps(to)
		}
		link, ok := s.Host.Link(p.To)
		if !ok {
			link, _ = s.Host.Link(decide.Network(cfg, s, p.To).Iface)
		}
		return slices.ContainsFunc(link.Addrs, to.Overlaps)
	})
}

// overlapsOf returns the pairs of a prefix of the network and an overlapping one that the box has
// elsewhere.
func overlapsOf(cfg *config.Config, s decide.Snapshot, st zerotier.NetworkStatus) []string {
	inNetwork := slices.Clone(st.Prefixes)
	for _, r := range st.Routes {
		// Not the default route, nor half of it, nor what this box itself shows to members.
		if r.Via.IsValid() && r.Target.Bits() > 1 && !st.IsOwn(r.Via) {
			inNetwork = append(inNetwork, r.Target)
		}
	}
	var out []string
	elsewhere(cfg, s, st, func(p netip.Prefix, what string) {
		for _, n := range inNetwork {
			pair := fmt.Sprintf("%s and %s (%s)", n, p.Masked(), what)
			if n.Overlaps(p) && !slices.Contains(out, pair) {
				out = append(out, pair)
			}
		}
	})
	return out
}

// elsewhere yields each prefix that does not come from a network: of the host's other interfaces,
// behind members of other networks, of tunnels, and of the endpoint's clients.
func elsewhere(cfg *config.Config, s decide.Snapshot, st zerotier.NetworkStatus,
	yield func(p netip.Prefix, what string)) {
	for _, other := range s.ZeroTier.Networks {
		for _, r := range other.Routes {
			if other.ID != st.ID && r.Via.IsValid() && r.Target.Bits() > 1 && !other.IsOwn(r.Via) {
				yield(r.Target, fmt.Sprintf("network %s, via %s", other.ID, r.Via))
			}
		}
	}
	for _, l := range s.Host.Links {
		if l.Name == st.Iface || l.Former == st.Iface || decide.IsOurs(l.Name) {
			continue
		}
		for _, a := range l.Addrs {
			if !a.Addr().IsLoopback() && !a.Addr().IsLinkLocalUnicast() {
				yield(a, l.Name)
			}
		}
	}
	for _, e := range cfg.Egresses {
		if session := s.Tunnels[e.Name].Session; session != nil {
			for _, a := range session.Addrs {
				yield(a, "tunnel "+e.Name)
			}
		}
	}
	if cfg.Endpoint != nil {
		yield(cfg.Endpoint.Pool4, "the endpoint's clients")
		yield(cfg.Endpoint.Pool6, "the endpoint's clients")
	}
}

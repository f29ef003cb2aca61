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
	"ztbridge/policyroute"
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
	if servesMembers(cfg, name) {
		out = append(out, st.RouteProblems(name)...)
	}
	if overlaps := overlapsOf(cfg, s, st); len(overlaps) > 0 {
		out = append(out, health.Problem{Code: health.NetworkOverlap, Subject: name,
			Message: fmt.Sprintf("network %s overlaps what this box uses otherwise: %s; traffic "+
				"to those addresses may go to the wrong one", name, strings.Join(overlaps, ", ")),
			Remedy: "give the network another subnet at its controller, or renumber the other one"})
	}
	return out
}

// servesMembers reports whether a rule sends everything from a whole network to some egress. Rules
// for single members do not count: those may use the box for other reasons.
func servesMembers(cfg *config.Config, network string) bool {
	return slices.ContainsFunc(cfg.Policy, func(r config.Rule) bool {
		return len(r.To) == 0 && len(r.Egress) > 0 &&
			slices.ContainsFunc(r.From, func(f config.Selector) bool {
				return f.Kind == config.ByIngress && slices.Contains(f.Ingress, network)
			})
	})
}

// overlapsOf returns the pairs of a prefix of the network and an overlapping one that the box has
// elsewhere.
func overlapsOf(cfg *config.Config, s decide.Snapshot, st zerotier.NetworkStatus) []string {
	inNetwork := slices.Clone(st.Prefixes)
	for _, r := range st.Routes {
		if r.Via.IsValid() && r.Target.Bits() > 1 { // not the default route, nor half of it
			inNetwork = append(inNetwork, r.Target)
		}
	}
	var out []string
	elsewhere(cfg, s, st.Iface, func(p netip.Prefix, what string) {
		for _, n := range inNetwork {
			pair := fmt.Sprintf("%s and %s (%s)", n, p.Masked(), what)
			if n.Overlaps(p) && !slices.Contains(out, pair) {
				out = append(out, pair)
			}
		}
	})
	return out
}

// elsewhere yields each prefix that does not come from an interface: by other routes of the host,
// by tunnels, and for the endpoint's clients.
func elsewhere(cfg *config.Config, s decide.Snapshot, iface string,
	yield func(p netip.Prefix, what string)) {
	for _, l := range s.Host.Links {
		if l.Name == iface || strings.HasPrefix(l.Name, policyroute.TunPrefix) {
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

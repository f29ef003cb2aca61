package decide

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"ztbridge/bridge/config"
)

// Needed returns each address that the box itself sends requests to, by its purpose. A provider
// that assigned it to this box would cut the box off from it.
func Needed(cfg *config.Config, s Snapshot) map[netip.Addr]string {
	out := map[netip.Addr]string{}
	for _, a := range cfg.Probe.Targets {
		out[a.Unmap()] = "a probe target"
	}
	for _, e := range cfg.Egresses {
		for _, r := range e.DNS {
			out[r.Addr.Addr().Unmap()] = "a resolver of egress " + e.Name
		}
	}
	for _, a := range s.Servers {
		out[a.Unmap()] = "a resolver or a time server of this box"
	}
	for _, r := range s.Host.Defaults {
		if r.Gateway.IsValid() {
			out[r.Gateway.Unmap()] = "the gateway of " + r.Iface
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Tunnels)) {
		t := s.Tunnels[name]
		if t.Proxy.IsValid() {
			out[t.Proxy.Addr().Unmap()] = "the proxy of tunnel " + name
		}
		if t.Server.IsValid() {
			out[t.Server.Addr().Unmap()] = "the server of tunnel " + name
		}
		if a, err := netip.ParseAddr(t.Remote.Host); err == nil {
			out[a.Unmap()] = "the server of tunnel " + name
		}
	}
	return out
}

// AddressConflict returns why the address that a tunnel's server assigned cannot be used. The box
// needs it, or another part of the box has it. It returns "" if there is no conflict, and for other
// egresses. Of two tunnels with one address, the first in the configuration keeps it.
func AddressConflict(cfg *config.Config, e config.Egress, s Snapshot) string {
	session := s.Tunnels[e.Name].Session
	if e.OpenVPN == nil || session == nil {
		return ""
	}
	needed := Needed(cfg, s)
	for _, p := range session.Addrs {
		a := p.Addr()
		if what := needed[a]; what != "" {
			return fmt.Sprintf("its server assigned %s, which is %s", a, what)
		}
		for _, g := range ingressIntents(cfg, s, connectedPrefixes(cfg, s)) {
			if slices.ContainsFunc(g.Prefixes, func(q netip.Prefix) bool { return q.Contains(a) }) {
				return fmt.Sprintf("its server assigned %s, which is behind %s", a, g.Name)
			}
		}
		for _, l := range s.Host.Links {
			if !IsOurs(l.Name) && slices.ContainsFunc(l.Addrs, func(q netip.Prefix) bool {
				return q.Contains(a) && !a.IsLinkLocalUnicast()
			}) {
				return fmt.Sprintf("its server assigned %s, which is in the network of %s", a,
					l.Name)
			}
		}
		for _, p := range pathPrefixes {
			if p.Contains(a) {
				return fmt.Sprintf("its server assigned %s, which this box checks paths with", a)
			}
		}
		if what := claimed(cfg, e, s, a); what != "" {
			return fmt.Sprintf("its server assigned %s, which %s", a, what)
		}
	}
	return ""
}

// claimed returns who has an address among the tunnels before e in the configuration, as their own
// or their resolver's.
func claimed(cfg *config.Config, e config.Egress, s Snapshot, a netip.Addr) string {
	for _, other := range cfg.Egresses {
		if other.Name == e.Name {
			return ""
		}
		session := s.Tunnels[other.Name].Session
		switch {
		case other.OpenVPN == nil || session == nil:
		case slices.ContainsFunc(session.Addrs, func(p netip.Prefix) bool { return p.Addr() == a }):
			return "tunnel " + other.Name + " has"
		case slices.Contains(session.DNS, a):
			return "is a resolver of tunnel " + other.Name
		}
	}
	return ""
}

// outsideBox returns the resolvers whose addresses are not this box's own. Packets to its own
// addresses would stay here.
func outsideBox(list []netip.Addr, s Snapshot) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(list), func(a netip.Addr) bool {
		if _, own := s.Host.Owner(a); own {
			return true
		}
		for _, t := range s.Tunnels {
			if t.Session != nil && slices.ContainsFunc(t.Session.Addrs,
				func(p netip.Prefix) bool { return p.Addr() == a }) {
				return true
			}
		}
		return false
	})
}

package services

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"ztbridge/bridge/decide"
	"ztbridge/bridge/exitaddr"
	"ztbridge/bridge/pathdial"
	"ztbridge/bridge/probe"
	"ztbridge/policyroute"
)

// exitTask asks, through each egress in use, which address the Internet sees.
func (d *Set) exitTask(was, next *services, asked []string) task {
	const id = "exit address"
	key := id + " " + strings.Join(asked, " ")
	if next.keeps(was, id, key) {
		next.exits = was.exits
	} else {
		next.exits = exitaddr.New(exitaddr.Config{Services: asked,
			Notify: func() { d.trigger.Fire(id) }, Logger: d.env.Logger})
	}
	return task{key: key, run: next.exits.Run}
}

// exitKey names the path through an egress by an IP version.
func exitKey(egress string, f policyroute.Family) string { return egress + " " + f.String() }

// exitAddresses returns what is known, by name of egress.
func (s *services) exitAddresses() map[string][]exitaddr.Answer {
	out := map[string][]exitaddr.Answer{}
	if s.exits == nil {
		return out
	}
	known := s.exits.Status()
	for _, key := range slices.Sorted(maps.Keys(known)) { // IPv4 before IPv6
		egress, _, _ := strings.Cut(key, " ")
		out[egress] = append(out[egress], known[key])
	}
	return out
}

// exitPaths returns the paths through all egresses that packets can leave by. Those that carry
// clients' traffic and answer are in use.
func exitPaths(d decide.Decision, s decide.Snapshot) []exitaddr.Path {
	var out []exitaddr.Path
	for i, e := range d.Intent.Egresses {
		for _, f := range policyroute.Families {
			path, ok := egressPath(i, e, f)
			if !ok {
				continue
			}
			out = append(out, exitaddr.Path{
				Path: path, Key: exitKey(e.Name, f),
				Session: fmt.Sprint(e.Iface, e.Addrs, e.DNS, e.Gateway4, e.Gateway6,
					s.Tunnels[e.Name].Generation, hostAddresses(s.Host, e)),
				InUse: carriesTraffic(d, e.Name, f) && answersBy(s.Probes[e.Name], f),
			})
		}
	}
	return out
}

// egressPath returns the path through an egress by an IP version. It reports whether packets can
// leave by it.
func egressPath(index int, e policyroute.Egress, f policyroute.Family) (pathdial.Path, bool) {
	v6 := f == policyroute.V6
	return pathdial.Path{IPv6: v6, Iface: e.Iface, Mark: decide.ProbeMark(index),
			Resolvers: exitResolvers(e)},
		e.Present && (v6 && e.IPv6 || !v6 && !e.NoIPv4)
}

// exitResolvers returns the resolvers of an egress: its forwarder on this box, if it has one.
func exitResolvers(e policyroute.Egress) []netip.AddrPort {
	if e.ResolverPort != 0 {
		return []netip.AddrPort{netip.AddrPortFrom(netip.IPv6Loopback(), e.ResolverPort)}
	}
	var out []netip.AddrPort
	for _, a := range e.DNS {
		out = append(out, pathdial.ResolverOf(a))
	}
	return out
}

// hostAddresses returns the addresses of an egress's interface that another program manages. When
// they change, the address that the Internet sees may change.
func hostAddresses(host decide.HostState, e policyroute.Egress) []netip.Prefix {
	if decide.IsOurs(e.Iface) {
		return nil
	}
	link, _ := host.Link(e.Iface)
	return link.Addrs
}

// carriesTraffic reports whether a list sends its traffic of an IP version by an egress.
func carriesTraffic(d decide.Decision, egress string, f policyroute.Family) bool {
	for _, c := range d.Choices {
		if c.Of(f) == egress {
			return true
		}
	}
	return false
}

// answersBy reports whether an egress answers probes of an IP version, or is not probed by it.
func answersBy(p probe.Status, f policyroute.Family) bool {
	v := decide.ProbeVersion(f)
	return !p.Asked[v] || p.Of[v] >= probe.Fresh
}

package decide

import (
	"net/netip"
	"slices"
	"time"

	"ztbridge/bridge/config"
	"ztbridge/bridge/openvpn/client"
	"ztbridge/bridge/openvpn/profile"
	"ztbridge/bridge/probe"
	"ztbridge/bridge/zerotier"
	"ztbridge/policyroute"
)

// Decision is the result of Decide.
type Decision struct {
	Intent  policyroute.Intent
	Health  map[string]Health     // by name of egress
	Health6 map[string]Health     // the same, of IPv6 where the egress carries it
	Choices map[EgressList]Choice // by list
	// the prefixes behind the ingresses that other programs manage, by interface
	Connected map[string]ConnectedPrefixes
	// PathClients are the box's own clients, which test the paths of real ones.
	PathClients []PathClient
	// Starting are egresses that have not failed, but had no time yet to connect.
	Starting map[string]bool
	// Timed are the rules with times of the week that are in force.
	Timed []string
	// Wake is when to decide again even if no event comes; zero: never.
	Wake time.Time
}

// Decide returns which packets may travel where, by the configuration and the present state. It is
// pure: equal arguments give equal results.
func Decide(cfg *config.Config, s Snapshot) Decision {
	d := Decision{Health: map[string]Health{}, Health6: map[string]Health{},
		Choices:   map[EgressList]Choice{},
		Connected: connectedPrefixes(cfg, s)}
	for i, e := range cfg.Egresses {
		d.Intent.Egresses = append(d.Intent.Egresses, egressIntent(cfg, e, s))
		if UsesTLS(e) {
			d.Intent.Egresses[i].ResolverPort = ResolverPort(i)
		}
		of := d.Intent.Egresses[i]
		d.Health[e.Name] = rate(cfg, e, s, !of.NoIPv4 && s.Probes[e.Name].Asked[0], 0)
		d.Health6[e.Name] = rate(cfg, e, s, of.IPv6 && s.Probes[e.Name].Asked[1], 1)
		if !resolves(of, s.DeadResolvers) { // to clients, no names are no Internet
			d.Health[e.Name] = min(d.Health[e.Name], Nameless)
			d.Health6[e.Name] = min(d.Health6[e.Name], Nameless)
		}
	}
	d.Intent.Ingresses = ingressIntents(cfg, s, d.Connected)
	d.Intent.Stacked = stacked(d.Intent.Ingresses, s.Host)
	d.Starting = starting(cfg, s, d)
	d.Intent.Policies = policyIntents(cfg, s, d)
	d.Timed = timed(cfg, s.Now)
	d.Wake = cfg.NextChange(s.Now)
	if len(d.Starting) > 0 {
		d.Wake = Earliest(d.Wake, s.Started.Add(startMoment))
	}
	addPeerings(cfg, s, &d.Intent)
	d.PathClients = pathClients(cfg, s, d)
	addPathClients(s, &d)
	for _, in := range cfg.Inbound {
		d.Intent.Inbound = append(d.Intent.Inbound, inboundIntents(in)...)
	}
	d.Intent.Listeners = listenerIntents(cfg)
	d.Intent.Services = s.Host.Services
	if cfg.Endpoint != nil {
		d.Intent.Uplinks = uplinkIntents(s.Host)
	}
	d.Intent.ForceForwarding6 = s.Host.ForceForwarding6
	d.Intent.SourceConns = sourceConns(s.Host.ConntrackMax)
	for _, f := range policyroute.Families {
		if n, known := s.Host.Neighbours[f]; known && n < policyroute.NeighbourMax {
			d.Intent.MoreNeighbours = append(d.Intent.MoreNeighbours, f)
		}
	}
	d.Intent.Links6 = advertised(d.Intent.Ingresses, s.Host)
	d.Intent.Edges = edges(d.Intent, s.Host)
	return d
}

// InForce reports whether a rule was in force when this was decided.
func (d Decision) InForce(r config.Rule) bool {
	return len(r.At) == 0 || slices.Contains(d.Timed, r.Name)
}

// timed returns the names of the rules that have times of the week, and are in force.
func timed(cfg *config.Config, now time.Time) []string {
	var out []string
	for _, r := range cfg.Policy {
		if len(r.At) > 0 && r.Holds(now) {
			out = append(out, r.Name)
		}
	}
	return out
}

// startMoment is how long after the daemon's start the first choice may take to connect before the
// next one is used. A start is no failover: moving back would cut connections.
const startMoment = 4 * time.Second

// Earliest returns the first of the times that are not zero.
func Earliest(times ...time.Time) time.Time {
	times = slices.DeleteFunc(times, time.Time.IsZero)
	if len(times) == 0 {
		return time.Time{}
	}
	return slices.MinFunc(times, time.Time.Compare)
}

// starting returns the egresses that are connecting after the start of the daemon.
func starting(cfg *config.Config, s Snapshot, d Decision) map[string]bool {
	out := map[string]bool{}
	if s.Stopping || s.Now.Sub(s.Started) >= startMoment {
		return out
	}
	for _, e := range cfg.Egresses {
		starting := awaited(s.Probes[e.Name])
		if e.OpenVPN != nil {
			switch s.Tunnels[e.Name].State {
			case "", client.StateStopped, client.StateResolving, client.StateConnecting,
				client.StateUp:
			default:
				starting = false
			}
		}
		if starting && min(d.Health[e.Name], d.Health6[e.Name]) < Up && !s.Loops[e.Name] {
			out[e.Name] = true
		}
	}
	return out
}

// awaited reports whether a probed IP version has neither answered nor failed yet. One may well
// answer before the other.
func awaited(p probe.Status) bool {
	return p.Grade == probe.Unknown || p.Asked[probe.V4] && p.Of[probe.V4] == probe.Unknown ||
		p.Asked[probe.V6] && p.Of[probe.V6] == probe.Unknown
}

// rate ranks an egress by its driver and its probes. With apart set, only probes of one IP version
// count.
func rate(cfg *config.Config, e config.Egress, s Snapshot, apart bool, version int) Health {
	if s.Stopping || !Connected(cfg, e, s) || s.Loops[e.Name] || Unreachable(e, s) &&
		s.Answered[e.Name] {
		return Unusable
	}
	grade := s.Probes[e.Name].Grade
	if apart {
		grade = s.Probes[e.Name].Of[version]
	}
	switch grade {
	case probe.Stable:
		return Stable
	case probe.Fresh:
		return Up
	default:
		return Degraded
	}
}

// Unreachable reports whether a peer answered once, and now neither it nor anything behind it does.
// A peer that never answered may ignore probes by choice.
func Unreachable(e config.Egress, s Snapshot) bool {
	return e.Peer != nil && s.Probes[e.Name].Grade == probe.Degraded &&
		s.Peers[e.Name].Grade == probe.Degraded
}

// Connected reports whether packets handed to the egress can leave by it at all.
func Connected(cfg *config.Config, e config.Egress, s Snapshot) bool {
	switch {
	case e.OpenVPN != nil:
		t := s.Tunnels[e.Name]
		return t.State == client.StateUp && t.Session != nil &&
			s.Host.Up(TunnelDevice(e.Name)) && AddressConflict(cfg, e, s) == ""
	case e.Peer != nil:
		n := Network(cfg, s, e.Peer.Network)
		return n.State == zerotier.NetworkOK && s.Host.Up(n.Iface) && CheckNextHop(e, s.Host) == ""
	default:
		iface := UplinkOf(e.WAN, s.Host).Iface
		return iface != "" && s.Host.Up(iface)
	}
}

func egressIntent(cfg *config.Config, e config.Egress, s Snapshot) policyroute.Egress {
	out := policyroute.Egress{Name: e.Name, Kind: policyroute.EgressKind(e.Kind())}
	switch {
	case e.OpenVPN != nil:
		t := s.Tunnels[e.Name]
		if AddressConflict(cfg, e, s) != "" {
			t.Session = nil // as before the server assigned anything
		}
		tunnelIntent(&out, t)
		out.DNS = outsideBox(out.DNS, s)
	case e.Peer != nil:
		n := Network(cfg, s, e.Peer.Network)
		out.Iface, out.MTU, out.Carries = n.Iface, n.MTU, policyroute.ZeroTierPacket
		out.Gateway4, out.Gateway6 = e.Peer.Via4, e.Peer.Via6
		out.NoIPv4, out.IPv6 = !e.Peer.Via4.IsValid(), e.Peer.Via6.IsValid()
		link, _ := s.Host.Link(n.Iface)
		for _, a := range link.Addrs {
			if !a.Addr().IsLinkLocalUnicast() {
				out.Local = append(out.Local, a.Addr())
			}
		}
	default:
		wanIntent(&out, e.WAN, s.Host)
	}
	link, _ := s.Host.Link(out.Iface)
	out.IPv6 = out.IPv6 && (!link.NoIPv6 || out.Owned)
	out.Present = out.Iface != "" && link.Up && CheckNextHop(e, s.Host) == ""
	if out.Owned {
		// An owned link is brought up by the same plan that adds its routes.
		out.Present = s.Host.Exists(out.Iface)
	}
	if mtu := s.Probes[e.Name].MTU; mtu != 0 && (out.Carries == 0 || mtu < out.Carries) {
		out.Carries = mtu
	}
	if len(e.DNS) > 0 {
		out.DNS = nil
		for _, r := range e.DNS {
			if !r.TLS {
				out.DNS = append(out.DNS, r.Addr.Addr())
			}
		}
	}
	out.DNS = answeringFirst(out.DNS, e.Name, s.DeadResolvers)
	return out
}

// answeringFirst returns the resolvers, those that do not answer last: clients are steered to the
// first of their IP version.
func answeringFirst(list []netip.Addr, egress string, dead DeadResolvers) []netip.Addr {
	out := slices.Clone(list)
	slices.SortStableFunc(out, func(a, b netip.Addr) int {
		rank := map[bool]int{true: 1}
		return rank[dead[ResolverOf{egress, a}]] - rank[dead[ResolverOf{egress, b}]]
	})
	return out
}

// SteeredTo returns the resolvers that clients' questions are steered to, one of each IP version,
// by name of egress.
func SteeredTo(intent policyroute.Intent) map[string][]netip.Addr {
	out := map[string][]netip.Addr{}
	for _, e := range intent.Egresses {
		for _, f := range policyroute.Families {
			i := slices.IndexFunc(e.DNS,
				func(a netip.Addr) bool { return policyroute.FamilyOf(a) == f })
			if i >= 0 {
				out[e.Name] = append(out[e.Name], e.DNS[i])
			}
		}
	}
	return out
}

// resolves reports whether any resolver of the egress answers, as far as is known.
func resolves(e policyroute.Egress, dead DeadResolvers) bool {
	return len(e.DNS) == 0 || e.ResolverPort != 0 || slices.ContainsFunc(e.DNS,
		func(a netip.Addr) bool { return !dead[ResolverOf{e.Name, a}] })
}

// tunnelIntent fills in what the server of a tunnel assigned. Until it assigns anything the device
// is up without an address, and drops the packets routed to it.
func tunnelIntent(out *policyroute.Egress, t client.Status) {
	out.Iface, out.Owned = TunnelDevice(out.Name), true
	if t.Remote.Proto == profile.TCP {
		out.Carries = policyroute.StreamPacket
	}
	if t.Session == nil {
		return
	}
	out.Addrs = slices.Clone(t.Session.Addrs)
	for i, a := range out.Addrs {
		// The address alone: its subnet belongs to the provider and is never on our link.
		out.Addrs[i] = netip.PrefixFrom(a.Addr(), a.Addr().BitLen())
	}
	out.MTU, out.NoIPv4, out.IPv6, out.DNS = t.Session.MTU, !t.Session.IPv4(), t.Session.IPv6(),
		t.Session.DNS
}

func wanIntent(out *policyroute.Egress, wan *config.WAN, w HostState) {
	up := UplinkOf(wan, w)
	out.Iface, out.Gateway4, out.Gateway6, out.NoIPv4 = up.Iface, up.gateway4, up.Gateway6, !up.Has4
	if l, ok := w.Link(out.Iface); ok {
		out.MTU = l.MTU
	}
	out.Closed, out.Open = w.notInternet()
	if wan.SNAT.IsValid() {
		out.NAT4 = policyroute.NAT{Kind: policyroute.SNAT, To: wan.SNAT}
	}
	switch wan.IPv6.Mode {
	case config.IPv6NAT66:
		out.IPv6 = up.Has6
	case config.IPv6Prefix:
		out.IPv6 = up.Has6
		out.NAT6 = policyroute.NAT{Kind: policyroute.NoNAT, Prefix: wan.IPv6.Prefix}
	case config.IPv6Off:
	}
}

// uplink is an interface of the box and its gateways, which are zero on a point-to-point link. Has4
// and Has6 report whether the IP version has a default route there.
type uplink struct {
	Iface              string
	gateway4, Gateway6 netip.Addr
	Has4, Has6         bool
}

// UplinkOf returns the interface of a WAN egress, by main's default routes. A named point-to-point
// link needs none: programs that make one often keep its routes elsewhere.
func UplinkOf(wan *config.WAN, w HostState) uplink {
	up := uplink{Iface: wan.Interface}
	for _, f := range policyroute.Families {
		if up.Iface == "" {
			up.Iface = w.Default(f).Iface
		}
	}
	for _, r := range w.Defaults {
		switch {
		case r.Iface != up.Iface:
		case r.Family == policyroute.V4 && !up.Has4:
			up.gateway4, up.Has4 = r.Gateway, true
		case r.Family == policyroute.V6 && !up.Has6:
			up.Gateway6, up.Has6 = r.Gateway, true
		}
	}
	if l, ok := w.Link(wan.Interface); ok && l.PointToPoint {
		up.Has4 = up.Has4 || slices.ContainsFunc(l.Addrs,
			func(p netip.Prefix) bool { return p.Addr().Is4() })
	}
	return up
}

// NetworkOf returns the state of a configured network by its id.
func NetworkOf(cfg *config.Config, s Snapshot, id string) zerotier.NetworkStatus {
	for _, n := range cfg.ZeroTier.Networks {
		if n.ID == id {
			return Network(cfg, s, n.Name)
		}
	}
	return zerotier.NetworkStatus{}
}

// Network returns the state of a configured network by its name. Without the service, it still has
// an interface, which follows from the id.
func Network(cfg *config.Config, s Snapshot, name string) zerotier.NetworkStatus {
	for _, n := range cfg.ZeroTier.Networks {
		if n.Name != name {
			continue
		}
		for _, st := range s.ZeroTier.Networks {
			if st.ID.String() == n.ID && st.Iface != "" {
				return st
			}
		}
		if id, err := zerotier.ParseNetworkID(n.ID); err == nil {
			return zerotier.NetworkStatus{ID: id, Iface: id.Iface(), State: zerotier.NetworkUnknown}
		}
	}
	return zerotier.NetworkStatus{}
}

package decide

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"ztbridge/bridge/config"
	"ztbridge/bridge/zerotier"
	"ztbridge/policyroute"
)

// ingressIntents lists every interface by which clients enter, even before it exists: rules and
// filters must come first.
func ingressIntents(cfg *config.Config, s Snapshot,
	known map[string]ConnectedPrefixes) []policyroute.Ingress {
	var out []policyroute.Ingress
	for _, n := range cfg.ZeroTier.Networks {
		st := Network(cfg, s, n.Name)
		st.Prefixes, st.Routes = known[st.Iface].Prefixes, known[st.Iface].Routes
		public := publicRoutes(cfg, st)
		out = append(out, policyroute.Ingress{
			Name: n.Name, Iface: st.Iface,
			Present: s.Host.Up(st.Iface), MTU: st.MTU, Carries: policyroute.ZeroTierPacket,
			Prefixes: slices.Concat(st.Prefixes, public), Unrouted: public,
			Reached: known[st.Iface].Reached, Bound: bindings(n, s),
		})
	}
	for _, i := range cfg.Interfaces {
		prefixes := slices.Clone(known[i.Iface].Prefixes)
		for _, p := range i.Prefixes {
			if !slices.Contains(prefixes, p) {
				prefixes = append(prefixes, p)
			}
		}
		out = append(out, policyroute.Ingress{
			Name: i.Name, Iface: i.Iface,
			Present: s.Host.Up(i.Iface), Prefixes: prefixes, Switches: s.Host.isSwitch(i.Iface),
			Reached: known[i.Iface].Reached,
		})
	}
	for _, l := range s.Listeners {
		in := policyroute.Ingress{
			Name: l.Device, Iface: l.Device, Present: s.Host.Exists(l.Device), Owned: true,
			Addrs: l.Pool.Server(), MTU: listenerMTU, Prefixes: l.Pool.Prefixes(),
		}
		if l.Proto == "tcp" {
			in.Carries = policyroute.StreamPacket
		}
		out = append(out, in)
	}
	for i := range out {
		out[i].Elsewhere = otherSubnets(out, out[i], s.Host)
	}
	return out
}

// otherSubnets returns the parts of an ingress's prefixes that are on links without clients. An
// example is the box's own network inside an ingress's 10.0.0.0/8.
func otherSubnets(all []policyroute.Ingress, g policyroute.Ingress, w HostState) []netip.Prefix {
	var out []netip.Prefix
	for _, l := range w.Links {
		if isIngress(all, l.Name) || onIngress(all, l.Name, w) {
			continue
		}
		for _, p := range Subnets(l.Addrs) {
			if slices.ContainsFunc(g.Prefixes,
				func(q netip.Prefix) bool { return Covers(q, p) }) && !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	return out
}

// publicRoutes returns the managed routes of a network that number its members out of a WAN's
// prefix. The service does not set them on this box, which trusts no network with public addresses.
func publicRoutes(cfg *config.Config, st zerotier.NetworkStatus) []netip.Prefix {
	var out []netip.Prefix
	for _, r := range st.Routes {
		target := r.Target.Masked()
		if r.Via.IsValid() || slices.Contains(st.Prefixes, target) || slices.Contains(out, target) {
			continue
		}
		if slices.ContainsFunc(cfg.Egresses, func(e config.Egress) bool {
			return e.WAN != nil && e.WAN.IPv6.Mode == config.IPv6Prefix &&
				Covers(e.WAN.IPv6.Prefix, target)
		}) {
			out = append(out, target)
		}
	}
	return out
}

// Expand replaces the endpoint by its listeners, each of which is an ingress with its own device.
func Expand(ingresses []string, s Snapshot) []string {
	var out []string
	for _, name := range ingresses {
		if name != config.EndpointIngress || len(s.Listeners) == 0 {
			out = append(out, name)
			continue
		}
		for _, l := range s.Listeners {
			out = append(out, l.Device)
		}
	}
	return out
}

// Subnets returns the prefixes of a link's addresses, without link-local ones.
func Subnets(addrs []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, a := range addrs {
		if !a.Addr().IsLinkLocalUnicast() && !a.IsSingleIP() && !slices.Contains(out, a.Masked()) {
			out = append(out, a.Masked())
		}
	}
	return out
}

// policyIntents turns every rule of the configuration into policies, in order. A rule that selects
// by both ingress and address becomes two.
func policyIntents(cfg *config.Config, s Snapshot, d Decision) []policyroute.Policy {
	var out []policyroute.Policy
	for _, r := range cfg.Policy {
		// A rule that matches nobody yet has a choice all the same: nobody is refused by it.
		chooseFor(r.Egress, d, s)
		if !r.Holds(s.Now) {
			continue
		}
		for _, p := range chosenPolicies(cfg, r, s) {
			out = append(out, splitHorizon(cfg, p, d, s)...)
		}
		var byIngress []string
		var byPrefix []netip.Prefix
		for _, sel := range r.From {
			switch sel.Kind {
			case config.ByIngress:
				byIngress = append(byIngress, Expand(sel.Ingress, s)...)
			case config.ByPrefix:
				byPrefix = append(byPrefix, sel.Prefix)
			case config.ByClient:
				for _, a := range s.Clients[sel.Client] {
					byPrefix = append(byPrefix, netip.PrefixFrom(a, a.BitLen()))
				}
			}
		}
		if len(byPrefix) > 0 {
			p := policyroute.Policy{Name: r.Name, From: byPrefix, To: r.To, Egress: r.Egress}
			out = append(out, splitHorizon(cfg, p, d, s)...)
		}
		if len(byIngress) > 0 {
			p := policyroute.Policy{Name: r.Name, Ingress: byIngress, To: r.To, Egress: r.Egress}
			out = append(out, splitHorizon(cfg, p, d, s)...)
		}
	}
	return out
}

// splitHorizon returns the policy with its choice, preceded by one for every next hop among its
// egresses. A member's packets are never sent back to that member. So two boxes that use each other
// as egress refuse each other's clients and build no loop.
func splitHorizon(cfg *config.Config, p policyroute.Policy, d Decision,
	s Snapshot) []policyroute.Policy {
	var out []policyroute.Policy
	for _, hop := range nextHops(cfg, p.Egress) {
		if !selects(p, hop) {
			continue
		}
		back := p
		back.From = []netip.Prefix{netip.PrefixFrom(hop.via, hop.via.BitLen())}
		back.Egress = slices.DeleteFunc(slices.Clone(p.Egress), func(name string) bool {
			return slices.ContainsFunc(nextHops(cfg, []string{name}),
				func(h nextHop) bool { return h.via == hop.via })
		})
		out = append(out, withChoice(back, d, s))
	}
	return append(out, withChoice(p, d, s))
}

// withChoice sets the egress that carries the policy's traffic now.
func withChoice(p policyroute.Policy, d Decision, s Snapshot) policyroute.Policy {
	c := chooseFor(p.Egress, d, s)
	p.Use, p.Use6 = c.Egress, c.Egress6
	return p
}

// chooseFor chooses from a list of egresses, once for each distinct list.
func chooseFor(list []string, d Decision, s Snapshot) Choice {
	key := NewEgressList(list)
	c, ok := d.Choices[key]
	if !ok {
		c = choice(list, d, s)
		d.Choices[key] = c
	}
	return c
}

func choice(list []string, d Decision, s Snapshot) Choice {
	key, without4 := NewEgressList(list), lacking4(d.Intent.Egresses)
	c := choose(list, without(d.Health, without4), s.Current[key], s.Preferred)
	if len(list) == 0 {
		return c // it blocks, whatever egress a person selected
	}
	first := firstOf(list, s.Preferred)
	if s.Current[key] == "" && d.Starting[first] {
		return Choice{Why: first + " is starting"}
	}
	if without4[first] && c.Egress != first {
		c.Why = first + " carries no IPv4"
	}
	of6 := choose(list, d.Health6, s.Current6[key], s.Preferred)
	if of6.Egress != "" && of6.Egress != c.Egress {
		c.Egress6 = of6.Egress
	}
	return c
}

// lacking4 returns the egresses that carry no IPv4.
func lacking4(egresses []policyroute.Egress) map[string]bool {
	out := map[string]bool{}
	for _, e := range egresses {
		if e.NoIPv4 {
			out[e.Name] = true
		}
	}
	return out
}

// without returns health for IPv4, by which an egress that carries none comes after all others.
// IPv6 is different: a device that is refused it falls back to IPv4 by the same egress.
func without(health map[string]Health, lacking map[string]bool) map[string]Health {
	if len(lacking) == 0 {
		return health
	}
	out := maps.Clone(health)
	for name := range lacking {
		out[name] = min(out[name], Degraded)
	}
	return out
}

// nextHop is a peer through which an egress leads.
type nextHop struct {
	network string // name of the ingress by which the peer's own packets enter
	via     netip.Addr
}

// selects reports whether a packet from the peer may match the policy.
func selects(p policyroute.Policy, hop nextHop) bool {
	if len(p.Ingress) > 0 && !slices.Contains(p.Ingress, hop.network) {
		return false
	}
	return len(p.From) == 0 || slices.ContainsFunc(p.From,
		func(f netip.Prefix) bool { return f.Contains(hop.via) })
}

// nextHops returns the peers through which the named egresses lead.
func nextHops(cfg *config.Config, names []string) []nextHop {
	var out []nextHop
	for _, e := range cfg.Egresses {
		if e.Peer == nil || !slices.Contains(names, e.Name) {
			continue
		}
		for _, via := range []netip.Addr{e.Peer.Via4, e.Peer.Via6} {
			if via.IsValid() {
				out = append(out, nextHop{e.Peer.Network, via})
			}
		}
	}
	return out
}

// addPeerings adds what the configuration allows beside the policy. Members of one ingress may
// reach members of another, or a network on a link of the box. The latter is an egress of its own,
// with a policy before all others.
func addPeerings(cfg *config.Config, s Snapshot, intent *policyroute.Intent) {
	var first []policyroute.Policy
	for i, p := range cfg.Peering {
		if p.To != "" {
			for _, from := range Expand([]string{p.From}, s) {
				for _, to := range Expand([]string{p.To}, s) {
					intent.Peerings = append(intent.Peerings,
						policyroute.Peering{From: from, To: to})
				}
			}
			continue
		}
		name := fmt.Sprintf("peering[%d]", i)
		egress := policyroute.Egress{Name: name, Kind: policyroute.EgressWAN,
			IPv6: p.Prefix.Addr().Is6()}
		policy := policyroute.Policy{
			Name: name, Ingress: Expand([]string{p.From}, s), To: []netip.Prefix{
				p.Prefix}, Egress: []string{name},
		}
		if link, ok := s.Host.OnLink(p.Prefix); ok && !s.Stopping {
			egress.Iface, egress.MTU, egress.Present = link.Name, link.MTU, link.Up
			policy.Use = name
		}
		intent.Egresses = append(intent.Egresses, egress)
		first = append(first, policy)
	}
	intent.Policies = append(first, intent.Policies...)
}

// listenerIntents returns the ports at which the Internet reaches this box: those of the endpoint
// and of a moon.
func listenerIntents(cfg *config.Config) []policyroute.Listener {
	var out []policyroute.Listener
	if cfg.Endpoint != nil {
		for _, l := range cfg.Endpoint.Listen {
			out = append(out, policyroute.Listener{Proto: l.Proto, Port: l.Port, Answers: true})
		}
	}
	if moon := cfg.ZeroTier.Moon; moon != nil {
		for _, at := range moon.Endpoints {
			out = append(out, policyroute.Listener{Proto: "udp", Port: at.Port()})
		}
	}
	return out
}

// uplinkIntents returns the uplinks that main's best default route does not use.
func uplinkIntents(w HostState) []policyroute.Uplink {
	var out []policyroute.Uplink
	for _, r := range w.Defaults {
		link, ok := w.Link(r.Iface)
		if !ok || IsOurs(r.Iface) || r.Iface == w.Default(r.Family).Iface {
			continue
		}
		i := slices.IndexFunc(out, func(u policyroute.Uplink) bool { return u.Iface == r.Iface })
		if i < 0 {
			if len(out) > policyroute.TableUplinkLast-policyroute.TableUplinkFirst {
				continue
			}
			i = len(out)
			out = append(out, policyroute.Uplink{Iface: r.Iface, Present: link.Up})
		}
		u := &out[i]
		switch {
		case r.Family == policyroute.V4 && !u.V4:
			u.V4, u.Gateway4 = true, r.Gateway
		case r.Family == policyroute.V6 && !u.V6:
			u.V6, u.Gateway6 = true, r.Gateway
		default:
			continue // a worse one of the same link
		}
		for _, a := range link.Addrs {
			if addr := a.Addr(); policyroute.FamilyOf(addr) == r.Family &&
				!addr.IsLinkLocalUnicast() {
				u.Addrs = append(u.Addrs, addr)
			}
		}
	}
	return out
}

func inboundIntents(in config.Inbound) []policyroute.Inbound {
	var out []policyroute.Inbound
	for _, p := range []struct {
		proto string
		ports config.Ports
	}{{"tcp", in.TCP}, {"udp", in.UDP}} {
		if p.ports.All || len(p.ports.List) > 0 {
			out = append(out, policyroute.Inbound{Egress: in.Egress, To: in.To, Proto: p.proto,
				Ports: p.ports.List})
		}
	}
	return out
}

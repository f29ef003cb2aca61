package decide

import (
	"net/netip"
	"slices"

	"ztbridge/bridge/config"
	"ztbridge/policyroute"
)

// UsesTLS reports whether the egress's resolvers speak DNS over TLS. The configuration does not
// allow a mixture.
func UsesTLS(e config.Egress) bool { return len(e.DNS) > 0 && e.DNS[0].TLS }

// ResolverPort returns the port of the DNS forwarder of the egress with an index.
func ResolverPort(index int) uint16 { return policyroute.ResolverPortFirst + uint16(index) }

// ProbeMark returns the mark of the packets that the box itself sends by the egress with an index.
func ProbeMark(index int) uint32 { return policyroute.MarkFirst + uint32(index) }

// PeersOf returns the prefixes that exchange packets with clients of the endpoint, each once.
// Replies need a route, too.
func PeersOf(cfg *config.Config, ingresses []policyroute.Ingress) []netip.Prefix {
	var out []netip.Prefix
	add := func(list ...netip.Prefix) {
		for _, p := range list {
			if !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	for _, p := range cfg.Peering {
		other := p.To
		switch {
		case p.From == config.EndpointIngress && p.To == "":
			add(p.Prefix)
			continue
		case p.To == config.EndpointIngress:
			other = p.From
		case p.From != config.EndpointIngress:
			continue
		}
		for _, g := range ingresses {
			listener := g.Owned && g.Name != pathIngress
			if g.Name == other || listener && other == config.EndpointIngress {
				add(g.Prefixes...)
			}
		}
	}
	return out
}

// TakenPrefixes returns the prefixes that a provider may not assign, because the host's own traffic
// would enter the tunnel. They are the host's subnets, addresses and gateways, and the endpoint's
// clients. An address may stand alone, as a cloud's WAN address does. The addresses of our tunnels
// are not among them: a provider assigns its own again at each connection.
func TakenPrefixes(intent policyroute.Intent, w HostState) []netip.Prefix {
	var out []netip.Prefix
	for _, l := range w.Links {
		if IsOurs(l.Name) {
			continue
		}
		out = append(out, Subnets(l.Addrs)...)
		for _, a := range l.Addrs {
			out = append(out, netip.PrefixFrom(a.Addr(), a.Addr().BitLen()))
		}
	}
	for _, r := range w.Defaults {
		if r.Gateway.IsValid() {
			out = append(out, netip.PrefixFrom(r.Gateway, r.Gateway.BitLen()))
		}
	}
	for _, g := range intent.Ingresses {
		if g.Owned {
			out = append(out, g.Prefixes...)
		}
	}
	return out
}

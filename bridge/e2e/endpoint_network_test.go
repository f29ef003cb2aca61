package e2e

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
	"ztbridge/bridge/lab/ztlab"
)

// TestEndpointNetworkOnly: a client that sends nothing but the ZeroTier network through the tunnel
// reaches a member, and is reached by one where that is all that is allowed. A network that appears
// while it is connected reaches it too.
func TestEndpointNetworkOnly(t *testing.T) {
	t.Parallel()
	m := newMesh(t, lab.Options{RemoteClient: true}, ztlab.NetworkConfig{})
	top := m.lab
	routes := []ztlab.ManagedRoute{
		{Target: ztlab.Net4}, {Target: ztlab.Net6}, {Target: clientPool4,
			Via: ztlab.Box4}, {Target: clientPool6, Via: ztlab.Box6},
	}
	must(t, m.network.SetRoutes(m.ctx, routes...))
	node := m.node(top.Box, ztlab.Box4, ztlab.Box6)
	m.join(node, false)
	m.join(m.node(top.Client, ztlab.Client4, ztlab.Client6), false)
	b := newBox(t, top.Box)
	b.write("provider.ovpn", top.Providers[0].Config())
	b.write("ztbridge.yaml", m.zerotier(node)+peeringConfig)
	b.start()
	b.await("the network", func(st api.Status) bool { return networkStatus(st).Status == "ok" })

	site, err := top.AddSite("tablet")
	must(t, err)
	g := &guest{t: t, name: "tablet", ns: site.NS}
	b.mustRun("client", "add", "tablet", "--tunnel", "zerotier")
	g.connect(b, "udp")
	member := party{"member", top.Client, ztlab.Client4, ztlab.Client6}
	for _, p := range []party{member, g.party()} {
		echo, err := lab.ServeEcho(p.ns, p.addr4, p.addr6)
		must(t, err)
		defer echo.Close()
	}
	reachable := func(r reach) {
		t.Helper()
		for _, a := range m.try(r) {
			awaitAnswers(t, a.stream, 10)
			onlySeenAs(t, a.what, a.stream, a.as)
		}
	}
	reachable(reach{from: g.party(), to: member})

	// This network alone is behind the tunnel, and one more from now on.
	later := netip.MustParseAddr("10.77.7.1")
	if g.goesInto(later) {
		t.Fatalf("%s is behind the tunnel already", later)
	}
	must(t, m.network.SetRoutes(m.ctx, append(slices.Clone(routes),
		ztlab.ManagedRoute{Target: netip.MustParsePrefix("10.77.7.0/24")})...))
	await(t, "a route to the new network", func() bool { return g.goesInto(later) })

	// The other direction alone: answers need the route as well.
	b.write("ztbridge.yaml", m.zerotier(node)+peeringConfig+
		"peering: [{from: zerotier, to: endpoint}]\n")
	must(t, b.daemon.Signal(reloadSignal))
	g.connect(b, "udp")
	reachable(reach{from: member, to: g.party()})
}

// goesInto says whether the guest sends packets to an address into its tunnel.
func (g *guest) goesInto(a netip.Addr) bool {
	g.t.Helper()
	out, err := g.ns.Run(g.t.Context(), "ip", "route", "get", a.String())
	must(g.t, err)
	return strings.Contains(out, " dev tun")
}

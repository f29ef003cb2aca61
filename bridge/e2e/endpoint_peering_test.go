package e2e

import (
	"net/netip"
	"testing"

	"ztbridge/bridge/lab"
	"ztbridge/bridge/lab/ztlab"
	"ztbridge/policyroute/netlab"
)

const peeringConfig = `
endpoint: {address: 198.51.100.2, listen: [udp/1194, tcp/443]}
egress:
  provider: {openvpn: {profile: provider.ovpn}}
probe: {targets: [192.0.2.10], hold_down: 1s}
`

// party is somebody who can be reached, and can try to reach others.
type party struct {
	name         string
	ns           *netlab.Namespace
	addr4, addr6 netip.Addr
}

func (g *guest) party() party { return party{g.name, g.ns, g.addr4, g.addr6} }

// reach is an attempt of one party to open connections to another.
type reach struct {
	from, to party
	// as is what the other sees; the zero party is the one that tries.
	as party
}

func (r reach) String() string { return r.from.name + " → " + r.to.name }

// attempt is a reach in one family.
type attempt struct {
	what   string
	stream *lab.Stream
	as     netip.Addr
}

// try starts the attempts of a reach.
func (m *mesh) try(r reach) []attempt {
	m.t.Helper()
	if !r.as.addr4.IsValid() {
		r.as = r.from
	}
	return []attempt{
		{r.String() + ", IPv4", m.stream(r.from.ns, lab.UDP, r.to.addr4, r.from.addr4,
			m.lab.Marker), r.as.addr4},
		{r.String() + ", IPv6", m.stream(r.from.ns, lab.UDP, r.to.addr6, r.from.addr6,
			m.lab.Marker), r.as.addr6},
	}
}

// TestEndpointPeering: who of the endpoint's clients, the ZeroTier members and the box's LAN
// reaches whom, by the defaults and by what is allowed.
func TestEndpointPeering(t *testing.T) {
	t.Parallel()
	m := newMesh(t, lab.Options{RemoteClient: true}, ztlab.NetworkConfig{})
	top := m.lab
	// Members that do not take the default route find the clients by managed routes.
	must(t, m.network.SetRoutes(m.ctx, ztlab.ManagedRoute{Target: ztlab.Net4},
		ztlab.ManagedRoute{Target: ztlab.Net6},
		ztlab.ManagedRoute{Target: clientPool4, Via: ztlab.Box4}, ztlab.ManagedRoute{
			Target: clientPool6, Via: ztlab.Box6}))
	node := m.node(top.Box, ztlab.Box4, ztlab.Box6)
	m.join(node, false)
	m.join(m.node(top.Client, ztlab.Client4, ztlab.Client6), false)
	b := newBox(t, top.Box)
	b.write("provider.ovpn", top.Providers[0].Config())
	b.write("ztbridge.yaml", m.zerotier(node)+peeringConfig)
	leaks := watchGuests(t, top)
	b.start()
	b.awaitEgress("provider")

	member := party{"member", top.Client, ztlab.Client4, ztlab.Client6}
	nas := party{"nas", top.NAS, netip.MustParseAddr("192.168.50.20"),
		netip.MustParseAddr("fd50::14")}
	lan := party{"", top.Box, netip.MustParseAddr("192.168.50.1"), netip.MustParseAddr("fd50::1")}
	phone := newGuest(t, top, b, "phone", "udp").party()
	tablet := newGuest(t, top, b, "tablet", "udp").party()
	laptop := newGuest(t, top, b, "laptop", "tcp").party()
	for _, p := range []party{member, nas, phone, tablet, laptop} {
		echo, err := lab.ServeEcho(p.ns, p.addr4, p.addr6)
		must(t, err)
		defer echo.Close()
	}

	outward := []reach{{from: phone, to: member}, {from: laptop, to: member}}
	inward := []reach{{from: member, to: phone}, {from: member, to: laptop}}
	among := []reach{{from: phone, to: tablet}, {from: phone, to: laptop},
		{from: laptop, to: phone}}
	toLAN := []reach{{from: phone, to: nas, as: lan}, {from: laptop, to: nas, as: lan}}
	fromLAN := []reach{{from: nas, to: phone}}
	all := [][]reach{outward, inward, among, toLAN, fromLAN}
	for _, c := range []struct {
		name, peering string
		allowed       int // of all
	}{
		{"by default", "", 0},
		{"members to clients", "peering: [{from: zerotier, to: endpoint}]\n", 1},
		{"clients among themselves", "peering: [{from: endpoint, to: endpoint}]\n", 2},
		{"clients to the LAN",
			"peering: [{from: endpoint, to: 192.168.50.0/24}, {from: endpoint, to: \"fd50::/64\"}]\n", 3},
	} {
		if c.peering != "" {
			b.write("ztbridge.yaml", m.zerotier(node)+peeringConfig+c.peering)
			must(t, b.daemon.Signal(reloadSignal))
		}
		m.checkReach(c.name, all, c.allowed)
	}
	noLeak(t, leaks)
}

// checkReach tries everything, first what is allowed, by which the test knows that the
// configuration is in force.
func (m *mesh) checkReach(name string, all [][]reach, allowed int) {
	m.t.Helper()
	m.t.Log(name)
	for _, want := range []bool{true, false} {
		var attempts []attempt
		var streams []*lab.Stream
		for i, group := range all {
			for _, r := range group {
				if (i == allowed) == want {
					attempts = append(attempts, m.try(r)...)
				}
			}
		}
		for _, a := range attempts {
			streams = append(streams, a.stream)
			if want {
				awaitAnswers(m.t, a.stream, 10)
			}
		}
		for _, a := range attempts {
			if !want {
				awaitSent(m.t, a.stream, 10)
			}
		}
		stopAll(streams...)
		for _, a := range attempts {
			r := a.stream.Report()
			switch {
			case want:
				onlySeenAs(m.t, a.what, a.stream, a.as)
			case r.Sent == 0 || r.Received > 0:
				m.t.Errorf("%s: is answered and must not be: %v", a.what, r)
			}
		}
	}
}

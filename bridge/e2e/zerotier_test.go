package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"ztbridge/bridge/api"
	"ztbridge/bridge/doctor"
	"ztbridge/bridge/health"
	"ztbridge/bridge/lab"
	"ztbridge/bridge/lab/ztlab"
	"ztbridge/policyroute/netlab"
)

// Tests with real ZeroTier. Members reach the box by nothing else:
//
//	             root: planet and controller
//	               │
//	member ── zt ──┼── zt ── box ── tunztb-provider ── provider-a ── internet
//	member ── zt ──┘           └─── wan0 ─────────────────────────── internet
//
// Each has an uplink of its own to the lab's Internet, over which its ZeroTier travels. What is
// asserted is the source that the Internet saw, and what crossed the box's WAN.

// mesh is a ZeroTier network of the lab whose default routes lead to the box.
type mesh struct {
	t       *testing.T
	ctx     context.Context
	lab     *lab.Topology
	planet  *ztlab.Planet
	network *ztlab.Network
}

// newPlanet builds a lab with real ZeroTier in it, and no network yet, or skips the test.
func newPlanet(t *testing.T, opts lab.Options) *mesh {
	t.Helper()
	netlab.Require(t, netlab.ZeroTier)
	m := &mesh{t: t, lab: standard(t, opts)}
	var cancel context.CancelFunc
	m.ctx, cancel = context.WithTimeout(t.Context(), 6*waitTimeout)
	t.Cleanup(cancel)
	var err error
	m.planet, err = ztlab.New(m.ctx, m.lab)
	if errors.Is(err, ztlab.ErrNoController) {
		t.Skipf("SKIPPED: %v", err)
	}
	must(t, err)
	return m
}

// newMesh does the same, with a network whose managed default routes lead to the box.
func newMesh(t *testing.T, opts lab.Options, network ztlab.NetworkConfig) *mesh {
	t.Helper()
	m := newPlanet(t, opts)
	network.Name = "mesh"
	network.Routes = append(network.Routes, []ztlab.ManagedRoute{
		{Target: ztlab.Net4}, {Target: ztlab.Net6},
		{Target: netip.MustParsePrefix("0.0.0.0/0"), Via: ztlab.Box4},
		{Target: netip.MustParsePrefix("::/0"), Via: ztlab.Box6},
	}...)
	var err error
	m.network, err = m.planet.NewNetwork(m.ctx, network)
	must(t, err)
	m.lab.ClientPrefixes = append(m.lab.ClientPrefixes, ztlab.Net4, ztlab.Net6)
	return m
}

// node starts a service in a host, which the network will admit once it asks.
func (m *mesh) node(ns *netlab.Namespace, addrs ...netip.Addr) *ztlab.Node {
	m.t.Helper()
	n, err := m.planet.Node(m.ctx, ns)
	must(m.t, err)
	must(m.t, m.network.Authorise(m.ctx, n, addrs...))
	must(m.t, n.Start(m.ctx))
	return n
}

// join makes a node a member and waits until it is one.
func (m *mesh) join(n *ztlab.Node, allowDefault bool) ztlab.Membership {
	m.t.Helper()
	must(m.t, n.Join(m.ctx, m.network.ID, allowDefault))
	membership, err := n.AwaitMembership(m.ctx, m.network.ID)
	must(m.t, err)
	return membership
}

// joinAsClient makes a node a member that takes the network's default routes, as `ztbridge doctor
// --member` advises, and waits until it has them.
func (m *mesh) joinAsClient(n *ztlab.Node) ztlab.Membership {
	m.t.Helper()
	membership := m.join(n, true)
	for _, command := range doctor.KeepIPv6(membership.Iface) {
		_, err := n.NS.Run(m.ctx, "sh", "-c", command)
		must(m.t, err)
	}
	m.awaitDefault(n)
	return membership
}

// awaitDefault waits until a member has the default routes of the network.
func (m *mesh) awaitDefault(n *ztlab.Node) {
	m.t.Helper()
	for _, route := range []string{"0.0.0.0/1 via ", "128.0.0.0/1 via ", "\n::/1 via ",
		"8000::/1 via "} {
		await(m.t, "the member's route "+route, func() bool {
			main, err := n.NS.MainTable(m.ctx)
			must(m.t, err)
			return strings.Contains(main, route)
		})
	}
}

// zerotier is the part of a box's configuration about ZeroTier.
func (m *mesh) zerotier(n *ztlab.Node) string {
	return fmt.Sprintf("zerotier: {home: %s, networks: [{id: %s, name: mesh}]}\n", n.Home,
		m.network.ID)
}

// stream starts a stream from a member to what only clients talk to. The zero source leaves it to
// the kernel.
func (m *mesh) stream(from *netlab.Namespace, kind lab.Kind, to, source netip.Addr,
	marker string) *lab.Stream {
	m.t.Helper()
	s, err := lab.StartStream(lab.StreamConfig{
		From: from, Kind: kind, To: netip.AddrPortFrom(to,
			lab.EchoPort), Rate: 50, Marker: marker, Source: source,
	})
	must(m.t, err)
	m.t.Cleanup(func() { s.Stop() })
	return s
}

// onlySeenAs ends a stream and fails the test unless every answered request was seen from the given
// sources, and there were some.
func onlySeenAs(t *testing.T, what string, s *lab.Stream, want ...netip.Addr) {
	t.Helper()
	r := s.Stop()
	t.Logf("%s: %v", what, r)
	if r.Received == 0 {
		t.Errorf("%s was never answered: the test proves nothing", what)
	}
	seen := r.Egresses()
	for _, a := range want {
		delete(seen, a)
	}
	if len(seen) > 0 {
		t.Errorf("%s was seen from %v, want only from %v", what, seen, want)
	}
}

// networkStatus returns what the daemon says of its one network.
func networkStatus(st api.Status) api.Network {
	if len(st.Networks) == 0 {
		return api.Network{}
	}
	return st.Networks[0]
}

func condition(st api.Status, code health.Code) (api.Condition, bool) {
	for _, c := range st.Conditions {
		if c.Code == code {
			return c, true
		}
	}
	return api.Condition{}, false
}

// ifindex returns the index of an interface, 0 if there is none.
func ifindex(t *testing.T, ns *netlab.Namespace, name string) int {
	t.Helper()
	index := 0
	out, err := ns.Run(t.Context(), "ip", "-o", "link", "show", name)
	if err == nil {
		_, _ = fmt.Sscanf(out, "%d:", &index)
	}
	return index
}

package ztlab

import (
	"context"
	"fmt"
	"net/netip"

	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

// The addresses of the usual network: the box is its gateway.
var (
	Net4    = netip.MustParsePrefix("10.99.0.0/16")
	Net6    = netip.MustParsePrefix("fd99::/64")
	Box4    = netip.MustParseAddr("10.99.0.1")
	Box6    = netip.MustParseAddr("fd99::1")
	Client4 = netip.MustParseAddr("10.99.0.20")
	Client6 = netip.MustParseAddr("fd99::20")
)

// Usual is a usual network of a user: the box, its default route by the box, and a client
// elsewhere.
type Usual struct {
	Planet  *Planet
	Network *Network
	Box     *Node
	Client  *Node
	// BoxIface and ClientIface are the names of the zt… interfaces.
	BoxIface, ClientIface string
}

// NewUsual builds the usual network on a topology with a remote client, whose default routes then
// point at the box. The box is a plain member: it forwards nothing by itself.
func NewUsual(ctx context.Context, top *lab.Topology) (*Usual, error) {
	p, err := New(ctx, top)
	if err != nil {
		return nil, err
	}
	u := &Usual{Planet: p}
	u.Network, err = p.NewNetwork(ctx, NetworkConfig{Name: "lab", Routes: []ManagedRoute{
		{Target: Net4}, {Target: Net6},
		{Target: netip.MustParsePrefix("0.0.0.0/0"), Via: Box4},
		{Target: netip.MustParsePrefix("::/0"), Via: Box6},
	}})
	if err != nil {
		return nil, err
	}
	if u.Box, err = u.join(ctx, top.Box, Box4, Box6); err != nil {
		return nil, err
	}
	if u.Client, err = u.join(ctx, top.Client, Client4, Client6); err != nil {
		return nil, err
	}
	if u.BoxIface, err = u.await(ctx, u.Box); err != nil {
		return nil, err
	}
	if u.ClientIface, err = u.await(ctx, u.Client); err != nil {
		return nil, err
	}
	top.ClientPrefixes = append(top.ClientPrefixes, Net4, Net6)
	return u, u.routeClient(top.Client)
}

// join starts a node in a host and lets it ask for membership, which it will get.
func (u *Usual) join(ctx context.Context, ns *netlab.Namespace,
	addrs ...netip.Addr) (*Node, error) {
	n, err := u.Planet.Node(ctx, ns)
	if err != nil {
		return nil, err
	}
	if err := u.Network.Authorise(ctx, n, addrs...); err != nil {
		return nil, err
	}
	if err := n.Start(ctx); err != nil {
		return nil, err
	}
	return n, n.Join(ctx, u.Network.ID, false)
}

// await waits for membership and returns the interface's name.
func (u *Usual) await(ctx context.Context, n *Node) (string, error) {
	m, err := n.AwaitMembership(ctx, u.Network.ID)
	return m.Iface, err
}

// routeClient points the client's default routes at the box: 0.0.0.0/1 and its like. The service
// does the same for a member with allowDefault, but takes up to thirty seconds.
func (u *Usual) routeClient(client *netlab.Namespace) error {
	var cmds []string
	for half, box := range map[string]netip.Addr{"0.0.0.0/1": Box4, "128.0.0.0/1": Box4,
		"::/1": Box6, "8000::/1": Box6} {
		cmds = append(cmds, fmt.Sprintf("route replace %s via %s dev %s", half, box,
			u.ClientIface))
	}
	return client.IP(cmds...)
}

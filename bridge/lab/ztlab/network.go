package ztlab

import (
	"context"
	"fmt"
	"net/netip"
)

// NetworkConfig describes a network. IPv6 addresses are given by the modes of ZeroTier, or by
// Authorise.
type NetworkConfig struct {
	Name     string
	Routes   []ManagedRoute
	RFC4193  bool // a /128 inside fd…::/88 for each member
	SixPlane bool // a /80 for each member
}

// ManagedRoute is a route that members get; the zero Via means on link.
type ManagedRoute struct {
	Target netip.Prefix
	Via    netip.Addr
}

// Network is a private network of the planet's controller.
type Network struct {
	ID         string // sixteen hexadecimal digits
	controller *Node
}

// NewNetwork makes a network.
func (p *Planet) NewNetwork(ctx context.Context, cfg NetworkConfig) (*Network, error) {
	var made struct{ ID string }
	body := map[string]any{
		"name": cfg.Name, "private": true, "routes": encodeRoutes(cfg.Routes),
		// Without this, addresses given to members by hand are not handed out either.
		"v4AssignMode": map[string]bool{"zt": true},
		"v6AssignMode": map[string]bool{"zt": true, "rfc4193": cfg.RFC4193, "6plane": cfg.SixPlane},
	}
	if err := p.Root.Post(ctx, "/controller/network/"+p.Root.Address+"______", body,
		&made); err != nil {
		return nil, err
	}
	if len(made.ID) != 16 {
		return nil, fmt.Errorf("making network %s: the controller answered id %q", cfg.Name,
			made.ID)
	}
	return &Network{ID: made.ID, controller: p.Root}, nil
}

// SetRoutes replaces the routes that members get.
func (w *Network) SetRoutes(ctx context.Context, routes ...ManagedRoute) error {
	return w.controller.Post(ctx, "/controller/network/"+w.ID,
		map[string]any{"routes": encodeRoutes(routes)}, nil)
}

func encodeRoutes(routes []ManagedRoute) []map[string]any {
	list := []map[string]any{}
	for _, r := range routes {
		entry := map[string]any{"target": r.Target.String(), "via": nil}
		if r.Via.IsValid() {
			entry["via"] = r.Via.String()
		}
		list = append(list, entry)
	}
	return list
}

// Authorise admits a node, which need not have asked yet, and gives it addresses. Their length is
// that of the route that they are in.
func (w *Network) Authorise(ctx context.Context, n *Node, addrs ...netip.Addr) error {
	return w.setMember(ctx, n, map[string]any{"authorized": true, "ipAssignments": addrs})
}

// Deauthorise expels a node.
func (w *Network) Deauthorise(ctx context.Context, n *Node) error {
	return w.setMember(ctx, n, map[string]any{"authorized": false})
}

func (w *Network) setMember(ctx context.Context, n *Node, body map[string]any) error {
	return w.controller.Post(ctx, "/controller/network/"+w.ID+"/member/"+n.Address, body, nil)
}

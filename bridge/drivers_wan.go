package bridge

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"ztbridge/bridge/config"
	"ztbridge/bridge/ndp"
	"ztbridge/bridge/resolver"
	"ztbridge/policyroute"
)

// deviceCheck is how often a driver looks whether its egress has another interface now.
const deviceCheck = time.Second

// surroundings is what drivers need to know of the last pass. It is immutable.
type surroundings struct {
	taken   []netip.Prefix    // what a provider may not assign
	own     []netip.Addr      // the host's own addresses
	devices map[string]string // by name of egress
	members []netip.Prefix    // what is behind the ingresses
	// what clients of the endpoint may reach besides the Internet, or be reached from
	peers []netip.Prefix
}

// observe tells the drivers what a pass saw.
func (d *drivers) observe(cfg *config.Config, intent policyroute.Intent, w World) {
	s := &surroundings{devices: map[string]string{}, taken: takenPrefixes(intent, w),
		peers: peersOf(cfg, intent.Ingresses)}
	for _, l := range w.Links {
		for _, a := range l.Addrs {
			s.own = append(s.own, a.Addr())
		}
	}
	for _, e := range intent.Egresses {
		s.devices[e.Name] = e.Iface
	}
	for _, g := range intent.Ingresses {
		s.members = append(s.members, g.Prefixes...)
	}
	d.around.Store(s)
}

// peersOf returns, each once, what the configuration lets clients of the endpoint reach, and what
// may reach them: answers need a route too.
func peersOf(cfg *config.Config, ingresses []policyroute.Ingress) []netip.Prefix {
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
			if g.Name == other || g.Owned && other == config.EndpointIngress {
				add(g.Prefixes...)
			}
		}
	}
	return out
}

// takenPrefixes returns what a provider may not assign, because the host's own traffic from or to
// it would go into the tunnel: the host's subnets and its addresses, which may be alone in theirs
// (as a cloud's WAN address is), its gateways, and the endpoint's clients. The addresses of our
// tunnels are not among them: a provider assigns its own anew at each connection.
func takenPrefixes(intent policyroute.Intent, w World) []netip.Prefix {
	var out []netip.Prefix
	for _, l := range w.Links {
		if isOurs(l.Name) {
			continue
		}
		out = append(out, subnets(l.Addrs)...)
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

// taken returns what a provider may not assign. Safe for concurrent use.
func (d *drivers) taken() []netip.Prefix { return d.around.Load().taken }

// neighbourTask answers for members' addresses on the WAN, where the upstream router looks for
// them, and for the one that prefixTask checks the prefix with.
func (d *drivers) neighbourTask(e config.Egress) task {
	prefix := e.WAN.IPv6.Prefix
	ours := func(a netip.Addr) bool {
		return prefix.Contains(a) && d.isMember(a) ||
			a == checkAddr(prefix)
	}
	return task{
		key: fmt.Sprintf("neighbours %s %s", e.Name, prefix),
		run: func(ctx context.Context) error {
			d.follow(ctx, e.Name, func(ctx context.Context, iface string) {
				err := ndp.New(ndp.Config{Iface: iface, Logger: d.opts.Logger, Ours: ours}).Run(ctx)
				if err != nil && !errors.Is(err, ndp.ErrInterface) {
					d.opts.Logger.Error("neighbour proxy failed", "egress", e.Name, "error", err)
				}
			})
			return nil
		},
	}
}

// follow runs a task on the interface of an egress, and anew when that is another one or the task
// has ended, until ctx ends.
func (d *drivers) follow(ctx context.Context, egress string,
	run func(ctx context.Context, iface string)) {
	for ctx.Err() == nil {
		if iface := d.around.Load().devices[egress]; iface != "" {
			d.runWhile(ctx, func() bool { return d.around.Load().devices[egress] == iface },
				func(ctx context.Context) { run(ctx, iface) })
		}
		select {
		case <-ctx.Done():
		case <-time.After(deviceCheck):
		}
	}
}

// runWhile runs a task while a condition holds. It returns when the task has ended.
func (d *drivers) runWhile(ctx context.Context, holds func() bool, run func(context.Context)) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	defer func() { cancel(); <-done }()
	go func() {
		defer close(done)
		defer cancel()
		run(ctx)
	}()
	for ctx.Err() == nil && holds() {
		select {
		case <-ctx.Done():
		case <-time.After(deviceCheck):
		}
	}
}

// isMember says whether an address is behind an ingress and not the box's own.
func (d *drivers) isMember(a netip.Addr) bool {
	s := d.around.Load()
	return slices.ContainsFunc(s.members, func(p netip.Prefix) bool { return p.Contains(a) }) &&
		!slices.Contains(s.own, a)
}

// usesTLS says whether the egress's resolvers speak DNS over TLS; the configuration lets nobody
// mix.
func usesTLS(e config.Egress) bool { return len(e.DNS) > 0 && e.DNS[0].TLS }

// resolverTask forwards clients' questions by TLS through one egress.
func (d *drivers) resolverTask(e config.Egress, index int) task {
	cfg := resolver.Config{
		Listen: netip.AddrPortFrom(netip.IPv6Unspecified(), resolverPort(index)),
		Mark:   probeMark(index), Logger: d.opts.Logger.With("egress", e.Name),
	}
	for _, r := range e.DNS {
		name := r.TLSName
		if name == "" {
			name = r.Addr.Addr().String()
		}
		cfg.Upstreams = append(cfg.Upstreams, resolver.Upstream{Addr: r.Addr, Name: name})
	}
	return task{
		key: fmt.Sprintf("resolver %s %v %x %+v", e.Name, cfg.Listen, cfg.Mark, cfg.Upstreams),
		run: func(ctx context.Context) error { return resolver.New(cfg).Run(ctx) },
	}
}

func resolverPort(index int) uint16 { return policyroute.ResolverPortFirst + uint16(index) }
func probeMark(index int) uint32    { return policyroute.MarkFirst + uint32(index) }

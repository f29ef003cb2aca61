package services

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"ztbridge/bridge/config"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/ndp"
	"ztbridge/bridge/resolver"
	"ztbridge/policyroute"
)

// deviceCheck is how often a driver checks whether its egress has another interface now.
const deviceCheck = time.Second

// hostView is what drivers need to know of the last pass. It is immutable.
type hostView struct {
	taken   []netip.Prefix    // what a provider may not assign
	own     []netip.Addr      // the host's own addresses
	devices map[string]string // by name of egress
	members []netip.Prefix    // what is behind the ingresses
	// what clients of the endpoint may reach besides the Internet, or be reached from
	peers []netip.Prefix
}

// Observe tells the drivers what a pass saw.
func (d *Set) Observe(cfg *config.Config, intent policyroute.Intent, w decide.HostState) {
	s := &hostView{devices: map[string]string{}, taken: decide.TakenPrefixes(intent, w),
		peers: decide.PeersOf(cfg, intent.Ingresses)}
	for a := range decide.Needed(cfg, decide.Snapshot{Servers: d.servers.addrs(),
		Host: w, Tunnels: d.current.Load().tunnelStatuses()}) {
		s.taken = append(s.taken, netip.PrefixFrom(a, a.BitLen()))
	}
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
	d.view.Store(s)
}

// taken returns what a provider may not assign. Safe for concurrent use.
func (d *Set) taken() []netip.Prefix { return d.view.Load().taken }

// neighbourTask answers for members' addresses on the WAN, where the upstream router looks for
// them. It also answers for the address that prefixTask checks the prefix with.
func (d *Set) neighbourTask(e config.Egress) task {
	prefix, fault := e.WAN.IPv6.Prefix, Repeated{}
	ours := func(a netip.Addr) bool {
		return prefix.Contains(a) && d.isMember(a) || a == checkAddr(prefix)
	}
	return task{
		key: fmt.Sprintf("neighbours %s %s", e.Name, prefix),
		run: func(ctx context.Context) error {
			d.follow(ctx, e.Name, func(ctx context.Context, iface string) {
				err := ndp.New(ndp.Config{Iface: iface, Logger: d.env.Logger, Ours: ours}).Run(ctx)
				if errors.Is(err, ndp.ErrInterface) {
					err = nil
				}
				fault.Warn(d.env.Logger.With("egress", e.Name), "neighbour proxy failed", err)
			})
			return nil
		},
	}
}

// follow runs a task on the interface of an egress until ctx ends. It starts again when the
// interface changes or the task ends.
func (d *Set) follow(ctx context.Context, egress string,
	run func(ctx context.Context, iface string)) {
	for ctx.Err() == nil {
		if iface := d.view.Load().devices[egress]; iface != "" {
			runWhile(ctx, func() bool { return d.view.Load().devices[egress] == iface },
				func(ctx context.Context) { run(ctx, iface) })
		}
		select {
		case <-ctx.Done():
		case <-time.After(deviceCheck):
		}
	}
}

// runWhile runs a task while a condition holds. It returns when the task has ended.
func runWhile(ctx context.Context, holds func() bool, run func(context.Context)) {
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

// isMember reports whether an address is behind an ingress and not the box's own.
func (d *Set) isMember(a netip.Addr) bool {
	s := d.view.Load()
	return slices.ContainsFunc(s.members, func(p netip.Prefix) bool { return p.Contains(a) }) &&
		!slices.Contains(s.own, a)
}

// resolverTask forwards clients' questions by TLS through one egress.
func (d *Set) resolverTask(e config.Egress, index int) task {
	cfg := resolver.Config{
		Listen: netip.AddrPortFrom(netip.IPv6Unspecified(), decide.ResolverPort(index)),
		Mark:   decide.ProbeMark(index), Logger: d.env.Logger.With("egress", e.Name),
	}
	for _, r := range e.DNS {
		name := r.TLSName
		if name == "" {
			name = r.Addr.Addr().String()
		}
		cfg.Upstreams = append(cfg.Upstreams, resolver.Upstream{Addr: r.Addr, Name: name})
	}
	return task{
		uses: fmt.Sprintf("port %d", cfg.Listen.Port()),
		key:  fmt.Sprintf("resolver %s %v %x %+v", e.Name, cfg.Listen, cfg.Mark, cfg.Upstreams),
		run:  func(ctx context.Context) error { return resolver.New(cfg).Run(ctx) },
	}
}

// fixedRouters returns what somebody fixed for the host's routers, of IP versions that are silent.
func (d *Set) fixedRouters(s decide.Snapshot) map[policyroute.Family]net.HardwareAddr {
	out := map[policyroute.Family]net.HardwareAddr{}
	for _, f := range policyroute.Families {
		r := s.Host.Default(f)
		if d.env.Kernel == nil || !decide.UplinkSilentOver(s, f) || !r.Gateway.IsValid() {
			continue
		}
		if mac := d.env.Kernel.FixedNeighbour(r.Iface, r.Gateway); mac != nil {
			out[f] = mac
		}
	}
	return out
}

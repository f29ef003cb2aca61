package services

import (
	"context"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"ztbridge/bridge/config"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/pathcheck"
	"ztbridge/bridge/tun"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

const (
	// deviceRetry is the pause before the device of the path check is opened again.
	deviceRetry = 5 * time.Second
	// inspectDelay lets several changes of the kernel cause one inspection of its rules.
	inspectDelay = 200 * time.Millisecond
	// inspectEvery is how often rules are inspected if nothing changes.
	inspectEvery = time.Minute
	// legacyEvery is how often legacy iptables is inspected, which announces no changes.
	legacyEvery = 10 * time.Second
)

// internet stands for the Internet: no rule of a policy is likely to name it.
var internet = []netip.Addr{netip.MustParseAddr("1.1.1.1"),
	netip.MustParseAddr("2606:4700:4700::1111")}

// paths runs the box's own clients, and finds out why some fail. Safe for concurrent use.
type paths struct {
	env     Env
	trigger *Trigger
	checker *pathcheck.Checker
	wake    chan struct{}

	mu      sync.Mutex
	clients map[string]pathcheck.Client
	sources []kernel.Source
	// interfaces of the egresses that carry clients' traffic; "" while none does
	egresses []string
	doors    doors                // of the endpoint
	targets  []netip.Addr         // what stands for the Internet
	proofs   map[string]proof     // by key
	traced   map[string]time.Time // by key: of the result that was traced
	found    decide.Paths         // its Results are the checker's
}

// doors are by what clients of the endpoint come to this box.
type doors struct {
	uplinks map[policyroute.Family]string // by their default routes
	ports   []kernel.Port
}

func doorsOf(s decide.Snapshot) doors {
	d := doors{uplinks: map[policyroute.Family]string{}}
	for _, f := range policyroute.Families {
		d.uplinks[f] = s.Host.Default(f).Iface
	}
	for _, l := range s.Listeners {
		d.ports = append(d.ports, kernel.Port{Proto: l.Proto, Number: l.Port})
	}
	return d
}

func (d doors) same(as doors) bool {
	return maps.Equal(d.uplinks, as.uplinks) && slices.Equal(d.ports, as.ports)
}

func newPaths(env Env, trigger *Trigger) *paths {
	p := &paths{env: env, trigger: trigger, wake: make(chan struct{}, 1),
		clients: map[string]pathcheck.Client{}, traced: map[string]time.Time{}}
	p.found.Blocks, p.found.Traced = map[string]kernel.Block{}, map[string]bool{}
	p.checker = pathcheck.New(pathcheck.Config{
		Open: openPathDevice, Logger: env.Logger, Busy: p.answered,
		Notify: func() {
			p.poke()
			trigger.Fire("path check")
		},
	})
	return p
}

// openPathDevice opens the device, and makes it if it is missing.
func openPathDevice() (io.ReadWriteCloser, error) {
	if err := tun.Ensure(decide.PathDevice, 0, 0); err != nil {
		return nil, err
	}
	return tun.Open(decide.PathDevice)
}

// run checks until ctx ends.
func (p *paths) run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { p.inspectLoop(ctx) })
	for ctx.Err() == nil {
		err := p.checker.Run(ctx)
		p.mu.Lock()
		p.found.Err = err
		p.mu.Unlock()
		if err != nil {
			p.env.Logger.Warn("path check stopped", "error", err)
			p.trigger.Fire("path check stopped")
		}
		select {
		case <-ctx.Done():
		case <-time.After(deviceRetry):
		}
	}
	return nil
}

// set replaces the clients, after a pass made the kernel hold a decision.
func (p *paths) set(s decide.Snapshot, d decide.Decision, targets []netip.Addr) {
	var clients []pathcheck.Client
	byKey := map[string]pathcheck.Client{}
	for _, c := range d.PathClients {
		client := pathcheck.Client{Key: c.Key, Addr: c.Addr, Steered: c.Steered, Plan: c.Plan}
		if c.Egress != "" {
			client.Targets = targetsOf(targets, c.Family)
		}
		clients, byKey[c.Key] = append(clients, client), client
	}
	var sources []kernel.Source
	for _, g := range d.Intent.Ingresses {
		if g.Iface != decide.PathDevice && g.Present {
			sources = append(sources, kernel.Source{Iface: g.Iface, Prefixes: g.Prefixes})
		}
	}
	var egresses []string
	for _, e := range d.Intent.Egresses {
		if slices.ContainsFunc(d.PathClients,
			func(c decide.PathClient) bool { return c.Egress == e.Name }) {
			egresses = append(egresses, e.Iface)
		}
	}
	p.mu.Lock()
	changed := !slices.EqualFunc(sources, p.sources, func(a, b kernel.Source) bool {
		return a.Iface == b.Iface && slices.Equal(a.Prefixes, b.Prefixes)
	})
	if len(egresses) == 0 {
		egresses = []string{""}
	}
	targets = slices.Concat(internet, targets)
	now := doorsOf(s)
	changed = changed || !slices.Equal(egresses, p.egresses) ||
		!slices.Equal(targets, p.targets) || !now.same(p.doors)
	p.clients, p.sources, p.egresses, p.targets = byKey, sources, egresses, targets
	p.doors = now
	p.proofs = followProofs(p.proofs, d)
	keepKnown(p.traced, byKey)
	keepKnown(p.found.Blocks, byKey)
	keepKnown(p.found.Traced, byKey)
	p.mu.Unlock()
	p.checker.Set(clients)
	if changed {
		p.poke()
	}
}

// keepKnown removes what is kept of clients that are gone: one that comes back is another.
func keepKnown[V any](kept map[string]V, clients map[string]pathcheck.Client) {
	maps.DeleteFunc(kept, func(key string, _ V) bool {
		_, known := clients[key]
		return !known
	})
}

// targetsOf returns the hosts of an IP version to ask. If the configuration names none of a
// version, the default targets stand in: its clients are tested, too.
func targetsOf(targets []netip.Addr, f policyroute.Family) []netip.Addr {
	of := func(list []netip.Addr) []netip.Addr {
		return slices.DeleteFunc(slices.Clone(list), func(t netip.Addr) bool {
			return policyroute.FamilyOf(t) != f
		})
	}
	if named := of(targets); len(named) > 0 {
		return named
	}
	return of(config.DefaultTargets())
}

// kernelChanged has the paths tested again: another program changed filters, rules or routes. This
// program's own changes show in the clients' plans.
func (p *paths) kernelChanged(cause string) {
	if !strings.HasSuffix(cause, "by ztbridge") {
		p.checker.Kick()
	}
	p.poke()
}

func (p *paths) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// status returns the results so far.
func (p *paths) status() decide.Paths {
	results := p.checker.Status()
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.found
	out.Results, out.Blocks = results, maps.Clone(p.found.Blocks)
	out.Traced = maps.Clone(p.found.Traced)
	out.Diversions = slices.Clone(p.found.Diversions)
	return out
}

// inspectLoop finds the filters and rules that decide about packets that do not get through.
func (p *paths) inspectLoop(ctx context.Context) {
	timer, legacy := time.NewTimer(inspectEvery), time.NewTicker(legacyEvery)
	defer timer.Stop()
	defer legacy.Stop()
	rules := kernel.LegacyRules(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-legacy.C:
			if now := kernel.LegacyRules(ctx); now != rules {
				rules = now
				p.checker.Kick()
				p.poke()
			}
			continue
		case <-timer.C:
		case <-p.wake:
			select {
			case <-ctx.Done():
				return
			case <-time.After(inspectDelay):
			}
		}
		p.lookAtRules(ctx)
		p.traceFailures(ctx)
		timer.Reset(inspectEvery)
	}
}

// lookAtRules finds other programs' rules that keep real clients out, and that no packet of the
// box's own clients meets: those of other interfaces, or other sources.
func (p *paths) lookAtRules(ctx context.Context) {
	p.mu.Lock()
	sources, egresses, targets, doors := p.sources, p.egresses, p.targets, p.doors
	p.mu.Unlock()
	var found []kernel.Diversion
	var blocks []kernel.IfaceBlock
	for _, egress := range egresses {
		diversions, err := p.env.Kernel.Diversions(sources, egress, targets)
		if err != nil {
			p.env.Logger.Debug("looking for diversions failed", "error", err)
			return
		}
		found = appendNew(found, diversions)
		of, err := p.env.Kernel.IfaceBlocks(ctx, sources, egress)
		if err != nil {
			p.env.Logger.Debug("reading filters failed", "error", err)
			return
		}
		blocks = appendNew(blocks, of)
	}
	shut, err := p.env.Kernel.PortBlocks(ctx, doors.uplinks, doors.ports)
	if err != nil {
		p.env.Logger.Debug("reading filters of ports failed", "error", err)
		return
	}
	p.mu.Lock()
	changed := !slices.Equal(found, p.found.Diversions) ||
		!slices.Equal(blocks, p.found.IfaceBlocks) || !slices.Equal(shut, p.found.PortBlocks)
	p.found.Diversions, p.found.IfaceBlocks, p.found.PortBlocks = found, blocks, shut
	p.mu.Unlock()
	if changed {
		p.trigger.Fire("rules of other programs")
	}
}

// appendNew adds what is not there yet.
func appendNew[T comparable](list, more []T) []T {
	for _, v := range more {
		if !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	return list
}

// traceFailures follows the packets of each client whose last check failed, once for each result.
func (p *paths) traceFailures(ctx context.Context) {
	for key, r := range p.checker.Status() {
		p.mu.Lock()
		client, known := p.clients[key]
		done := !known || len(client.Targets) == 0 || r.Works() || r.At.Equal(p.traced[key])
		_, blocked := p.found.Blocks[key]
		first := !p.found.Traced[key]
		if r.Works() {
			delete(p.found.Blocks, key)
			delete(p.found.Traced, key)
		}
		p.traced[key] = r.At
		p.mu.Unlock()
		if done {
			continue
		}
		b, found, err := p.env.Kernel.Trace(ctx, decide.PathDevice, client.Addr,
			func(ctx context.Context) error {
				_, err := p.checker.Ask(ctx, client)
				return err
			})
		if err != nil {
			p.env.Logger.Debug("tracing failed", "client", key, "error", err)
			continue
		}
		p.mu.Lock()
		p.found.Traced[key] = true
		if found {
			p.found.Blocks[key] = b
		} else {
			delete(p.found.Blocks, key)
		}
		p.mu.Unlock()
		if found || blocked || first {
			p.trigger.Fire("trace of " + key)
		}
	}
}

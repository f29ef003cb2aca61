package bridge

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/policyroute"
)

// errUndecided is returned while the first pass has not ended.
var errUndecided = errors.New("nothing is decided yet")

// errEnding is returned to a person whose request meets a daemon that is about to end.
var errEnding = errors.New("the daemon is ending")

// Status implements api.Backend.
func (d *daemon) Status() api.Status {
	if p := d.published.Load(); p != nil {
		return p.status
	}
	return api.Status{Version: d.opts.Version, Started: d.started.UTC(), State: api.Starting, Summary: "starting; nothing passes yet"}
}

// somewhere stands for the Internet at large in explanations: an address that no policy is likely to
// name as a destination.
var somewhere = map[policyroute.Family]netip.Addr{
	policyroute.V4: netip.MustParseAddr("1.1.1.1"),
	policyroute.V6: netip.MustParseAddr("2606:4700:4700::1111"),
}

// Explain implements api.Backend. It follows a packet to the Internet at large.
func (d *daemon) Explain(addr netip.Addr) (api.Explanation, error) {
	p := d.published.Load()
	if p == nil {
		return api.Explanation{}, errUndecided
	}
	addr = addr.Unmap()
	ingress, ok := ingressOf(p.intent, addr)
	if link, own := p.world.Owner(addr); own {
		return api.Explanation{}, &api.HintedError{
			Err:  fmt.Errorf("explaining %s: it is this box's own address on %s: %w", addr, link.Name, api.ErrNotFound),
			Hint: "what this box sends itself follows its main routing table; give the address of a member or client",
		}
	}
	if !ok {
		return api.Explanation{}, &api.HintedError{
			Err:  fmt.Errorf("explaining %s: it is behind no ingress: %w", addr, api.ErrNotFound),
			Hint: "ztbridge status lists the ingresses and their addresses",
		}
	}
	e, err := policyroute.Explain(p.intent, addr, somewhere[policyroute.FamilyOf(addr)], ingress.Name)
	if err != nil {
		return api.Explanation{}, err
	}
	apart, err := elsewhere(p.intent, addr, ingress.Name)
	if err != nil {
		return api.Explanation{}, err
	}
	out := api.Explanation{
		Address: addr, Ingress: ingress.Name, Client: p.clients[addr], Rule: e.Policy, Egress: e.Egress,
		Steps: []string{fmt.Sprintf("it enters by %s (%s)", ingress.Name, ingress.Iface)},
	}
	if len(e.List) > 0 {
		out.Steps = append(out.Steps, fmt.Sprintf("%s holds; its egresses, in order: %s", e.Policy, strings.Join(e.List, ", ")))
	}
	out.Steps = append(out.Steps, e.Reason)
	for _, rule := range p.status.Policies {
		if rule.Name == e.Policy && len(e.List) > 0 {
			out.Steps = append(out.Steps, "the choice fell so because: "+rule.Why)
		}
	}
	out.Steps = append(out.Steps, apart...)
	if e.Steer != "" {
		out.Steps = append(out.Steps, "its DNS queries go to "+e.Steer)
	}
	for _, r := range e.Rules {
		out.Steps = append(out.Steps, "ip rule: "+r)
	}
	return out, nil
}

// hostBits end a prefix that is a single address.
var hostBits = map[policyroute.Family]string{policyroute.V4: "/32", policyroute.V6: "/128"}

// elsewhere says what happens to packets of an address to destinations that policies name.
func elsewhere(intent policyroute.Intent, addr netip.Addr, ingress string) ([]string, error) {
	var out []string
	for _, policy := range intent.Policies {
		for _, to := range policy.To {
			if to.Addr().Is4() != addr.Is4() {
				continue
			}
			e, err := policyroute.Explain(intent, addr, to.Addr(), ingress)
			if err != nil {
				return nil, err
			}
			if e.Policy == policy.Name && e.Member == "" {
				out = append(out, fmt.Sprintf("to %s otherwise: %s", strings.TrimSuffix(to.String(), hostBits[policyroute.FamilyOf(addr)]), e.Reason))
			}
		}
	}
	return out, nil
}

// ingressOf returns the ingress behind which an address lives.
func ingressOf(intent policyroute.Intent, addr netip.Addr) (policyroute.Ingress, bool) {
	for _, in := range intent.Ingresses {
		if slices.ContainsFunc(in.Prefixes, func(p netip.Prefix) bool { return p.Contains(addr) }) {
			return in, true
		}
	}
	return policyroute.Ingress{}, false
}

// Plan implements api.Backend.
func (d *daemon) Plan(context.Context) (string, error) {
	p := d.published.Load()
	if p == nil {
		return "", errUndecided
	}
	plan, err := planFor(d.kernel, p.intent, p.world)
	return plan.String(), err
}

// Changes implements api.Backend.
func (d *daemon) Changes(ctx context.Context) <-chan struct{} {
	c := make(chan struct{}, 1)
	d.mu.Lock()
	d.watchers[c] = true
	d.mu.Unlock()
	context.AfterFunc(ctx, func() {
		d.mu.Lock()
		delete(d.watchers, c)
		d.mu.Unlock()
	})
	return c
}

// Use implements api.Backend.
func (d *daemon) Use(ctx context.Context, egress string) error {
	return d.ask(ctx, func(ctx context.Context) error {
		if !slices.ContainsFunc(d.loaded.cfg.Egresses, func(e config.Egress) bool { return e.Name == egress }) {
			return fmt.Errorf("choosing egress %q: %w", egress, api.ErrNotFound)
		}
		return d.prefer(ctx, egress)
	})
}

// Reset implements api.Backend.
func (d *daemon) Reset(ctx context.Context) error {
	return d.ask(ctx, func(ctx context.Context) error { return d.prefer(ctx, "") })
}

// prefer records a person's choice and puts it in force.
func (d *daemon) prefer(ctx context.Context, egress string) error {
	if err := savePreference(d.opts.StateDir, egress); err != nil {
		return err
	}
	d.preferred = egress
	return d.pass(ctx, "a person's choice", false)
}

// Reload implements api.Backend.
func (d *daemon) Reload(ctx context.Context) error {
	return d.ask(ctx, d.reload)
}

// Disconnect implements api.EndpointBackend.
func (d *daemon) Disconnect(_ context.Context, client string) (int, error) {
	e := d.drivers.currentEndpoint()
	if e == nil {
		return 0, api.ErrNoEndpoint
	}
	return e.disconnect(client)
}

// Link implements api.EndpointBackend.
func (d *daemon) Link(_ context.Context, client string) (api.Link, error) {
	e := d.drivers.currentEndpoint()
	if e == nil {
		return api.Link{}, api.ErrNoEndpoint
	}
	return e.link(client)
}

// ask has the loop carry something out, and waits for it.
func (d *daemon) ask(ctx context.Context, do func(context.Context) error) error {
	r := request{do: do, done: make(chan error, 1)}
	select {
	case d.requests <- r:
	case <-d.ended:
		return errEnding
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

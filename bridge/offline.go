package bridge

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/devices"
	"ztbridge/bridge/services"
	"ztbridge/bridge/status"
	"ztbridge/bridge/tun"
	"ztbridge/policyroute/kernel"
)

// Down takes away everything of ours: rules, routes, filters, chains, TUN devices; and puts back
// the sysctls as they were before the first start. What others made stays. It returns how many
// changes that took. Idempotent. It refuses with services.ErrRunning while a
// daemon would put everything back.
func Down(ctx context.Context, opts Options) (changes int, err error) {
	lockFile, err := services.Lock(opts.RuntimeDir)
	if err != nil {
		return 0, &api.HintedError{Err: err, Hint: "stop it first: systemctl stop ztbridge"}
	}
	defer lockFile.Close()
	k, err := openKernel(opts)
	if err != nil {
		return 0, err
	}
	defer k.Close()
	host, err := k.HostState(kernel.Wanted{})
	if err != nil {
		return 0, fmt.Errorf("observing the host: %w", err)
	}
	// The devices go first: while they go, the filters still stand.
	var errs error
	for _, l := range decide.HostState(host).Links {
		if decide.IsOurs(l.Name) {
			errs = errors.Join(errs, tun.Remove(l.Name))
		}
	}
	plan, err := k.Restore(ctx)
	opts.Logger.Debug("down", "plan", plan.String())
	return len(plan.Ops), errors.Join(errs, err)
}

// Plan returns, as shell commands, what a daemon that starts now would first change. It changes
// nothing and starts nothing, so that every tunnel counts as not connected.
func Plan(opts Options) (string, error) {
	l, k, s, err := dryRun(opts)
	if err != nil {
		return "", err
	}
	defer k.Close()
	plan, _, err := planFor(k, decide.Decide(l.Config, s).Intent, s.Host)
	if err != nil {
		return "", err
	}
	return plan.String(), nil
}

// Explain says by which rule of the configuration packets of an address would go. No daemon is
// asked, so that every tunnel counts as not connected, and the subnets of networks are those of
// their interfaces.
func Explain(opts Options, addr netip.Addr) (api.Explanation, error) {
	l, k, s, err := dryRun(opts)
	if err != nil {
		return api.Explanation{}, err
	}
	defer k.Close()
	for i, n := range s.ZeroTier.Networks {
		if link, ok := s.Host.Link(n.Iface); ok {
			s.ZeroTier.Networks[i].Prefixes = decide.Subnets(link.Addrs)
		}
	}
	if l.Config.Endpoint != nil {
		s.Clients = services.ClientAddresses(opts.StateDir, l.Listeners)
	}
	return devices.NewView(k, l.Config, s, decide.Decide(l.Config, s)).Explain(addr)
}

// Offline returns the status of a box on which no daemon runs: whether it is closed, by what the
// last daemon left or by the guard, or goes on without one. It changes nothing.
func Offline(opts Options) (api.Status, error) {
	k, err := openKernel(opts)
	if err != nil {
		return api.Status{}, err
	}
	defer k.Close()
	have, err := k.Observe()
	if err != nil {
		return api.Status{}, fmt.Errorf("observing the kernel: %w", err)
	}
	s := api.Status{Version: opts.Version, Time: time.Now().UTC(), Config: opts.ConfigPath}
	s.State, s.Summary = status.WithoutDaemon(have)
	return s, nil
}

// dryRun returns what a daemon that starts now would know. The caller closes the kernel.
func dryRun(opts Options) (*services.Spec, *kernel.Kernel, decide.Snapshot, error) {
	l, err := services.Load(opts.ConfigPath, opts.Overrides)
	if err != nil {
		return nil, nil, decide.Snapshot{}, err
	}
	k, err := openKernel(opts)
	if err != nil {
		return nil, nil, decide.Snapshot{}, err
	}
	host, err := k.HostState(kernel.Wanted{Services: decide.Wanted(l.Config).Services})
	if err != nil {
		return nil, nil, decide.Snapshot{},
			errors.Join(fmt.Errorf("observing the host: %w", err), k.Close())
	}
	known, err := openConnected(opts)
	if err != nil {
		opts.Logger.Warn("the prefixes behind the ingresses are unknown", "error", err)
	}
	return l, k, decide.Snapshot{
		Now: time.Now(), Host: decide.HostState(host), ZeroTier: decide.UnqueriedNetworks(
			l.Config.ZeroTier), Listeners: l.Listeners, Connected: known.Value(),
	}, nil
}

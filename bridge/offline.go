package bridge

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/openvpn"
	"ztbridge/bridge/tun"
)

// Down takes away everything of ours: rules, routes, filters, chains, TUN devices; and puts back the
// sysctls as they were before the first start. What others made stays. Idempotent. It refuses with
// ErrRunning while a daemon would put everything back.
func Down(ctx context.Context, opts Options) error {
	held, err := lock(opts.RuntimeDir)
	if err != nil {
		return &api.HintedError{Err: err, Hint: "stop it first: systemctl stop ztbridge"}
	}
	defer held.Close()
	k, err := openKernel(opts)
	if err != nil {
		return err
	}
	defer k.Close()
	world, err := k.World()
	if err != nil {
		return fmt.Errorf("observing the host: %w", err)
	}
	// The devices go first: while they go, the filters still stand.
	var errs error
	for _, l := range World(world).Links {
		if isOurs(l.Name) {
			errs = errors.Join(errs, tun.Remove(l.Name))
		}
	}
	plan, err := k.Restore(ctx)
	opts.Logger.Info("down", "ops", len(plan.Ops))
	opts.Logger.Debug("down", "plan", plan.String())
	return errors.Join(errs, err)
}

// Plan returns, as shell commands, what a daemon that starts now would first change. It changes nothing
// and starts nothing, so that every tunnel counts as not connected.
func Plan(_ context.Context, opts Options) (string, error) {
	l, err := load(opts)
	if err != nil {
		return "", err
	}
	k, err := openKernel(opts)
	if err != nil {
		return "", err
	}
	defer k.Close()
	world, err := k.World()
	if err != nil {
		return "", fmt.Errorf("observing the host: %w", err)
	}
	s := Snapshot{Now: time.Now(), World: World(world), Listeners: l.listeners}
	plan, err := planFor(k, Desire(l.cfg, s).Intent, s.World)
	if err != nil {
		return "", err
	}
	return plan.String(), nil
}

// Check reads the configuration and every file that it names, as Run would, and returns what a person
// should know about it: warnings, and what of each profile was dropped and why.
func Check(opts Options) (string, error) {
	l, err := load(opts)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, w := range l.warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	for _, e := range l.cfg.Egresses {
		files, ok := l.tunnels[e.Name]
		if !ok {
			continue
		}
		fmt.Fprintf(&b, "egress %s: profile %s\n", e.Name, e.OpenVPN.Profile)
		writeReport(&b, files.report)
		if files.profile.NeedsCredentials && files.credentials == nil {
			return b.String(), &api.HintedError{
				Err:  fmt.Errorf("%s: egress.%s.openvpn: the profile asks for a user name and a password", e.OpenVPN.ProfilePos, e.Name),
				Hint: "put them on two lines of a file of mode 0600 and name it: credentials: FILE",
			}
		}
	}
	return b.String(), nil
}

func writeReport(b *strings.Builder, r openvpn.Report) {
	for _, line := range strings.Split(strings.TrimRight(r.String(), "\n"), "\n") {
		if line != "" {
			fmt.Fprintf(b, "  %s\n", line)
		}
	}
}

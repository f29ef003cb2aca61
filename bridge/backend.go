package bridge

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/statefile"
	"ztbridge/bridge/status"
)

// errUndecided is returned while no pass has decided anything, or put it in force.
var errUndecided = errors.New("nothing is decided yet")

// errEnding is returned to a person whose request meets a daemon that is about to end.
var errEnding = errors.New("the daemon is ending")

// stalled is the age of the last pass from which on the loop counts as hung: it runs at least every
// resync, and a pass takes some seconds at worst.
const stalled = 3 * resync

// Status implements api.Backend. It costs no pass: what decides something wakes the loop by itself;
// what only counts (bytes, round trips, sessions) is read now. Time is now, unless the loop hangs:
// then it is that of the last pass.
func (d *daemon) Status() api.Status {
	p := d.published.Load()
	if p == nil {
		return api.Status{Version: d.opts.Version, Started: d.started.UTC(), State: api.Starting,
			Summary: "starting; nothing passes yet"}
	}
	if time.Since(p.status.Time) > stalled {
		return p.status
	}
	counters, now := d.services.Look()
	st := status.Refresh(p.status, now, counters)
	st.Traffic, st.Dropped = d.totals.Traffic(now.Now), status.Dropped(d.kernel.Dropped())
	return st
}

// Explain implements api.Backend.
func (d *daemon) Explain(addr netip.Addr) (api.Explanation, error) {
	v, err := d.view()
	if err != nil {
		return api.Explanation{}, err
	}
	return v.Explain(addr)
}

// Plan implements api.Backend.
func (d *daemon) Plan(context.Context) (string, error) {
	p := d.published.Load()
	if p == nil {
		return "", errUndecided
	}
	plan, _, err := planFor(d.kernel, p.intent, p.view.Snap.Host)
	return plan.String(), err
}

// Use implements api.Backend.
func (d *daemon) Use(ctx context.Context, egress string) error {
	egress, server, chosen := strings.Cut(egress, "/")
	return d.ask(ctx, func(ctx context.Context) error {
		if !slices.ContainsFunc(d.spec.Config.Egresses,
			func(e config.Egress) bool { return e.Name == egress }) {
			return &api.HintedError{
				Err:  fmt.Errorf("choosing egress %q: %w", egress, api.ErrNotFound),
				Hint: "see: ztbridge egress list"}
		}
		if chosen {
			has, err := d.services.Prefer(egress, server)
			if !has {
				err = &api.HintedError{Err: api.ErrNotFound,
					Hint: "see: ztbridge egress list --servers"}
			}
			if err != nil {
				return fmt.Errorf("choosing server %q of egress %s: %w", server, egress, err)
			}
		}
		return d.prefer(ctx, egress)
	})
}

// Reset implements api.Backend.
func (d *daemon) Reset(ctx context.Context) error {
	return d.ask(ctx, func(ctx context.Context) error {
		return errors.Join(d.services.ForgetServers(), d.prefer(ctx, ""))
	})
}

// prefer records a person's choice and puts it in force.
func (d *daemon) prefer(ctx context.Context, egress string) error {
	if err := statefile.WriteLine(preferencePath(d.opts), egress); err != nil {
		return fmt.Errorf("recording the chosen egress: %w", err)
	}
	d.preferred = egress
	d.services.Retry(egress)
	return d.pass(ctx, "a person's choice", false)
}

// Reload implements api.Backend.
func (d *daemon) Reload(ctx context.Context) error {
	return d.ask(ctx, d.reload)
}

// ForgetReload implements api.Backend.
func (d *daemon) ForgetReload(ctx context.Context) error {
	return d.ask(ctx, func(ctx context.Context) error {
		d.refused = nil
		return d.pass(ctx, "a refused reload was forgotten", false)
	})
}

// change has the loop carry out a change, then make a pass.
func (d *daemon) change(ctx context.Context, cause string,
	change func(*config.Config, decide.Snapshot) error) error {
	return d.ask(ctx, func(ctx context.Context) error {
		snap, err := d.snapshot(false)
		if err == nil {
			err = change(d.spec.Config, snap)
		}
		if err == nil {
			err = d.pass(ctx, cause, false)
		}
		return err
	})
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

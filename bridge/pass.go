package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"ztbridge/bridge/decide"
	"ztbridge/bridge/status"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// pass is one turn of the loop: snapshot, desire, compile, observe, diff, apply, status. A pass
// that fails leaves the kernel no more open than it was; the next one finishes the work.
func (d *daemon) pass(ctx context.Context, cause string, stopping bool) error {
	began := time.Now()
	snap, err := d.snapshot(stopping)
	if err != nil {
		return err
	}
	desired := decide.Decide(d.spec.Config, snap)
	d.services.Observe(d.spec.Config, desired.Intent, snap.Host)
	d.rememberIngresses(desired.Intent)
	d.rememberConnected(desired.Connected)
	plan, unseen, err := d.converge(ctx, desired.Intent, snap.Host)
	// nothing was seen, and so nothing is to be said: the next pass looks again
	if errors.Is(err, kernel.ErrDumpInterrupted) {
		d.trigger.Fire("dump interrupted")
		return nil
	}
	partial, _ := errors.AsType[*kernel.PartialError](err)
	applied := err == nil || partial != nil
	d.filtered = applied || !plan.Empty() && !plan.ChangesFilter()
	broken := brokenIPTables(unseen, snap.Host)
	if partial != nil {
		var chains []string
		chains, err = withoutIPTables(partial)
		broken = append(broken, chains...)
		plan.Ops = partial.Done
	}
	if applied {
		d.warnOf(partial)
		d.services.Applied(snap, desired, d.spec.Config.Probe.Targets)
		d.commitReload(ctx, desired.Intent)
		d.services.RemoveOrphans(desired.Intent, snap.Host)
		d.remember(ctx, desired)
	}
	d.wake = earliest(d.monitor.Reconcile(d.spec.Config, snap, desired, d.services),
		d.services.NextLook(), desired.Wake)
	d.passes++
	d.publish(snap, desired, d.withLastChange(status.Pass{
		At: began, Took: time.Since(
			began), Cause: cause, Plan: plan, Broken: broken, Err: err, Applied: applied,
		Passes: d.passes,
	}))
	if !plan.Empty() {
		d.opts.Logger.Info("kernel changed", "cause", cause, "ops", len(plan.Ops), "took",
			time.Since(began).Round(time.Millisecond))
		// a plan of thousands of rules is long to print
		if d.opts.Logger.Enabled(ctx, slog.LevelDebug) {
			d.opts.Logger.Debug("kernel changed", "plan", plan.String())
		}
	}
	if partial != nil {
		// What it takes for the rest comes with an event, or is a person's to do, who sees it among
		// the conditions.
		return nil
	}
	return err
}

// earliest returns the first of the times that are not zero.
func earliest(times ...time.Time) time.Time {
	times = slices.DeleteFunc(times, time.Time.IsZero)
	if len(times) == 0 {
		return time.Time{}
	}
	return slices.MinFunc(times, time.Time.Compare)
}

// warnOf logs what a pass could not do, unless the one before could not do just that.
func (d *daemon) warnOf(partial *kernel.PartialError) {
	text := ""
	if partial != nil {
		text = partial.Error()
	}
	if text != "" && text != d.undone {
		d.opts.Logger.Warn("some of the kernel cannot be made what it should be", "error", text)
	}
	d.undone = text
}

// withLastChange returns r. If r changed nothing, it has the time, cause and plan of the last pass
// that did.
func (d *daemon) withLastChange(r status.Pass) status.Pass {
	if last := d.changed; last.Passes > 0 && r.Applied && r.Plan.Empty() {
		r.At, r.Took, r.Cause, r.Plan = last.At, last.Took, last.Cause, last.Plan
	} else {
		d.changed = r
	}
	return r
}

// brokenIPTables returns why chains could not be looked at, where there could be any.
func brokenIPTables(unseen []policyroute.Unseen, w decide.HostState) []string {
	var out []string
	for _, u := range unseen {
		if u.Why != "" && (u.Family == policyroute.V4 || w.IPv6) {
			out = append(out, fmt.Sprintf("iptables for %s does not work: %s", u.Family, u.Why))
		}
	}
	return out
}

// withoutIPTables takes what iptables did not open from an error. What it did not close stays in
// it.
func withoutIPTables(partial *kernel.PartialError) (chains []string, rest error) {
	for _, err := range partial.Failed {
		if errors.Is(err, kernel.ErrNoIPTables) && !errors.Is(err, kernel.ErrAcceptsLeft) {
			chains = append(chains, err.Error())
		} else {
			rest = errors.Join(rest, err)
		}
	}
	return chains, rest
}

// snapshot asks the kernel and the drivers what is true.
func (d *daemon) snapshot(stopping bool) (decide.Snapshot, error) {
	host, err := d.kernel.HostState(decide.IngressIfaces(d.spec.Config)...)
	if err != nil {
		return decide.Snapshot{}, fmt.Errorf("observing the host: %w", err)
	}
	s := decide.Snapshot{
		Now: time.Now(), Started: d.started, Host: decide.HostState(host),
		Current:  maps.Clone(d.current[policyroute.V4]),
		Current6: maps.Clone(d.current[policyroute.V6]), Preferred: d.preferred, Stopping: stopping,
		Listeners: d.spec.Listeners, Connected: d.connected,
	}
	d.services.Fill(&s)
	s.Answered = d.monitor.Answered(s)
	return s, nil
}

// converge makes the kernel hold what the intent asks for, and returns what it had to do and what
// it could not see.
func (d *daemon) converge(ctx context.Context, intent policyroute.Intent,
	w decide.HostState) (policyroute.Plan, []policyroute.Unseen, error) {
	plan, have, err := planFor(d.kernel, intent, w)
	if err != nil || plan.Empty() {
		return plan, have.Unseen, err
	}
	err = d.kernel.Apply(ctx, plan)
	if have.Nft.Empty() && plan.ChangesFilter() {
		d.cutUntranslated(ctx, intent)
	}
	return plan, have.Unseen, err
}

// cutUntranslated ends the connections of clients that began while the filter was missing, as after
// a flush by another program: the kernel translates a connection by its first packet alone.
func (d *daemon) cutUntranslated(ctx context.Context, intent policyroute.Intent) {
	n, err := d.kernel.CutFlows(ctx, kernel.Flows{Untranslated: decide.Translated(intent)})
	if err != nil {
		d.opts.Logger.Warn("cutting flows failed", "cause", "filter missing", "error", err)
	} else if n > 0 {
		d.opts.Logger.Info("flows cut", "cause", "filter missing", "count", n)
	}
}

// planFor returns what would have to change for the kernel to hold what the intent asks for, as far
// as can be seen, and what it holds.
func planFor(k *kernel.Kernel, intent policyroute.Intent,
	w decide.HostState) (policyroute.Plan, policyroute.State, error) {
	want, err := policyroute.Compile(intent)
	if err != nil {
		return policyroute.Plan{}, policyroute.State{}, fmt.Errorf("compiling the policy: %w", err)
	}
	want = w.Supported(want)
	have, err := k.Observe()
	if err != nil {
		return policyroute.Plan{}, policyroute.State{}, fmt.Errorf("observing the kernel: %w", err)
	}
	return policyroute.Diff(have, want), have, nil
}

// remember notes which egress each list uses now and, where traffic moved from one egress to
// another, cuts the flows that would go on along the old one. Flows are not cut when there is
// nowhere to go: they may survive until the tunnel is back.
func (d *daemon) remember(ctx context.Context, desired decide.Decision) {
	for key, c := range desired.Choices {
		for _, f := range policyroute.Families {
			d.rememberUse(ctx, desired.Intent, f, key, c)
		}
	}
}

func (d *daemon) rememberUse(ctx context.Context, intent policyroute.Intent,
	f policyroute.Family, key decide.EgressList, c decide.Choice) {
	current, carried := d.current[f], d.carried[f]
	old, now := current[key], c.Of(f)
	current[key] = now
	if old == now {
		return
	}
	d.opts.Logger.Info("traffic moved", "list", key, "version", f, "from", decide.OrNone(old),
		"to", decide.OrNone(now), "why", c.Why)
	if now == "" {
		return
	}
	if last := carried[key]; last != "" && last != now {
		d.cutFlows(ctx, intent, f, key.Names(), last)
	}
	carried[key] = now
}

// cutFlows ends the connections that clients have through an egress that they do not use any more,
// so that their next packets are translated for the new one.
func (d *daemon) cutFlows(ctx context.Context, intent policyroute.Intent,
	f policyroute.Family, list []string, old string) {
	n, err := d.kernel.CutFlows(ctx, decide.FlowsThrough(intent, f, list, old))
	if err != nil {
		d.opts.Logger.Warn("cutting flows failed", "egress", old, "error", err)
		return
	}
	d.opts.Logger.Info("flows cut", "egress", old, "count", n)
}

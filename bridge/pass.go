package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"ztbridge/bridge/decide"
	"ztbridge/bridge/services"
	"ztbridge/bridge/status"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// pass is one turn of the loop: snapshot, decide, compile, observe, diff, apply, status. A pass
// that fails leaves the kernel no more open than it was; the next one finishes the work.
func (d *daemon) pass(ctx context.Context, cause string, stopping bool) error {
	began := time.Now()
	snap, err := d.snapshot(stopping)
	if err != nil {
		return err
	}
	desired := decide.Decide(d.spec.Config, snap)
	d.services.Observe(d.spec.Config, desired.Intent, snap.Host)
	d.remember(desired.Intent, desired.Connected)
	d.former = decide.Former(d.former, desired.Intent.Ingresses, snap.Host)
	plan, unseen, err := d.converge(ctx, desired.Intent, snap.Host)
	// nothing was seen, and so nothing is to be said: the next pass looks again
	if errors.Is(err, kernel.ErrDumpInterrupted) {
		d.trigger.Fire("dump interrupted")
		return nil
	}
	d.passes++
	result := status.Pass{At: began, Cause: cause, Passes: d.passes}
	result.SetResult(plan, unseen, err, snap.Host)
	d.filtered = result.Applied || !plan.Empty() && !plan.ChangesFilter()
	if result.Applied {
		d.undone.Warn(d.opts.Logger, "some of the kernel cannot be made what it should be", err)
		d.services.Applied(snap, desired, d.spec.Config.Probe.Targets)
		d.SetPaths(services.NotifyPaths(desired, snap.Host))
		_ = d.cut(ctx, "port of a service", decide.Taken(d.inForce.intent, desired.Intent))
		d.commitReload(ctx, desired)
		d.services.RemoveOrphans(desired.Intent, snap.Host)
		d.queues = d.kernel.SetQueues(decide.Shapes(d.spec.Config, desired.Intent))
		d.unqueued.Warn(d.opts.Logger, "some queues stay as they are", d.queues)
		d.totals.Follow(desired.Intent)
		d.cutMoved(ctx, desired)
	}
	d.wake = decide.Earliest(d.monitor.Reconcile(d.spec.Config, snap, desired, d.services),
		d.services.NextLook(), desired.Wake)
	result.Queues = d.queues
	result.Took = time.Since(began)
	d.opts.Logger.Debug("pass", "cause", cause, "number", d.passes, "took", result.Took)
	d.publish(snap, desired, result)
	if !result.Plan.Empty() {
		d.opts.Logger.Info("kernel changed", "cause", cause, "ops", len(result.Plan.Ops), "took",
			result.Took.Round(time.Millisecond))
		// A plan of thousands of rules is long to print.
		if d.opts.Logger.Enabled(ctx, slog.LevelDebug) {
			d.opts.Logger.Debug("kernel changed", "plan", result.Plan.String())
		}
	}
	if result.Applied {
		return nil // what is missing comes with an event, or is a person's to do: see the problems
	}
	return err
}

// snapshot asks the kernel and the drivers what is true.
func (d *daemon) snapshot(stopping bool) (decide.Snapshot, error) {
	host, err := d.kernel.HostState(decide.Wanted(d.spec.Config))
	if err != nil {
		return decide.Snapshot{}, fmt.Errorf("observing the host: %w", err)
	}
	s := decide.Snapshot{
		Now: time.Now(), Started: d.started, Host: decide.HostState(host).WithFormer(d.former),
		Current: d.usage.Of(policyroute.V4), Current6: d.usage.Of(policyroute.V6),
		Preferred: d.preferred, Stopping: stopping,
		Listeners: d.spec.Listeners, Connected: d.connected,
	}
	d.services.Fill(&s)
	s.Claims = d.Book.Learn(d.spec.Config, s)
	s.Devices = d.Book.List()
	s.Answered = d.monitor.Answered(s)
	return s, nil
}

// converge makes the kernel hold what the intent asks for, and returns what it had to do and what
// it could not see.
func (d *daemon) converge(ctx context.Context, intent policyroute.Intent,
	w decide.HostState) (policyroute.Plan, []policyroute.Unseen, error) {
	refiltered := d.kernel.FilterChanges()
	plan, have, err := planFor(d.kernel, intent, w)
	if err != nil {
		return plan, have.Unseen, err
	}
	if !plan.Empty() {
		err = d.kernel.Apply(ctx, plan)
	}
	if refiltered != d.refiltered || have.Nft.Empty() && plan.ChangesFilter() ||
		decide.Entered(d.inForce.intent, intent) {
		// The kernel translates a connection by its first packet alone. These may have begun
		// without the filter, which others can take away between what is seen here and what is
		// done; or while their interface had another name.
		_ = d.cut(ctx, "filter missing", kernel.Flows{Untranslated: decide.Translated(intent)})
		d.refiltered = refiltered
	}
	return plan, have.Unseen, err
}

// cutMoved ends the connections that would go on by an egress which their list no longer uses, so
// that their next packets are translated for the new one.
func (d *daemon) cutMoved(ctx context.Context, desired decide.Decision) {
	for _, m := range d.usage.Record(desired) {
		d.opts.Logger.Info("traffic moved", "list", m.List, "version", m.Family, "from",
			decide.OrNone(m.From), "to", decide.OrNone(m.To), "why", m.Why)
		if m.Left != "" {
			_ = d.cut(ctx, "egress "+m.Left+" was left", m.Cut)
		}
	}
	d.cutQuestions(ctx, desired.Intent)
}

// cutQuestions ends the connections to resolvers that egresses no longer steer to: a client that
// always asks from one port would go on asking one that is dead.
func (d *daemon) cutQuestions(ctx context.Context, intent policyroute.Intent) {
	before := d.steered
	d.steered = decide.SteeredTo(intent)
	for egress, old := range before {
		if now, same := d.steered[egress]; same && !slices.Equal(old, now) {
			_ = d.cut(ctx, "resolver of "+egress+" changed", kernel.Flows{Resolvers: old})
		}
	}
}

// cut ends connections, and logs how many. An error is logged, too.
func (d *daemon) cut(ctx context.Context, cause string, which kernel.Flows) error {
	n, err := d.kernel.CutFlows(ctx, which)
	if err != nil {
		d.opts.Logger.Warn("cutting flows failed", "cause", cause, "error", err)
	} else if n > 0 {
		d.opts.Logger.Info("flows cut", "cause", cause, "count", n)
	}
	return err
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

// inForce is what the last pass that succeeded made the kernel hold.
type inForce struct {
	spec   *services.Spec
	intent policyroute.Intent
	timed  []string // the rules with times that were in force
}

// commitReload records what is in force now. After a reload, after a device chose, and where a
// rule's time begins or ends, it cuts the connections that the new policy sends by another egress:
// the kernel itself ends only those that were masqueraded. All other connections must live: replies
// to a cut one match no conntrack entry, and a client that only listens would wait for them
// forever.
func (d *daemon) commitReload(ctx context.Context, desired decide.Decision) {
	before, now := d.inForce, inForce{d.spec, desired.Intent, desired.Timed}
	if before.spec == nil || before.spec == now.spec && !d.Book.Moved() &&
		slices.Equal(before.timed, now.timed) {
		d.inForce = now
		return
	}
	moved := kernel.Flows{Moved: decide.NewReload(before.intent, desired.Intent).Moves}
	if d.cut(ctx, "reload", moved) == nil { // else the next pass tries again
		d.inForce = now
		d.Book.Commit()
	}
}

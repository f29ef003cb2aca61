package bridge

import (
	"ztbridge/bridge/api"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/devices"
	"ztbridge/bridge/status"
	"ztbridge/policyroute"
)

// published is the result of one pass, for readers in other goroutines. It is immutable.
type published struct {
	status api.Status
	intent policyroute.Intent // what was decided
	holds  bool               // the kernel holds anything: a pass has succeeded
	// view has what the kernel holds of the intent: another one while passes fail.
	view *devices.View
}

// view returns what is in force.
func (d *daemon) view() (*devices.View, error) {
	p := d.published.Load()
	if p == nil || !p.holds {
		return nil, errUndecided
	}
	return p.view, nil
}

// publish makes the result of a pass visible to the readers of the status.
func (d *daemon) publish(s decide.Snapshot, desired decide.Decision, r status.Pass) {
	applied := desired
	if !r.Applied {
		applied = d.inForceOf(desired)
	}
	in := status.Input{
		Version: d.opts.Version, Started: d.started, Config: d.spec.Config,
		Warnings: d.spec.Warnings, Snapshot: s, Decided: desired, Applied: applied, Pass: r,
		Notice: status.ReadNotice(d.opts.RuntimeDir), Refused: d.refused, Page: d.page.Fault(),
		Updates: status.ReadUpdates(d.opts.RuntimeDir), Found: append(append(
			d.Keep(d.spec.Config.History), d.Problems()...), d.services.Problems()...),
		Idle: d.idleMeter.Usage(),
	}
	p := &published{status: d.reporter.Report(in), intent: desired.Intent,
		holds: r.Applied || d.inForce.spec != nil,
		view:  devices.NewView(d.kernel, d.spec.Config, s, applied)}
	if before := d.published.Load(); before != nil {
		p.view.KeepBound(before.view)
	}
	d.published.Store(p)
	d.Notify()
}

// inForceOf returns, in place of what was decided, what the kernel has applied since the last pass
// that succeeded.
func (d *daemon) inForceOf(desired decide.Decision) decide.Decision {
	out := d.usage.InForce(desired)
	if d.inForce.spec != nil {
		out.Intent, out.Timed = d.inForce.intent, d.inForce.timed
	}
	return out
}

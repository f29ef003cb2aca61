package status

import (
	"errors"
	"fmt"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/decide"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// Pass is the result of one pass.
type Pass struct {
	At    time.Time
	Took  time.Duration
	Cause string
	Plan  policyroute.Plan // what was carried out
	// Broken are the operations of iptables that failed and that nothing depends on.
	Broken []string
	Err    error
	Queues error // why devices have not the queues that they should
	// Applied reports whether the kernel holds what was decided, except for what Err names.
	Applied bool
	Passes  uint64
}

// SetResult records what the kernel made of a plan: err is Apply's, unseen what could not be
// observed before.
func (p *Pass) SetResult(plan policyroute.Plan, unseen []policyroute.Unseen, err error,
	host decide.HostState) {
	p.Plan, p.Err, p.Applied = plan, err, err == nil
	for _, u := range unseen {
		if u.Why != "" && (u.Family == policyroute.V4 || host.IPv6) {
			p.Broken = append(p.Broken,
				fmt.Sprintf("iptables for %s does not work: %s", u.Family, u.Why))
		}
	}
	partial, ok := errors.AsType[*kernel.PartialError](err)
	if !ok {
		return
	}
	p.Plan.Ops, p.Err, p.Applied = partial.Done, nil, true
	for _, err := range partial.Failed {
		if errors.Is(err, kernel.ErrNoIPTables) && !errors.Is(err, kernel.ErrAcceptsLeft) {
			p.Broken = append(p.Broken, err.Error()) // an accept that was not added opens nothing
		} else {
			p.Err = errors.Join(p.Err, err)
		}
	}
}

// withLastChange returns p. If p changed nothing, it has the time, duration, cause and plan of the
// last pass that did.
func (r *Reporter) withLastChange(p Pass) Pass {
	if last := r.changed; last.Passes > 0 && p.Applied && p.Plan.Empty() {
		p.At, p.Took, p.Cause, p.Plan = last.At, last.Took, last.Cause, last.Plan
	} else {
		r.changed = p
	}
	return p
}

// reconcileStatus returns a pass as readers see it.
func reconcileStatus(p Pass) api.Reconcile {
	out := api.Reconcile{At: p.At.UTC(), Duration: p.Took.Seconds(), Cause: p.Cause,
		Ops: []string{}, Passes: p.Passes}
	for _, op := range p.Plan.Ops {
		out.Ops = append(out.Ops, op.String())
	}
	if p.Err != nil {
		out.Error = p.Err.Error()
	}
	return out
}

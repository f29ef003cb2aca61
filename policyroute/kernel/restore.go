package kernel

import (
	"context"

	"ztbridge/policyroute"
)

// Restore removes everything of ours from the kernel and puts back what we changed: afterwards rules,
// routes, filters and sysctls are as they were before the first Apply. TUN devices are left to their
// driver; their addresses go. It returns what it did. Idempotent. Chains in a table that iptables cannot list
// are the only thing that it does not remove; it says so by ErrNoIPTables.
func (k *Kernel) Restore(ctx context.Context) (policyroute.Plan, error) {
	have, err := k.Observe()
	if err != nil {
		return policyroute.Plan{}, err
	}
	plan := policyroute.Diff(have, policyroute.State{})
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.apply(ctx, plan); err != nil {
		return plan, err
	}
	if err := k.chainsLeft(have.Unseen); err != nil {
		return plan, err
	}
	if err := k.removeFootprint(); err != nil {
		return plan, err
	}
	return plan, k.record.remove()
}

package kernel

import (
	"context"

	"ztbridge/policyroute"
)

// Restore removes everything of ours from the kernel and puts back what we changed: afterwards
// rules, routes, filters and sysctls are as they were before the first Apply. TUN devices are left
// to their driver; their addresses go. It returns what it did. Idempotent. For another iptables
// that holds the legacy variant's lock it waits several seconds. Chains that iptables cannot list
// or change are the only thing that it does not remove; it says so by ErrNoIPTables and keeps the
// record, so that it can be called again.
func (k *Kernel) Restore(ctx context.Context) (policyroute.Plan, error) {
	k.waitForIPTables(restoreSeconds)
	defer k.waitForIPTables(passSeconds)
	have, err := k.Observe()
	if err != nil {
		return policyroute.Plan{}, err
	}
	plan := policyroute.Diff(have, policyroute.State{})
	return plan, k.restore(ctx, plan, have.Unseen)
}

func (k *Kernel) restore(ctx context.Context, plan policyroute.Plan,
	unseen []policyroute.Unseen) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.apply(ctx, plan); err != nil {
		return err
	}
	if err := k.chainsLeft(unseen); err != nil {
		return err
	}
	if err := k.removeFootprint(); err != nil {
		return err
	}
	return k.record.remove()
}

// waitForIPTables sets how many seconds the legacy variant's lock is waited for, and has iptables
// asked anew.
func (k *Kernel) waitForIPTables(seconds int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ipt.wait(seconds)
	k.cache.valid = false
}

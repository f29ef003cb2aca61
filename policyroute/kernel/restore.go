package kernel

import (
	"context"

	"ztbridge/policyroute"
)

// Restore removes all our objects from the kernel and restores what we changed. Afterwards rules,
// routes, filters and sysctls are as before the first Apply. It leaves TUN devices to their driver,
// without their addresses. It returns the plan that it carried out. Idempotent. It waits several
// seconds for another iptables that holds the legacy variant's lock. Only chains that iptables
// cannot list or change remain: it then returns ErrNoIPTables and keeps the record, so that it can
// be called again.
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
	if err := k.removeQueues(); err != nil {
		return err
	}
	if err := NewAccounting().Set(nil); err != nil {
		return err
	}
	return k.record.remove()
}

// waitForIPTables sets how many seconds the legacy variant's lock is waited for, and has iptables
// asked again.
func (k *Kernel) waitForIPTables(seconds int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ipt.wait(seconds)
	k.cache.valid = false
}

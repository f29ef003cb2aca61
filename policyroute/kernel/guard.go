package kernel

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/google/nftables"

	"ztbridge/policyroute"
)

// Guard installs a table inet ztb unless there is one already, and reports whether it did. It looks
// at nothing else: no state of the host, iptables above all, keeps it from closing. If it cannot
// see whether the table is there, it replaces it.
func Guard(closed policyroute.Ruleset) (put bool, err error) {
	n := newNft()
	present, unseen := n.present()
	if present {
		return false, nil
	}
	if err := n.replace(closed); err != nil {
		return false, errors.Join(unseen,
			fmt.Errorf("replacing nftables table %s: %w", n.table.Name, err))
	}
	return true, nil
}

// guardSysctls keeps clients from configuring the box by the existing interfaces that a closed
// state closes. recordPath is as of Options. Idempotent.
func guardSysctls(closed policyroute.State, recordPath string) error {
	r, err := openRecord(recordPath)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(sysctlRoot + "net/ipv4/conf")
	if err != nil {
		return fmt.Errorf("listing interfaces: %w", err)
	}
	var errs error
	for _, e := range entries {
		for _, s := range policyroute.Unconfigured(closed, e.Name()) {
			errs = errors.Join(errs, r.set(s))
		}
	}
	return errs
}

// GuardHost does what guardSysctls does, and adds the routing rules of a closed state. These
// outlast a flush of the filter. It is idempotent.
func GuardHost(closed policyroute.State, o Options) error {
	k, err := Open(o)
	if err != nil {
		return errors.Join(err, guardSysctls(closed, o.RecordPath))
	}
	defer k.Close()
	return errors.Join(k.addRules(closed), guardSysctls(closed, o.RecordPath))
}

// addRules adds the rules of a state, but none for an IP version that the kernel does not have.
func (k *Kernel) addRules(closed policyroute.State) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	var errs error
	for _, r := range closed.Rules {
		if err := withoutIPv6(r.Family, k.addRule(r)); err != nil {
			errs = errors.Join(errs, fmt.Errorf("adding %s rule %d: %w", r.Family, r.Priority, err))
		}
	}
	return errs
}

// present reports whether our table exists and filters: a table without chains does not.
func (n nft) present() (bool, error) {
	conn, err := n.dial()
	if err != nil {
		return false, err
	}
	defer conn.CloseLasting()
	chains, err := conn.ListChainsOfTableFamily(n.table.Family)
	if err != nil {
		return false, fmt.Errorf("listing nftables chains: %w", err)
	}
	return slices.ContainsFunc(chains,
		func(c *nftables.Chain) bool { return c.Table.Name == n.table.Name }), nil
}

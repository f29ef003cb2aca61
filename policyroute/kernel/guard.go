package kernel

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/google/nftables"

	"ztbridge/policyroute"
)

// Guard puts a table inet ztb in force unless there is one already, and reports whether it did. It
// looks at nothing else: whatever state the rest of the host is in, iptables above all, does not
// keep it from closing. Where it cannot be seen whether the table is there, it is replaced.
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

// GuardSysctls keeps clients from configuring the box by those interfaces that exist and that a
// closed state closes. recordPath is as of Options. It is idempotent.
func GuardSysctls(closed policyroute.State, recordPath string) error {
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

// present reports whether our table is there and filters anything: one without chains does not.
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

package kernel

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
)

// Apply executes the plan's operations in order and stops at the first error, which names the
// operation: what comes later may rely on it, and after every prefix of a plan nothing leaks. Operations
// on iptables alone are passed over where there is none; then ErrNoIPTables is returned at the end.
func (k *Kernel) Apply(ctx context.Context, p policyroute.Plan) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.apply(ctx, p)
}

func (k *Kernel) apply(ctx context.Context, p policyroute.Plan) error {
	var passed error
	for _, op := range p.Ops {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := k.do(op)
		switch {
		case errors.Is(err, ErrNoIPTables):
			passed = fmt.Errorf("%s: %w", headline(op), err)
		case err != nil:
			return fmt.Errorf("%s: %w", headline(op), err)
		}
	}
	return passed
}

func (k *Kernel) do(op policyroute.Op) error {
	switch o := op.(type) {
	case policyroute.SetLink:
		return k.setLink(o)
	case policyroute.AddAddr:
		return k.addAddr(o)
	case policyroute.DelAddr:
		return k.delAddr(o)
	case policyroute.AddRule:
		return withoutIPv6(o.Rule.Family, k.addRule(o.Rule))
	case policyroute.DelRule:
		return withoutIPv6(o.Rule.Family, k.delRule(o.Rule))
	case policyroute.ReplaceRoute:
		return withoutIPv6(o.Route.Family, k.replaceRoute(o.Route))
	case policyroute.DelRoute:
		return withoutIPv6(o.Route.Family, k.delRoute(o.Route))
	case policyroute.SetSysctl:
		return k.record.set(o.Sysctl)
	case policyroute.RestoreSysctl:
		return k.record.restore(o.Key)
	case policyroute.ReplaceNft:
		return k.nft.replace(o.Ruleset)
	case policyroute.ChangeNftMaps:
		return k.changeMaps(o)
	case policyroute.SetChain:
		return k.changeChains(func() error { return k.ipt.setChain(o.Chain) })
	case policyroute.EnsureJump:
		return k.changeChains(func() error { return k.ipt.ensureJump(o) })
	case policyroute.DeleteChain:
		return k.ipt.deleteChain(o)
	}
	return fmt.Errorf("operation %T is unknown", op)
}

// changeMaps changes the maps or, where the kernel will not, the whole table: then somebody was there first.
func (k *Kernel) changeMaps(o policyroute.ChangeNftMaps) error {
	err := k.nft.change(o)
	if err == nil {
		return nil
	}
	k.log.Debug("replacing the table, since its maps are not what they were taken for", "error", err)
	return k.nft.replace(o.Table)
}

// withoutIPv6 takes it for no error that a kernel without IPv6 has no place for its rules and routes:
// nothing can leak by it.
func withoutIPv6(f policyroute.Family, err error) error {
	if f == policyroute.V6 && (errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP)) {
		return nil
	}
	return err
}

// headline is the first line of an operation's text: a ruleset would bury the error.
func headline(op policyroute.Op) string {
	first, _, _ := strings.Cut(op.String(), "\n")
	return first
}

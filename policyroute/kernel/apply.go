package kernel

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
)

// PartialError is returned by Apply when everything was done but some operations without which the kernel is as closed as
// it should be, and less open.
type PartialError struct {
	Failed []error // each names its operation; those on iptables wrap ErrNoIPTables
}

func (e *PartialError) Error() string { return errors.Join(e.Failed...).Error() }

// Unwrap returns the errors of the operations.
func (e *PartialError) Unwrap() []error { return e.Failed }

// Apply executes the plan's operations in order and stops at the first error, which names the
// operation: what comes later may rely on it, and after every prefix of a plan nothing leaks. Operations
// that can only open are passed over when they fail, so that one impossible way out does not take the
// others along; then a PartialError is returned at the end.
func (k *Kernel) Apply(ctx context.Context, p policyroute.Plan) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.apply(ctx, p)
}

func (k *Kernel) apply(ctx context.Context, p policyroute.Plan) error {
	var failed []error
	for _, op := range p.Ops {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := k.do(op)
		if err == nil {
			continue
		}
		err = fmt.Errorf("%s: %w", headline(op), err)
		if !k.without(op) {
			return err
		}
		failed = append(failed, err)
	}
	if failed != nil {
		return &PartialError{Failed: failed}
	}
	return nil
}

// without makes up for a failed operation that can only open, and says whether the kernel is no more open than after it.
func (k *Kernel) without(op policyroute.Op) bool {
	switch o := op.(type) {
	case policyroute.AddAddr:
		return true
	case policyroute.ReplaceRoute:
		// What stands in its place leads elsewhere. Where nothing does, the refusal behind it decides.
		return o.Route.Type == policyroute.Unicast && withoutIPv6(o.Route.Family, k.delRoute(o.Route)) == nil
	case policyroute.SetChain, policyroute.EnsureJump, policyroute.DeleteChain:
		return true // they refuse nothing
	}
	return false
}

func (k *Kernel) do(op policyroute.Op) error {
	switch o := op.(type) {
	case policyroute.SetLink:
		return k.setLink(o)
	case policyroute.AddAddr:
		return withoutIPv6(policyroute.FamilyOf(o.Addr.Addr()), k.addAddr(o))
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
		return k.changeChains(o.Chain.Family, func() error { return k.ipt.setChain(o.Chain) })
	case policyroute.EnsureJump:
		return k.changeChains(o.Family, func() error { return k.ipt.ensureJump(o) })
	case policyroute.DeleteChain:
		return k.onIPTables(o.Family, func() error { return k.ipt.deleteChain(o) })
	}
	return fmt.Errorf("operation %T is unknown", op)
}

// changeChains runs a change of iptables, after noting what it may bring about.
func (k *Kernel) changeChains(f policyroute.Family, change func() error) error {
	return k.onIPTables(f, func() error {
		if err := k.noteFootprint(f); err != nil {
			return err
		}
		return change()
	})
}

// onIPTables makes every failure of do ErrNoIPTables: what is asked is simple, and an iptables that does not do it is of no
// use here.
func (k *Kernel) onIPTables(f policyroute.Family, do func() error) error {
	err := k.ipt.find(f)
	if err == nil {
		err = do()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoIPTables, err)
	}
	return nil
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

// withoutIPv6 takes it for no error that a kernel without IPv6 has no place for its rules, routes and addresses, nor a
// device on which it is switched off (EACCES): nothing can leak by it.
func withoutIPv6(f policyroute.Family, err error) error {
	if f == policyroute.V6 && (errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EACCES)) {
		return nil
	}
	return err
}

// headline is the first line of an operation's text: a ruleset would bury the error.
func headline(op policyroute.Op) string {
	first, _, _ := strings.Cut(op.String(), "\n")
	return first
}

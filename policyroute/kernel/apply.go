package kernel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
)

// ErrAcceptsLeft reports that our chains in iptables still accept what they should no longer
// accept. Table inet ztb drops it all the same; but the host's own iptables rules behind our jump
// do not see it.
var ErrAcceptsLeft = errors.New("accepts that should be gone are still in iptables")

// PartialError is returned by Apply if operations failed that only open something. Our table, rules
// and routes are then as closed as they should be. Only iptables may be more open: see
// ErrAcceptsLeft.
type PartialError struct {
	// Failed are the errors of those operations. Errors of iptables wrap ErrNoIPTables, and
	// ErrAcceptsLeft if the operation removes accepts.
	Failed []error
	// Done are the operations that were carried out.
	Done []policyroute.Op
}

func (e *PartialError) Error() string { return errors.Join(e.Failed...).Error() }

// Unwrap returns the errors of the operations.
func (e *PartialError) Unwrap() []error { return e.Failed }

// Apply executes the plan's operations in order and stops at the first error, which names the
// operation. Later ones may rely on it, and after every prefix of a plan nothing leaks. It skips
// failed operations that only open something, so that one impossible route, or an iptables that
// does not work, does not stop the rest; it then returns a PartialError at the end.
func (k *Kernel) Apply(ctx context.Context, p policyroute.Plan) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.apply(ctx, p)
}

func (k *Kernel) apply(ctx context.Context, p policyroute.Plan) error {
	var partial PartialError
	noAddress := map[deviceFamily]bool{}
	for _, op := range p.Ops {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := errNoAddress
		if r, ok := op.(policyroute.ReplaceRoute); !ok || r.Route.Type != policyroute.Unicast ||
			!noAddress[deviceFamily{r.Route.Dev, r.Route.Family}] {
			err = k.do(op)
		}
		if err == nil {
			partial.Done = append(partial.Done, op)
			continue
		}
		err = fmt.Errorf("%s: %w", headline(op), err)
		if !k.tolerable(op) {
			return err
		}
		if a, ok := op.(policyroute.AddAddr); ok {
			noAddress[deviceFamily{a.Dev, policyroute.FamilyOf(a.Addr.Addr())}] = true
		}
		if k.removesAccept(op) {
			err = fmt.Errorf("%w: %w", ErrAcceptsLeft, err)
		}
		partial.Failed = append(partial.Failed, err)
	}
	if partial.Failed != nil {
		return &partial
	}
	return nil
}

// errNoAddress refuses a route by a device whose address could not be set. Packets would leave with
// the address of another device.
var errNoAddress = errors.New("the device lacks an address")

// deviceFamily is one IP version of a device.
type deviceFamily struct {
	dev    string
	family policyroute.Family
}

// tolerable reports whether the table, the rules and the routes refuse as much without a failed
// operation as with it. It removes the route that a failed replacement leaves behind. The iptables
// chains only accept; see removesAccept.
func (k *Kernel) tolerable(op policyroute.Op) bool {
	switch o := op.(type) {
	case policyroute.AddAddr:
		return true // routes by that device are passed over as well
	case policyroute.ReplaceRoute:
		// The old route may lead elsewhere. Without any, the unreachable default decides.
		return o.Route.Type == policyroute.Unicast &&
			withoutIPv6(o.Route.Family, k.delRoute(o.Route)) == nil
	case policyroute.SetChain, policyroute.EnsureJump, policyroute.DeleteChain:
		return true
	}
	return false
}

// removesAccept reports whether an operation removes accepts from iptables, as last observed.
func (k *Kernel) removesAccept(op policyroute.Op) bool {
	switch o := op.(type) {
	case policyroute.DeleteChain:
		return true
	case policyroute.SetChain:
		return slices.ContainsFunc(k.cache.chains, func(c policyroute.Chain) bool {
			return c.Family == o.Chain.Family && c.Name == o.Chain.Name &&
				slices.ContainsFunc(c.Rules,
					func(r string) bool { return !slices.Contains(o.Chain.Rules, r) })
		})
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
		return k.replaceNft(o.Ruleset)
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

// changeChains changes iptables, after recording what the change may create.
func (k *Kernel) changeChains(f policyroute.Family, change func() error) error {
	return k.onIPTables(f, func() error {
		if err := k.noteFootprint(f); err != nil {
			return err
		}
		return change()
	})
}

// onIPTables returns every failure of do as ErrNoIPTables. The requests are simple, and an iptables
// that refuses them is of no use.
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

// changeMaps changes the maps or, if the kernel refuses, replaces the whole table: another program
// was faster.
func (k *Kernel) changeMaps(o policyroute.ChangeNftMaps) error {
	err := k.nft.change(o)
	if err == nil {
		return nil
	}
	k.log.Debug("replacing the table, since its maps are not what they were taken for", "error",
		err)
	return k.replaceNft(o.Table)
}

// withoutIPv6 drops errors of IPv6 objects where IPv6 is off, in the kernel or on a device
// (EACCES). Nothing can leak there.
func withoutIPv6(f policyroute.Family, err error) error {
	if f == policyroute.V6 && (errors.Is(err, unix.EAFNOSUPPORT) ||
		errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EACCES)) {
		return nil
	}
	return err
}

// headline returns the first line of an operation's text: a whole ruleset would hide the error.
func headline(op policyroute.Op) string {
	first, _, _ := strings.Cut(op.String(), "\n")
	return first
}

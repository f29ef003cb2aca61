package controller

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// routeGap is how long a default route is left out before it is added with another next hop.
// Members keep the old next hop otherwise, and learn of a change within 5 s.
const routeGap = 8 * time.Second

// Apply carries a plan out. Each request can be repeated; what an interruption leaves, the next
// plan holds. It does not read back: see Verify.
func Apply(ctx context.Context, c Client, p Plan) error {
	if p.Delete {
		return c.Delete(ctx, p.Network.ID)
	}
	box := p.boxAfter()
	if box.Authorized != p.Box.Authorized || !slices.Equal(box.Addrs, p.Box.Addrs) {
		if err := c.SetMember(ctx, p.Network.ID, p.Box, box); err != nil {
			return err
		}
	}
	before, after := p.Network, p.networkAfter()
	if gap := withoutReplaced(before, after); gap != nil {
		if err := c.Update(ctx, before, *gap); err != nil {
			return err
		}
		if err := sleep(ctx, routeGap); err != nil {
			return err
		}
		before = *gap
	}
	if !sameSettings(before, after) {
		if err := c.Update(ctx, before, after); err != nil {
			return err
		}
	}
	if p.Forget {
		return c.Forget(ctx, p.Network.ID, p.Box.Address)
	}
	return nil
}

// Verify returns ErrNotKept with what is missing if a plan made after Apply is not empty.
func Verify(again Plan) error {
	if again.Empty() {
		return nil
	}
	var missing []string
	for _, c := range again.Changes {
		missing = append(missing, c.String())
	}
	return fmt.Errorf("reading back network %s: %w: %s", again.Network.ID, ErrNotKept,
		strings.Join(missing, "; "))
}

// boxAfter returns the box's membership as the plan wants it.
func (p Plan) boxAfter() Member {
	m := p.Box.clone()
	for _, c := range p.Changes {
		switch c.Item {
		case ItemAuthorization:
			m.Authorized = !c.Remove
		case ItemAddress:
			m.Addrs = edit(m.Addrs, c.Addr, c.Remove, func(a, b netip.Addr) bool { return a == b })
		}
	}
	return m
}

// networkAfter returns the network as the plan wants it.
func (p Plan) networkAfter() Network {
	n := p.Network.clone()
	for _, c := range p.Changes {
		switch c.Item {
		case ItemRoute:
			n.Routes = edit(n.Routes, c.Route, c.Remove, Route.same)
		case ItemPool:
			n.Pools = edit(n.Pools, c.Pool, c.Remove, Pool.same)
		case ItemAssignV4:
			n.AssignV4 = !c.Remove
		case ItemV6Modes:
			n.V6 = c.V6
		case ItemDNS:
			n.DNS = c.DNS
			if c.Remove {
				n.DNS = c.WasDNS
			}
		}
	}
	return n
}

// edit returns a list with an entry added at its end, or taken out.
func edit[T any](list []T, entry T, remove bool, same func(T, T) bool) []T {
	if remove {
		return slices.DeleteFunc(list, func(have T) bool { return same(have, entry) })
	}
	return append(list, entry)
}

// withoutReplaced returns before without the default routes whose next hop changes, or nil if there
// are none.
func withoutReplaced(before, after Network) *Network {
	gap := before.clone()
	gap.Routes = slices.DeleteFunc(gap.Routes, func(r Route) bool {
		return r.isDefault() && !slices.ContainsFunc(after.Routes, r.same) &&
			slices.ContainsFunc(after.Routes, func(a Route) bool { return a.Target == r.Target })
	})
	if len(gap.Routes) == len(before.Routes) {
		return nil
	}
	return &gap
}

func sameSettings(a, b Network) bool {
	return slices.EqualFunc(a.Routes, b.Routes, Route.same) &&
		slices.EqualFunc(a.Pools, b.Pools, Pool.same) &&
		a.AssignV4 == b.AssignV4 && a.V6 == b.V6 && a.DNS.same(b.DNS)
}

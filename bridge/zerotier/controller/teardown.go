package controller

import (
	"fmt"
	"slices"
)

// PlanTeardown returns what takes back what a record says that setup did, as far as it still
// stands. What a person changed since stays.
func PlanTeardown(n Network, members []Member, rec Record) Plan {
	p := Plan{Network: n}
	var known bool
	p.Box, known = find(members, rec.Box)
	others := 0
	for _, m := range members {
		if m.Authorized && m.Address != rec.Box {
			others++
		}
	}
	if rec.Made && others == 0 {
		p.Delete = true
		return p
	}
	if rec.Made {
		p.Notes = append(p.Notes, fmt.Sprintf("The network itself stays, because it has other "+
			"authorised members (%d). Deauthorise them to have it removed as well.", others))
	}
	for _, c := range slices.Backward(rec.Changes) {
		if undone, ok := p.undo(c); ok {
			p.add(undone)
		}
	}
	p.Forget = rec.BoxWasNew && known
	return p
}

// without returns the modes without those that a change from was to set switched on.
func (m V6Modes) without(set, was V6Modes) V6Modes {
	return V6Modes{Pools: m.Pools && (was.Pools || !set.Pools),
		RFC4193:  m.RFC4193 && (was.RFC4193 || !set.RFC4193),
		SixPlane: m.SixPlane && (was.SixPlane || !set.SixPlane)}
}

// undo returns the opposite of a change, and whether the change still stands.
func (p *Plan) undo(c Change) (Change, bool) {
	n, back := p.Network, c
	back.Remove = !c.Remove
	switch c.Item {
	case ItemAuthorization:
		return back, p.Box.Authorized
	case ItemAddress:
		return back, slices.Contains(p.Box.Addrs, c.Addr)
	case ItemRoute:
		return back, slices.ContainsFunc(n.Routes, c.Route.same) != c.Remove
	case ItemPool:
		return back, slices.ContainsFunc(n.Pools, c.Pool.same)
	case ItemAssignV4:
		return back, n.AssignV4
	case ItemV6Modes:
		back.V6, back.WasV6 = n.V6.without(c.V6, c.WasV6), n.V6
		return back, back.V6 != n.V6
	case ItemDNS:
		return back, n.DNS.same(c.DNS)
	}
	return back, false
}

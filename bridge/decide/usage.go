package decide

import (
	"maps"

	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// Usage records which egress the kernel uses for each list, by IP version. It belongs to one
// goroutine.
type Usage struct {
	current map[policyroute.Family]map[EgressList]string
	// last is the last egress in use, even while none is: connections may live on in it.
	last map[policyroute.Family]map[EgressList]string
}

// NewUsage returns a usage of no egress.
func NewUsage() *Usage {
	u := &Usage{current: map[policyroute.Family]map[EgressList]string{},
		last: map[policyroute.Family]map[EgressList]string{}}
	for _, f := range policyroute.Families {
		u.current[f], u.last[f] = map[EgressList]string{}, map[EgressList]string{}
	}
	return u
}

// Move is the change of a list's traffic from one egress to another. An empty name is none.
type Move struct {
	List     EgressList
	Family   policyroute.Family
	From, To string
	Why      string
	// Cut selects the connections that would go on by the egress they began with, Left. It is empty
	// if there is nowhere to go: they may survive until the tunnel is back.
	Cut  kernel.Flows
	Left string
}

// Of returns a copy of the egresses in use for one IP version.
func (u *Usage) Of(f policyroute.Family) map[EgressList]string { return maps.Clone(u.current[f]) }

// Record records that the kernel holds a decision, and returns what moved. It forgets lists that
// the decision does not have.
func (u *Usage) Record(d Decision) []Move {
	for _, f := range policyroute.Families {
		for _, of := range []map[EgressList]string{u.current[f], u.last[f]} {
			maps.DeleteFunc(of, func(list EgressList, _ string) bool {
				_, has := d.Choices[list]
				return !has
			})
		}
	}
	var moves []Move
	for list, c := range d.Choices {
		for _, f := range policyroute.Families {
			old, now := u.current[f][list], c.Of(f)
			u.current[f][list] = now
			if old == now {
				continue
			}
			m := Move{List: list, Family: f, From: old, To: now, Why: c.Why}
			if now != "" {
				if last := u.last[f][list]; last != "" && last != now {
					m.Cut, m.Left = FlowsThrough(d.Intent, f, list.Names(), last), last
				}
				u.last[f][list] = now
			}
			moves = append(moves, m)
		}
	}
	return moves
}

// InForce returns a decision with the choices that are still in the kernel, because it could not be
// changed to those of d.
func (u *Usage) InForce(d Decision) Decision {
	d.Choices = maps.Clone(d.Choices)
	for list, c := range d.Choices {
		now, now6 := u.current[policyroute.V4][list], u.current[policyroute.V6][list]
		if c.Of(policyroute.V4) != now || c.Of(policyroute.V6) != now6 {
			d.Choices[list] = Choice{Egress: now, Egress6: now6,
				Why: "the kernel could not be changed: what was in force before stays"}
		}
	}
	return d
}

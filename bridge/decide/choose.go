package decide

import (
	"slices"

	"ztbridge/policyroute"
)

// Health ranks an egress as a carrier of traffic at this moment.
type Health uint8

// The merits, worst first.
const (
	// not connected, its interface is gone, a ring, a member that is away: packets cannot leave
	Unusable Health = iota
	Degraded        // connected, but probes go unanswered or have not been answered yet
	Up              // probes are answered
	Stable          // and have been for the whole hold-down
)

func (m Health) String() string {
	return [...]string{"unusable", "degraded", "up", "stable"}[m]
}

// Choice is the egress that carries the traffic of one ordered list, and why it and no other. An
// empty Egress means that none can: the traffic is refused.
type Choice struct {
	Egress string
	Why    string
	// Egress6 carries its IPv6 where that is another, as while IPv4 is dead in a tunnel and IPv6
	// is not; empty: Egress.
	Egress6 string
}

// Of returns the egress that carries the traffic of one IP version.
func (c Choice) Of(f policyroute.Family) string {
	if f == policyroute.V6 && c.Egress6 != "" {
		return c.Egress6
	}
	return c.Egress
}

// choose decides which egress of an ordered list carries its traffic now. It never leaves the list.
//
// current is what carried it until now, empty if none did; preferred is what a person asked for,
// empty if nobody did. An outage moves traffic at once, to the first that is good. Going back up
// the list waits until the better egress is proven, so that traffic moves there once and not with
// every breath of it. Where nothing is good, what is merely connected is used: a provider that
// drops echoes is not thereby down.
func choose(list []string, merits map[string]Health, current, preferred string) Choice {
	order := list
	if slices.Contains(list, preferred) {
		order = append([]string{preferred},
			slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == preferred })...)
	} else {
		preferred = ""
	}
	if !slices.Contains(list, current) {
		current = ""
	}
	first := func(least Health) string {
		for _, name := range order {
			if merits[name] >= least {
				return name
			}
		}
		return ""
	}
	picked := first(Up)
	switch {
	case picked == "" && merits[current] >= Degraded:
		picked = current
	case picked == "":
		picked = first(Degraded)
	case merits[current] >= Up && rank(order, picked) < rank(order, current) &&
		picked != preferred:
		picked = current
		if better := first(Stable); better != "" && rank(order, better) < rank(order, current) {
			picked = better
		}
	}
	return Choice{Egress: picked, Why: reason(order, merits, picked, preferred)}
}

// firstOf returns the first choice of a list: the egress that was selected manually if it is in it.
func firstOf(list []string, preferred string) string {
	if len(list) == 0 || slices.Contains(list, preferred) {
		return preferred
	}
	return list[0]
}

func rank(order []string, name string) int {
	return slices.Index(order, name)
}

// reason says in words why the choice fell as it did.
func reason(order []string, merits map[string]Health, picked, preferred string) string {
	switch {
	case len(order) == 0:
		return "blocked by the policy"
	case picked == "" && len(order) == 1:
		return order[0] + " is down"
	case picked == "":
		return "none of its egresses is up"
	case picked == preferred:
		return "selected manually"
	case picked == order[0]:
		return "first choice"
	}
	first := order[0]
	if merits[first] >= Up {
		return first + " has recovered; it is used again if it stays up"
	}
	if merits[first] == Degraded {
		return first + " does not answer probes"
	}
	return first + " is down"
}

// OrNone returns the name of an egress, "nowhere" if it is empty.
func OrNone(egress string) string {
	if egress == "" {
		return "nowhere"
	}
	return egress
}

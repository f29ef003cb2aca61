package decide

import (
	"cmp"
	"slices"

	"ztbridge/policyroute"
)

// Health ranks an egress as a carrier of traffic at this moment.
type Health uint8

// The values of Health, worst first.
const (
	// not connected, no interface, a routing loop or a peer that is away: packets cannot leave
	Unusable Health = iota
	Degraded        // connected, but probes go unanswered or have not been answered yet
	Nameless        // probes are answered, but none of its resolvers answers
	Up              // probes are answered
	Stable          // and have been for the whole hold-down
)

func (m Health) String() string {
	return [...]string{"unusable", "degraded", "nameless", "up", "stable"}[m]
}

// Choice is the egress that carries the traffic of one ordered list, and the reason. An empty
// Egress means that the traffic is refused.
type Choice struct {
	Egress string
	Why    string
	// Egress6 carries the IPv6 traffic if another egress does, as while only IPv4 fails in a
	// tunnel; empty: Egress.
	Egress6 string
}

// Of returns the egress that carries the traffic of one IP version.
func (c Choice) Of(f policyroute.Family) string {
	if f == policyroute.V6 && c.Egress6 != "" {
		return c.Egress6
	}
	return c.Egress
}

// choose returns the egress of an ordered list that carries its traffic now. It never leaves the
// list.
//
// current is the egress in use, empty if there is none; preferred is the egress that a person
// selected, empty if nobody did. An outage moves traffic at once, to the first egress whose probes
// are answered. Traffic moves back up the list once the better egress is Stable, so that it does
// not move with every short recovery. If no egress answers probes, a connected one is used: a
// provider may drop echoes and still work.
func choose(list []string, health map[string]Health, current, preferred string) Choice {
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
			if health[name] >= least {
				return name
			}
		}
		return ""
	}
	picked := first(Up)
	switch {
	case picked == "" && health[current] >= Degraded:
		picked = current // another one is hardly better, and moving cuts connections
	case picked == "":
		picked = cmp.Or(first(Nameless), first(Degraded))
	case health[current] >= Up && rank(order, picked) < rank(order, current) && picked != preferred:
		picked = current
		if better := first(Stable); better != "" && rank(order, better) < rank(order, current) {
			picked = better
		}
	}
	return Choice{Egress: picked, Why: reason(order, health, picked, preferred)}
}

// firstOf returns the first choice of a list that is not empty: the manually selected egress if it
// is in the list.
func firstOf(list []string, preferred string) string {
	if slices.Contains(list, preferred) {
		return preferred
	}
	return list[0]
}

func rank(order []string, name string) int {
	return slices.Index(order, name)
}

// reason explains a choice in words.
func reason(order []string, health map[string]Health, picked, preferred string) string {
	switch {
	case len(order) == 0:
		return "blocked by the policy"
	case picked == "" && len(order) == 1:
		return order[0] + " is down"
	case picked == "":
		return "none of its exits is connected"
	case picked == preferred:
		return "selected manually"
	case picked == order[0]:
		return "first choice"
	}
	first := order[0]
	switch health[first] {
	case Up, Stable:
		return first + " has recovered; it is used again if it stays up"
	case Nameless:
		return "no DNS server of " + first + " answers"
	case Degraded:
		return first + " does not answer probes"
	default:
		return first + " is down"
	}
}

// OrNone returns the name of an egress, "nowhere" if it is empty.
func OrNone(egress string) string { return cmp.Or(egress, "nowhere") }

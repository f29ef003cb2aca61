package client

import "time"

// waitRange is how long to wait before another try: first after one failure, half as long
// again by each further one. (Doubling would miss by two seconds a server that is back after one.)
type waitRange struct{ first, most time.Duration }

// waits by the state that a failure leads to. What nobody but a person can mend waits long: a
// provider locks the account of who repeats a wrong password.
var waits = map[State]waitRange{
	StateBackoff:     {250 * time.Millisecond, 30 * time.Second},
	StateDNSFailed:   {time.Second, 30 * time.Second},
	StateTLSFailed:   {2 * time.Second, 2 * time.Minute},
	StatePushRefused: {5 * time.Second, 5 * time.Minute},
	StateConfigError: {10 * time.Second, 10 * time.Minute},
	StateCertExpired: {15 * time.Second, 10 * time.Minute},
	StateAuthFailed:  {30 * time.Second, 30 * time.Minute},
}

// perRemote are the states that speak of one server rather than of us: with several, the others are
// tried before the wait grows. That names do not resolve is none: all of them were asked for.
var perRemote = map[State]bool{StateBackoff: true, StateTLSFailed: true, StatePushRefused: true}

// movesOn says whether another server is next after a failure. It may know an account, or have a
// certificate, that this one does not, though the wait is the same: most often it is the account
// that is wrong.
func movesOn(s State) bool { return perRemote[s] || s == StateAuthFailed || s == StateCertExpired }

// failureCount counts the failures since the tunnel was last up, also by state: after a long outage, the
// first refusal is the first, and not the last of many.
type failureCount struct {
	all int
	by  map[State]int
}

func (c *failureCount) add(s State) {
	if c.by == nil {
		c.by = map[State]int{}
	}
	c.all++
	c.by[s]++
}

// wait returns the time until the next attempt, after a failure of state s that was added, with a
// number of servers. r is as in backoff.
func (c *failureCount) wait(s State, remotes int, r float64) time.Duration {
	if !perRemote[s] || remotes < 2 {
		return backoff(s, c.by[s], r)
	}
	if c.all%remotes != 0 {
		return waits[StateBackoff].first
	}
	return backoff(s, min(c.by[s], c.all/remotes), r) // by rounds
}

// backoff returns the wait after the given number of failures (at least 1). r in [0,1) spreads it
// by ±20 %, so that boxes that lost one server do not come back in step.
func backoff(s State, failures int, r float64) time.Duration {
	p, ok := waits[s]
	if !ok {
		p = waits[StateBackoff]
	}
	d := p.first
	for range failures - 1 {
		if d += d / 2; d >= p.most {
			d = p.most
			break
		}
	}
	return time.Duration(float64(d) * (0.8 + 0.4*r))
}

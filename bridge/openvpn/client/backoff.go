package client

import "time"

// waitRange is the range of the wait before another try. It starts at first after one failure and
// grows by half with each further one. (Doubling would miss by two seconds a server that is back
// after one.)
type waitRange struct{ first, most time.Duration }

// waits holds the waits by the state that a failure leads to. What only a person can fix waits
// long: providers lock an account after many wrong passwords.
var waits = map[State]waitRange{
	StateBackoff:     {250 * time.Millisecond, 30 * time.Second},
	StateDNSFailed:   {time.Second, 30 * time.Second},
	StateTLSFailed:   {2 * time.Second, 2 * time.Minute},
	StatePushRefused: {5 * time.Second, 5 * time.Minute},
	StateConfigError: {10 * time.Second, 10 * time.Minute},
	StateCertExpired: {15 * time.Second, 10 * time.Minute},
	StateAuthFailed:  {30 * time.Second, 30 * time.Minute},
}

// perRemote are the states that concern one server, at one address: the others are tried before the
// wait grows. A failure of DNS is none, because all names were asked for.
var perRemote = map[State]bool{StateBackoff: true, StateTLSFailed: true, StatePushRefused: true}

// movesOn reports whether another server is tried after a failure. Another server may know the
// account, or have a valid certificate; the wait is the same, because most often the account is
// wrong.
func movesOn(s State) bool { return perRemote[s] || s == StateAuthFailed || s == StateCertExpired }

// failureCount counts the failures since the tunnel was last up, in total and by state. The first
// refusal after a long outage counts as the first.
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

// wait returns the time until the next attempt after a failure of state s. servers counts each
// address; the failure was added before. r is as in backoff.
func (c *failureCount) wait(s State, servers int, r float64) time.Duration {
	if !perRemote[s] || servers < 2 {
		return backoff(s, c.by[s], r)
	}
	if c.all%servers != 0 {
		return waits[StateBackoff].first
	}
	return backoff(s, min(c.by[s], c.all/servers), r) // by rounds
}

// backoff returns the wait after the given number of failures (at least 1). r in [0,1) spreads it
// by ±20 %, so that boxes that lost one server do not come back in step. It is a pure function of
// counted failures, which several events reset for one state alone; cenkalti/backoff keeps a state
// and a clock of its own.
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

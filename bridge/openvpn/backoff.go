package openvpn

import "time"

// patience is how long to wait before another try: first after one failure, half as long
// again by each further one. (Doubling would miss by two seconds a server that is back after one.)
type patience struct{ first, most time.Duration }

// patiences by the state that a failure leads to. What nobody but a person can mend waits long: a
// provider locks the account of who repeats a wrong password.
var patiences = map[State]patience{
	StateBackoff:     {250 * time.Millisecond, 30 * time.Second},
	StateDNSFailed:   {time.Second, 30 * time.Second},
	StateTLSFailed:   {2 * time.Second, 2 * time.Minute},
	StatePushRefused: {5 * time.Second, 5 * time.Minute},
	StateConfigError: {10 * time.Second, 10 * time.Minute},
	StateCertExpired: {15 * time.Second, 10 * time.Minute},
	StateAuthFailed:  {30 * time.Second, 30 * time.Minute},
}

// perRemote are the states that speak of one server rather than of us: with several, the others are
// tried before the wait grows.
var perRemote = map[State]bool{StateBackoff: true, StateDNSFailed: true, StateTLSFailed: true, StatePushRefused: true}

// backoff returns the wait after the given number of failures in a row (at least 1) with the given number
// of servers. r in [0,1) spreads it by ±20 %, so that boxes that lost one server do not come back in step.
func backoff(s State, failures, remotes int, r float64) time.Duration {
	p, ok := patiences[s]
	if !ok {
		p = patiences[StateBackoff]
	}
	if perRemote[s] && remotes > 1 {
		if failures%remotes != 0 {
			return patiences[StateBackoff].first
		}
		failures /= remotes
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

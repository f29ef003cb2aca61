package status

import "time"

// gaps counts for how long each rule had no egress since the daemon started, by name of the rule.
type gaps map[string]gap

type gap struct {
	total   time.Duration
	at      time.Time // when it was looked at last
	blocked bool      // since then
}

// count notes whether a rule's traffic is blocked from now on, and returns how long it was so far.
func (g gaps) count(now time.Time, rule string, blocked bool) time.Duration {
	c := g[rule]
	if c.blocked {
		c.total += max(now.Sub(c.at), 0)
	}
	c.at, c.blocked = now, blocked
	g[rule] = c
	return c.total
}

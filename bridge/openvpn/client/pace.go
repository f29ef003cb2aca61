package client

import (
	"context"
	"fmt"
	"time"

	"ztbridge/bridge/openvpn/profile"
)

const (
	// measureLimit is how long servers are measured before the first connection: clients wait.
	measureLimit = 10 * time.Second
	// paceAge is how long a measured time counts.
	paceAge = 30 * 24 * time.Hour
	// unknownPace sorts servers that never answered behind all others.
	unknownPace = time.Hour
)

// pace holds how soon servers answer, from the first packet to the first answer. It knows
// connections that were made and rounds of measuring. It is remembered on disk, so that a restart
// need not measure again.
type pace struct {
	path       string
	now        func() time.Time
	known      map[string]paceRecord
	unmeasured []profile.Remote // of the present round; nil: none is under way
	until      time.Time        // the end of the round
}

type paceRecord struct {
	Took time.Duration `json:"took"` // nanoseconds
	Time time.Time     `json:"time"`
}

// openPace reads what is remembered at path; an empty one remembers nothing. What cannot be read is
// forgotten.
func openPace(path string) *pace {
	return &pace{path: path, now: time.Now, known: readKnown[paceRecord](path)}
}

func paceKey(r profile.Remote) string { return fmt.Sprintf("%s/%s", r.Member, r) }

// of returns how soon a server answers; unknownPace where nothing is known.
func (p *pace) of(r profile.Remote) time.Duration {
	k, known := p.known[paceKey(r)]
	if age := p.now().Sub(k.Time); !known || k.Took <= 0 || age < 0 || age > paceAge {
		return unknownPace
	}
	return k.Took
}

// record keeps how soon a server answered.
func (p *pace) record(r profile.Remote, took time.Duration) {
	p.known[paceKey(r)] = paceRecord{Took: took, Time: p.now()}
}

// save writes what is known.
func (p *pace) save() error {
	if p.path == "" {
		return nil
	}
	if err := writeKnown(p.path, p.known); err != nil {
		return fmt.Errorf("remembering how soon servers answer: %w", err)
	}
	return nil
}

// measure starts a round that asks servers of unknown delay to answer, as many as fit in
// measureLimit. Other orders than fastest need none.
func (c *serverList) measure() {
	if c.order != Fastest || len(c.remotes) < 2 {
		return
	}
	for _, r := range c.remotes {
		if c.pace.of(r) == unknownPace {
			c.pace.unmeasured = append(c.pace.unmeasured, r)
		}
	}
	c.pace.until = c.pace.now().Add(measureLimit)
}

// measuring returns the next server to be measured. At the end of the round the servers are sorted.
func (c *serverList) measuring(ctx context.Context) (target, bool) {
	p := c.pace
	if p.unmeasured == nil {
		return target{}, false
	}
	for len(p.unmeasured) > 0 && p.now().Before(p.until) {
		r := p.unmeasured[0]
		p.unmeasured = p.unmeasured[1:]
		addrs, _, _ := c.names.lookup(ctx, asked(r), false, true)
		proxy, err := c.lookupProxy(ctx, r)
		if len(addrs) == 0 || err != nil {
			continue // it comes last, and its error is told when it is tried
		}
		t := target{remote: r, addr: addrs[0], proxy: proxy, measure: true}
		if r.NamedToProxy() {
			t.addr, t.proxy = t.proxy, addrs[0]
		}
		return t, true
	}
	p.unmeasured = nil
	c.next, c.addrs = 0, nil
	c.sort()
	return target{}, false
}

package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"ztbridge/bridge/openvpn/profile"
)

// target is one address of one remote.
type target struct {
	remote profile.Remote
	addr   netip.Addr
	proxy  netip.Addr // of the server's proxy, where it has one
}

func (t target) server() netip.AddrPort { return netip.AddrPortFrom(t.addr, t.remote.Port) }

// course is the order in which servers are tried: the addresses of one remote, then those of the
// next, round and round. It belongs to one goroutine at a time.
type course struct {
	names   *names
	remotes []profile.Remote
	random  bool
	next    int          // index of the remote after the current one
	addrs   []netip.Addr // of the current remote, still to be tried; the first is the target
	current profile.Remote
	proxy   netip.Addr      // of the current remote
	failed  map[string]bool // names whose address was tried in vain since they were asked for
	// haste is how many more servers are given little time: once around after a session was lost,
	// because clients wait. Whoever is slow gets all the time there is in the rounds that follow.
	haste int
}

func newCourse(p *profile.Profile, n *names) *course {
	c := &course{names: n, remotes: append([]profile.Remote(nil), p.Remotes...), random: p.RandomOrder,
		failed: map[string]bool{}}
	c.shuffle()
	return c
}

func (c *course) shuffle() {
	if c.random {
		rand.Shuffle(len(c.remotes),
			func(i, j int) { c.remotes[i], c.remotes[j] = c.remotes[j], c.remotes[i] })
	}
}

// target returns where to connect to: the same as last time unless fail was called, else what
// follows. Names that do not resolve are passed over; when none does, the errors of all are
// returned. remark is what a person should know although there is a target.
func (c *course) target(ctx context.Context) (t target, remark error, err error) {
	var failures []error
	for range len(c.remotes) + 1 {
		if len(c.addrs) > 0 {
			return target{c.current, c.addrs[0], c.proxy}, errors.Join(failures...), nil
		}
		if len(failures) == len(c.remotes) || ctx.Err() != nil {
			break
		}
		if c.next == len(c.remotes) {
			c.next = 0
			c.shuffle()
		}
		c.current = c.remotes[c.next]
		c.next++
		addrs, old, err := c.names.lookup(ctx, c.current, c.failed[c.current.Host], c.haste > 0)
		if err == nil {
			delete(c.failed, c.current.Host)
		} else {
			failures = append(failures, fmt.Errorf("resolving %s: %w", c.current.Host, err))
		}
		if old {
			failures[len(failures)-1] = fmt.Errorf("%w; using its last known address",
				failures[len(failures)-1])
		}
		c.addrs = addrs
		if c.proxy, err = c.lookupProxy(ctx); err != nil {
			c.addrs = nil
			failures = append(failures, err)
		}
	}
	return target{}, nil, errors.Join(failures...)
}

// lookupProxy returns the address of the current remote's proxy; the zero value where it has none.
func (c *course) lookupProxy(ctx context.Context) (netip.Addr, error) {
	host := c.current.Proxy.Host
	if host == "" {
		return netip.Addr{}, nil
	}
	addrs, _, err := c.names.lookup(ctx, profile.Remote{Host: host}, false, c.haste > 0)
	if len(addrs) == 0 {
		return netip.Addr{}, fmt.Errorf("resolving the proxy %s: %w", host, err)
	}
	return addrs[0], nil
}

// random01 spreads waits.
func (c *course) random01() float64 { return rand.Float64() }

// hasten begins a round in which servers are given little time.
func (c *course) hasten() { c.haste = len(c.remotes) }

// brief says that the present server is given little time: there are others, which may be quicker.
func (c *course) brief() bool { return c.haste > 0 && (len(c.remotes) > 1 || len(c.addrs) > 1) }

// fail passes on to the next address.
func (c *course) fail() {
	c.haste = max(c.haste-1, 0)
	if len(c.addrs) > 0 {
		c.addrs = c.addrs[1:]
		c.failed[c.current.Host] = true
	}
}

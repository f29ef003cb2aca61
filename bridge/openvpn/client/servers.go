package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"ztbridge/bridge/openvpn/profile"
)

// Order is the order in which a tunnel tries its servers.
type Order string

// The orders.
const (
	Written Order = "written" // as in the profile; the zero value means it too
	Random  Order = "random"
	Fastest Order = "fastest" // by the time that connecting took; those not tried yet come last
)

// target is one address of one remote.
type target struct {
	remote profile.Remote
	addr   netip.Addr
	proxy  netip.Addr // of the server's proxy, where it has one
	// chacha20: ChaCha20-Poly1305 alone is offered.
	chacha20 bool
}

func (t target) server() netip.AddrPort { return netip.AddrPortFrom(t.addr, t.remote.Port) }

// serverList is the order in which servers are tried: the addresses of one remote, then those of
// the next, round and round. It belongs to one goroutine at a time.
type serverList struct {
	names   *names
	remotes []profile.Remote
	order   Order
	next    int          // index of the remote after the current one
	addrs   []netip.Addr // of the current remote, still to be tried; the first is the target
	current profile.Remote
	proxy   netip.Addr      // of the current remote
	failed  map[string]bool // names whose address failed since they were last resolved
	// fastRounds is how many more servers are given little time: once around after a session was
	// lost, because clients wait. A slow server gets its full time in the rounds that follow.
	fastRounds int
	took       map[profile.Remote]time.Duration // how long connecting took last
	// chacha20 reports whether ChaCha20-Poly1305 is offered alone at first; allCiphers holds the
	// servers that refused that.
	chacha20   func(profile.Remote) bool
	allCiphers map[profile.Remote]bool
}

func newServerList(p *profile.Profile, n *names, order Order) *serverList {
	if p.RandomOrder && (order == "" || order == Written) {
		order = Random
	}
	c := &serverList{names: n, remotes: slices.Clone(p.Remotes), order: order,
		failed: map[string]bool{}, took: map[profile.Remote]time.Duration{},
		chacha20:   func(profile.Remote) bool { return false },
		allCiphers: map[profile.Remote]bool{}}
	c.sort()
	return c
}

// sort puts the servers in their order for the next round.
func (c *serverList) sort() {
	switch c.order {
	case Random:
		rand.Shuffle(len(c.remotes),
			func(i, j int) { c.remotes[i], c.remotes[j] = c.remotes[j], c.remotes[i] })
	case Fastest:
		slices.SortStableFunc(c.remotes, func(a, b profile.Remote) int {
			return cmp.Compare(c.cost(a), c.cost(b))
		})
	case Written:
	}
}

// cost orders servers: those that were never tried come last.
func (c *serverList) cost(r profile.Remote) time.Duration {
	if d, known := c.took[r]; known {
		return d
	}
	return time.Hour
}

// connected records how long connecting to the current server took.
func (c *serverList) connected(d time.Duration) { c.took[c.current] = d }

// target returns where to connect to: the same as last time unless fail was called, else what
// follows. Names that do not resolve are passed over; when none does, the errors of all are
// returned. remark is what a person should know although there is a target.
func (c *serverList) target(ctx context.Context) (t target, remark error, err error) {
	var failures []error
	for range len(c.remotes) + 1 {
		if len(c.addrs) > 0 {
			return target{c.current, c.addrs[0], c.proxy,
				c.chacha20(c.current) && !c.allCiphers[c.current]}, errors.Join(failures...), nil
		}
		if len(failures) == len(c.remotes) || ctx.Err() != nil {
			break
		}
		if c.next == len(c.remotes) {
			c.next = 0
			c.sort()
		}
		c.current = c.remotes[c.next]
		c.next++
		addrs, old, err := c.names.lookup(ctx, c.current, c.failed[c.current.Host],
			c.fastRounds > 0)
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
func (c *serverList) lookupProxy(ctx context.Context) (netip.Addr, error) {
	host := c.current.Proxy.Host
	if host == "" {
		return netip.Addr{}, nil
	}
	addrs, _, err := c.names.lookup(ctx, profile.Remote{Host: host}, false, c.fastRounds > 0)
	if len(addrs) == 0 {
		return netip.Addr{}, fmt.Errorf("resolving the proxy %s: %w", host, err)
	}
	return addrs[0], nil
}

// random01 spreads waits.
func (c *serverList) random01() float64 { return rand.Float64() }

// beginFastRound begins a round in which servers are given little time.
func (c *serverList) beginFastRound() { c.fastRounds = len(c.remotes) }

// inFastRound reports whether the present server is given little time, because there are others
// that may be quicker.
func (c *serverList) inFastRound() bool {
	return c.fastRounds > 0 && (len(c.remotes) > 1 || len(c.addrs) > 1)
}

// fail passes on to the next address.
func (c *serverList) fail() {
	c.fastRounds = max(c.fastRounds-1, 0)
	if len(c.addrs) > 0 {
		c.addrs = c.addrs[1:]
		c.failed[c.current.Host] = true
	}
}

// offerAll remembers that a server does not take ChaCha20-Poly1305.
func (c *serverList) offerAll(r profile.Remote) { c.allCiphers[r] = true }

// skip passes on to the next server.
func (c *serverList) skip() { c.addrs = nil }

// prefer makes a profile's servers the next to be tried, if it has any.
func (c *serverList) prefer(member string) {
	at := slices.IndexFunc(c.remotes, func(r profile.Remote) bool { return r.Member == member })
	if at < 0 {
		return
	}
	c.remotes = slices.Concat(c.remotes[at:], c.remotes[:at])
	c.next, c.addrs = 0, nil
}

// untilRotation returns the time until the next change of servers, at a time of day in this box's
// zone; practically for ever where at is nil.
func untilRotation(at *time.Duration, now time.Time) time.Duration {
	if at == nil {
		return noLimit
	}
	midnight := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, now.Location())
	next := midnight.Add(*at)
	if !next.After(now) {
		next = midnight.AddDate(0, 0, 1).Add(*at)
	}
	return next.Sub(now)
}

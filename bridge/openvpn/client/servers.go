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
	Fastest Order = "fastest" // by how soon they answered (see pace); unknown ones come last
)

// target is one address of one remote.
type target struct {
	remote profile.Remote
	addr   netip.Addr // the zero value: the proxy resolves the server's name
	proxy  netip.Addr // of the server's proxy, where it has one
	// chacha20: ChaCha20-Poly1305 alone is offered.
	chacha20 bool
	// measure: only the time until the server answers is wanted.
	measure bool
}

// server returns the server's address; the zero value where only its proxy knows it.
func (t target) server() netip.AddrPort {
	if !t.addr.IsValid() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(t.addr, t.remote.Port)
}

// proxyAddr returns the address of the server's proxy; the zero value where it has none.
func (t target) proxyAddr() netip.AddrPort {
	if !t.proxy.IsValid() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(t.proxy, t.remote.Proxy.Port)
}

// serverList is the order in which servers are tried, repeated without end. The addresses of one
// remote come first, then those of the next. It belongs to one goroutine at a time.
type serverList struct {
	names   *names
	remotes []profile.Remote
	order   Order
	next    int // index of the remote after the current one
	// addrs are the addresses of the current remote that are still to be tried; the first is tried
	// now. They are the server's, or its proxy's where the proxy resolves the server's name.
	addrs   []netip.Addr
	current profile.Remote
	proxy   netip.Addr      // of the current remote
	failed  map[string]bool // names whose address failed since they were last resolved
	// fastRounds is how many more servers get little time at each of their addresses. It is one
	// round at the start and after a lost session, because clients wait. A slow server gets its
	// full time in the rounds that follow.
	fastRounds int
	jumped     bool // to a server that answered in a race; see jump
	pace       *pace
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
		failed: map[string]bool{}, pace: openPace(""),
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
			return cmp.Compare(c.pace.of(a), c.pace.of(b))
		})
	case Written:
	}
}

// target returns where to connect to: the same as last time unless fail was called, else what
// follows. Names that do not resolve are passed over; when none does, the errors of all are
// returned. remark is what a person should know although there is a target.
func (c *serverList) target(ctx context.Context) (t target, remark error, err error) {
	if t, ok := c.measuring(ctx); ok {
		return t, nil, nil
	}
	var failures []error
	for range len(c.remotes) + 1 {
		if len(c.addrs) > 0 {
			t := target{remote: c.current, addr: c.addrs[0], proxy: c.proxy,
				chacha20: c.chacha20(c.current) && !c.allCiphers[c.current]}
			if c.current.NamedToProxy() {
				t.addr, t.proxy = netip.Addr{}, c.addrs[0]
			}
			return t, errors.Join(failures...), nil
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
		ask := asked(c.current)
		addrs, old, err := c.names.lookup(ctx, ask, c.failed[ask.Host], c.fastRounds > 0)
		if err == nil {
			delete(c.failed, ask.Host)
		} else {
			failures = append(failures, explainLookup("name", ask.Host, err))
		}
		if old {
			failures[len(failures)-1] = fmt.Errorf("%w; using its last known address",
				failures[len(failures)-1])
		}
		c.addrs = routedFirst(addrs, hasRoute)
		if c.proxy, err = c.lookupProxy(ctx, c.current); err != nil {
			c.addrs = nil
			failures = append(failures, err)
		}
	}
	return target{}, nil, errors.Join(failures...)
}

// asked returns what is looked up for a remote: itself, or its proxy. OpenVPN speaks to a SOCKS
// proxy in IPv4 only when the tunnel goes over UDP.
func asked(ask profile.Remote) profile.Remote {
	switch {
	case ask.NamedToProxy():
		ask.Host = ask.Proxy.Host
	case ask.Proxy.Host != "":
		ask.Family = 4
	}
	return ask
}

// lookupProxy returns the address of a remote's proxy. It is zero if the remote has none, or if
// asked names the proxy itself.
func (c *serverList) lookupProxy(ctx context.Context, r profile.Remote) (netip.Addr, error) {
	host := r.Proxy.Host
	if host == "" || r.NamedToProxy() {
		return netip.Addr{}, nil
	}
	addrs, _, err := c.names.lookup(ctx, profile.Remote{Host: host, Family: 4}, false,
		c.fastRounds > 0)
	if len(addrs) == 0 {
		return netip.Addr{}, explainLookup("name of the proxy", host, err)
	}
	return addrs[0], nil
}

// size returns how many attempts a round has: one at each address of each remote.
func (c *serverList) size() int {
	n := 0
	for _, r := range c.remotes {
		n += max(len(c.names.last(asked(r))), 1)
	}
	return n
}

// beginFastRound begins a round in which servers are given little time.
func (c *serverList) beginFastRound() { c.fastRounds = len(c.remotes) }

// inFastRound reports whether the present server is given little time, because there are others
// that may be quicker.
func (c *serverList) inFastRound() bool {
	return c.fastRounds > 0 && (len(c.remotes) > 1 || len(c.addrs) > 1)
}

// fail passes on to the next address.
func (c *serverList) fail() {
	c.jumped = false
	if len(c.addrs) > 0 {
		c.addrs = c.addrs[1:]
		c.failed[asked(c.current).Host] = true
	}
	if len(c.addrs) == 0 {
		c.fastRounds = max(c.fastRounds-1, 0)
	}
}

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
	c.pace.unmeasured = nil
}

// rotates reports whether the servers change between two looks at the clock, at a time of day, or
// never. A clock that was set in between is believed from now on: the time was not passed.
func rotates(at *time.Duration, before, now time.Time) bool {
	passed := now.Round(0).Sub(before) // by the clock that is set
	return at != nil && passed < time.Minute && untilRotation(*at, before) <= passed
}

// untilRotation returns the time from now to the next time of day at, in this box's zone.
func untilRotation(at time.Duration, now time.Time) time.Duration {
	on := func(day int) time.Time { // by the clock, also on a day of 23 or 25 hours
		return time.Date(now.Year(), now.Month(), day, 0, 0, int(at/time.Second), 0, now.Location())
	}
	next := on(now.Day())
	if !next.After(now) {
		next = on(now.Day() + 1)
	}
	return next.Sub(now)
}

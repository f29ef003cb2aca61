package connlimit

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Listener accepts connections within limits. Make one with New.
type Listener struct {
	net.Listener
	total, perSource, bits6 int

	mu      sync.Mutex
	sources map[netip.Prefix]map[*conn]struct{}
	open    int
}

// New returns l with at most total open connections, and at most perSource of each source; 0 means
// no limit of its own. A source is what SourceOf returns with bits6. Where total is reached, the
// source with the most connections loses one. Sources of one Network have half of total together,
// at most.
func New(l net.Listener, total, perSource, bits6 int) *Listener {
	return &Listener{Listener: l, total: total, perSource: perSource, bits6: bits6,
		sources: map[netip.Prefix]map[*conn]struct{}{}}
}

// Accept returns the next connection. It closes an older one where that exceeds a limit.
func (l *Listener) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, fmt.Errorf("accepting a connection: %w", err)
	}
	c := &conn{Conn: raw, owner: l, source: SourceOf(raw.RemoteAddr(), l.bits6), heard: time.Now()}
	if old := l.add(c); old != nil {
		_ = old.Close() // its reader sees the error
	}
	return c, nil
}

// add registers c and returns the connection to close for it, or nil.
func (l *Listener) add(c *conn) *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	own := l.sources[c.source]
	network := l.within(Network(c.source))
	var old *conn
	switch {
	case l.perSource > 0 && len(own) >= l.perSource:
		old = longestSilent(own)
	case len(network) >= l.total/2:
		old = longestSilent(network)
	case l.open >= l.total:
		old = l.longestSilentOfMost()
	}
	if old != nil {
		l.remove(old)
	}
	if l.sources[c.source] == nil {
		l.sources[c.source] = map[*conn]struct{}{}
	}
	l.sources[c.source][c] = struct{}{}
	l.open++
	return old
}

// within returns the connections whose sources are parts of a network. The caller holds mu.
func (l *Listener) within(network netip.Prefix) map[*conn]struct{} {
	all := map[*conn]struct{}{}
	for source, list := range l.sources {
		if source.Bits() > network.Bits() && network.Contains(source.Addr()) {
			maps.Copy(all, list)
		}
	}
	return all
}

// longestSilentOfMost returns the longest silent connection among the sources that have the most.
func (l *Listener) longestSilentOfMost() *conn {
	most := 0
	for _, list := range l.sources {
		most = max(most, len(list))
	}
	var found *conn
	for _, list := range l.sources {
		if len(list) != most {
			continue
		}
		if c := longestSilent(list); found == nil || c.heard.Before(found.heard) {
			found = c
		}
	}
	return found
}

func longestSilent(list map[*conn]struct{}) *conn {
	var found *conn
	for c := range list {
		if found == nil || c.heard.Before(found.heard) {
			found = c
		}
	}
	return found
}

// remove forgets a connection; one that is forgotten already is no error. The caller holds mu.
func (l *Listener) remove(c *conn) {
	list := l.sources[c.source]
	if _, ok := list[c]; !ok {
		return
	}
	delete(list, c)
	l.open--
	if len(list) == 0 {
		delete(l.sources, c.source)
	}
}

// How many leading bits of an IPv6 address tell sources apart.
const (
	// OfInternet: one host on the Internet can use a whole /64.
	OfInternet = 64
	// OfMembers: members and clients of this box have single addresses of one prefix, which count
	// one by one, and as a Network together.
	OfMembers = 128
)

// SourceOf returns the source that a TCP or UDP address counts as: its IPv4 address, or the first
// bits6 bits of its IPv6 address. It returns the zero Prefix for other kinds of addresses.
func SourceOf(a net.Addr, bits6 int) netip.Prefix {
	addr := AddrOf(a)
	p, err := addr.Prefix(min(addr.BitLen(), bits6))
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// Network returns the network whose addresses one host may use all, if it likes: the /64 of an IPv6
// source. Any other source is its own network.
func Network(source netip.Prefix) netip.Prefix {
	if source.Addr().Is4() || source.Bits() <= OfInternet {
		return source
	}
	return netip.PrefixFrom(source.Addr(), OfInternet).Masked()
}

// conn remembers when its client last sent something.
type conn struct {
	net.Conn
	owner  *Listener
	source netip.Prefix
	heard  time.Time // guarded by owner.mu
}

// Read reads from the connection and records that its client is not silent.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.owner.mu.Lock()
		c.heard = time.Now()
		c.owner.mu.Unlock()
	}
	return n, err //nolint:wrapcheck // a net.Conn returns the errors of the one that it wraps
}

// NetConn returns the connection that the listener within accepted.
func (c *conn) NetConn() net.Conn { return c.Conn }

// Close closes the connection and makes room for another.
func (c *conn) Close() error {
	c.owner.mu.Lock()
	c.owner.remove(c)
	c.owner.mu.Unlock()
	return c.Conn.Close() //nolint:wrapcheck // likewise
}

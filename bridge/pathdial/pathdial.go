package pathdial

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"

	"ztbridge/bridge/sockopt"
)

// ErrNoResolver is returned for a name where the path has nobody who resolves it.
var ErrNoResolver = errors.New("names cannot be looked up by this path: it has no DNS server")

const dnsPort = 53

// Path is the way out by one interface and one IP version. It is a value.
type Path struct {
	IPv6  bool
	Iface string // interface that every packet leaves by
	Mark  uint32 // SO_MARK of every packet, which a policy rule leads to the egress's table
	// Resolvers resolve names, through the same path; one on loopback is this box's own, which
	// forwards through it. Only the first is asked.
	Resolvers []netip.AddrPort
	// HostResolvers has names resolved by this box's own resolvers (resolv.conf) where Resolvers is
	// empty. It is for paths by the box's own line, which those use themselves.
	HostResolvers bool
}

// Resolves reports whether names can be looked up.
func (p Path) Resolves() bool { return len(p.Resolvers) > 0 || p.HostResolvers }

// Dial connects by TCP to host:port, whose name it resolves through the same path.
func (p Path) Dial(ctx context.Context, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if _, err := netip.ParseAddr(host); err != nil && !p.Resolves() {
		return nil, ErrNoResolver
	}
	network := "tcp4"
	if p.IPv6 {
		network = "tcp6"
	}
	dialer := net.Dialer{Control: p.bind,
		Resolver: &net.Resolver{PreferGo: true, Dial: p.dialResolver}}
	return dialer.DialContext(ctx, network, address)
}

// dialResolver connects to a resolver: suggested is the host's own. One on this box sends its
// questions through the path by itself.
func (p Path) dialResolver(ctx context.Context, network, suggested string) (net.Conn, error) {
	at, err := netip.ParseAddrPort(suggested)
	if len(p.Resolvers) > 0 {
		at, err = p.Resolvers[0], nil
	}
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{}
	if !at.Addr().IsLoopback() {
		dialer.Control = p.bind
	}
	return dialer.DialContext(ctx, network, at.String())
}

// bind keeps a socket to the path: with another route, or none, nothing leaves by it.
func (p Path) bind(network, address string, c syscall.RawConn) error {
	return sockopt.Control(sockopt.Mark(p.Mark), sockopt.Device(p.Iface))(network, address, c)
}

// ResolverOf returns the address at which a resolver of an egress is asked.
func ResolverOf(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, dnsPort) }

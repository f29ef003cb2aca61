package connlimit

import (
	"net"
	"net/netip"
)

// Admit returns l without the connections for which admits reports false: they are closed before
// anything is said on them. The addresses have no zone, and are IPv4 where they are mapped.
func Admit(l net.Listener, admits func(local, remote netip.Addr) bool) net.Listener {
	return &admitter{l, admits}
}

type admitter struct {
	net.Listener
	admits func(local, remote netip.Addr) bool
}

// Accept returns the next connection that may be answered.
func (l *admitter) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err //nolint:wrapcheck // Listener.Accept adds what was tried
		}
		if l.admits(AddrOf(conn.LocalAddr()), AddrOf(conn.RemoteAddr())) {
			return conn, nil
		}
		_ = conn.Close()
	}
}

// AddrOf returns the address of a connection's end without its zone, IPv4 where it is mapped; the
// zero Addr where it has none.
func AddrOf(a net.Addr) netip.Addr {
	ip, ok := a.(interface{ AddrPort() netip.AddrPort })
	if !ok {
		return netip.Addr{}
	}
	return ip.AddrPort().Addr().Unmap().WithZone("")
}

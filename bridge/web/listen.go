package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"ztbridge/bridge/api"
	"ztbridge/bridge/connlimit"
	"ztbridge/bridge/sockopt"
)

// The limits of one listener.
const (
	maxConns       = 128
	maxConnsSource = 32
)

// place is an interface that the page is served on.
type place struct {
	iface string
	index int // an interface that is made again has another
	lan   bool
	// secure: TLS is spoken there.
	secure bool
}

// placesOf returns the interfaces where devices enter, and the LAN's if lan. None of them is an
// egress.
func placesOf(s api.Status, lan bool) []place {
	var out []place
	add := func(name string, isLAN bool) {
		iface, err := net.InterfaceByName(name)
		taken := slices.ContainsFunc(out, func(p place) bool { return p.iface == name })
		if err == nil && !taken {
			out = append(out, place{iface: name, index: iface.Index, lan: isLAN})
		}
	}
	for _, i := range s.Ingresses {
		add(i.Interface, false)
	}
	if lan && onLAN(s.WAN.Addresses) {
		add(s.WAN.Interface, true)
	}
	return out
}

// onLAN reports whether an uplink with these addresses is in somebody's own network: it has a
// private IPv4 address, and no public one. A public IPv6 address is what every LAN has.
func onLAN(addrs []netip.Addr) bool {
	private := false
	for _, a := range addrs {
		if a = a.Unmap(); !a.Is4() || a.IsLinkLocalUnicast() {
			continue
		}
		if !a.IsPrivate() {
			return false
		}
		private = true
	}
	return private
}

// listen opens the page's port on an interface. What comes by another one never gets there.
func listen(ctx context.Context, p place, port uint16) (net.Listener, error) {
	config := net.ListenConfig{Control: sockopt.Control(sockopt.Device(p.iface))}
	address := ":" + strconv.Itoa(int(port))
	l, err := config.Listen(ctx, "tcp", address)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		l, err = config.Listen(ctx, "tcp4", address)
	}
	if err != nil {
		return nil, fmt.Errorf("serving the page on %s: %w", p.iface, err)
	}
	return connlimit.New(connlimit.Admit(arrivals{l, p.iface}, p.admits), maxConns, maxConnsSource,
		connlimit.OfMembers), nil
}

// admits reports whether a connection from remote to local may be answered. What may be a source
// behind an ingress, the packet filter decides; on a LAN it is a neighbour with a private address.
func (p place) admits(local, remote netip.Addr) bool {
	prefixes := prefixesOf(p.iface)
	own := func(q netip.Prefix) bool { return q.Addr() == local }
	if !slices.ContainsFunc(prefixes, own) {
		return false
	}
	if !p.lan {
		return true
	}
	private := func(a netip.Addr) bool { return a.IsPrivate() || a.IsLinkLocalUnicast() }
	return private(local) && private(remote) && slices.ContainsFunc(prefixes,
		func(q netip.Prefix) bool { return q.Contains(remote) })
}

// prefixesOf returns the addresses of an interface with their networks, none if it does not exist.
func prefixesOf(name string) []netip.Prefix {
	iface, err := net.InterfaceByName(name)
	if err != nil {
		return nil
	}
	addrs, err := iface.Addrs()
	if err != nil {
		return nil
	}
	var out []netip.Prefix
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p)
		}
	}
	return out
}

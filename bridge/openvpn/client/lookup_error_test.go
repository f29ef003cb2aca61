package client

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
)

// What a person reads of a name that cannot be looked up names the DNS server's part in it.
func TestUnresolved(t *testing.T) {
	for name, tt := range map[string]struct {
		err           error
		cause, remedy string
	}{
		"no such name": {&net.DNSError{IsNotFound: true, Server: "192.0.2.53:53"},
			"the name vpn.example cannot be looked up: DNS server 192.0.2.53 says that there is no such name", remedyName},
		"no such name in /etc/hosts alone": {&net.DNSError{IsNotFound: true},
			"the name vpn.example cannot be looked up: there is no such name", remedyName},
		"a silent server": {&net.DNSError{IsTimeout: true, Err: "i/o timeout", Server: "[2001:db8::53]:53"},
			"the name vpn.example cannot be looked up: DNS server 2001:db8::53 does not answer", remedyDNS},
		"a stub that is dead": {&net.DNSError{Server: "127.0.0.53:53",
			Err: "read udp 127.0.0.1:5353->127.0.0.53:53: read: connection refused"},
			"the name vpn.example cannot be looked up: nothing on this box answers at 127.0.0.53, its DNS server in /etc/resolv.conf", remedyStub},
		"a stub that hangs": {&net.DNSError{IsTimeout: true, Server: "127.0.0.53:53"},
			"the name vpn.example cannot be looked up: 127.0.0.53 on this box does not answer", remedyStub},
		"a stub whose servers are dead": {&net.DNSError{Err: "server misbehaving", IsTemporary: true, Server: "127.0.0.53:53"},
			"the name vpn.example cannot be looked up: 127.0.0.53 on this box does not know it: the DNS servers that it asks in turn may not answer", remedyStubAsks},
		"a router without DNS": {&net.DNSError{Server: "192.168.1.1:53", Err: "read: connection refused"},
			"the name vpn.example cannot be looked up: nothing answers DNS at 192.168.1.1", remedyDNS},
		"a resolver behind the wrong version": {&net.DNSError{Server: "192.0.2.53:53", Err: "dial udp: connect: network is unreachable"},
			"the name vpn.example cannot be looked up: this box has no route to its DNS server 192.0.2.53", remedyDNS},
		"a filter of the box": {&net.DNSError{Server: "192.0.2.53:53", Err: "write: operation not permitted"},
			"the name vpn.example cannot be looked up: this box itself drops its questions to DNS server 192.0.2.53", "see what drops them: nft list ruleset; conntrack -S"},
		"an error of the server": {&net.DNSError{Server: "192.0.2.53:53", Err: "server misbehaving"},
			"the name vpn.example cannot be looked up: DNS server 192.0.2.53 answers with an error", remedyDNS},
		"no usable address": {errNoAddress,
			"the name vpn.example cannot be looked up: it has no usable address", remedyDNS},
		"something else": {errors.New("no memory"),
			"the name vpn.example cannot be looked up: no memory", remedyDNS},
	} {
		f := unresolved(errors.Join(explainLookup("name", "vpn.example", tt.err)))
		if f.state != StateDNSFailed || f.cause != tt.cause || f.remedy != tt.remedy {
			t.Errorf("%s: %s\n\t%q\n\t%q", name, f.state, f.cause, f.remedy)
		}
	}
	several := unresolved(errors.Join(explainLookup("name", "a.example", errNoAddress),
		explainLookup("name", "b.example", errNoAddress)))
	if want := "the name a.example cannot be looked up: it has no usable address (nor can b.example)"; several.cause != want {
		t.Errorf("several names: %q, want %q", several.cause, want)
	}
}

// A network that carries one IP version alone is no reason to look for firewalls.
func TestNoRouteToOneVersion(t *testing.T) {
	four, six := netip.MustParseAddr("203.0.113.2"), netip.MustParseAddr("2001:db8::2")
	only := func(is4 bool) func(netip.AddrPort) bool {
		return func(a netip.AddrPort) bool { return a.Addr().Is4() == is4 }
	}
	never := func(netip.AddrPort) bool { return false }
	at := func(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, 1194) }
	for name, tt := range map[string]struct {
		server netip.Addr
		routes func(netip.AddrPort) bool
		cause  string
	}{
		"IPv6 alone": {four, only(false),
			"this box's connection carries IPv6 alone, and the server's address (203.0.113.2) needs IPv4"},
		"IPv4 alone": {six, only(true),
			"this box's connection carries IPv4 alone, and the server's address (2001:db8::2) needs IPv6"},
		"nothing":       {four, never, causeNoRoute},
		"turned back":   {four, only(true), causeTurnedBack},
		"not looked up": {netip.Addr{}, only(true), causeNoRoute},
	} {
		if f := explainNoRoute(at(tt.server), tt.routes); f.cause != tt.cause || f.remedy == "" {
			t.Errorf("%s: %q", name, f.cause)
		}
	}
	all := []netip.Addr{four, six}
	if got := routedFirst(all, only(false)); !slices.Equal(got, []netip.Addr{six, four}) {
		t.Errorf("with IPv6 alone, %v is the order", got)
	}
	if got := routedFirst(all, never); !slices.Equal(got, all) {
		t.Errorf("without a route, %v is the order", got)
	}
}

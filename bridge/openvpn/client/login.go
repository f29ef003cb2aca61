package client

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"time"
)

const (
	// loginTimeout is how long a server may take to accept a login. openvpn gives up after its
	// hand-window of 60 s, or the time that the server asked for, and reports that.
	loginTimeout = 65 * time.Second
	// loginMargin is what we wait longer than openvpn, so that it is openvpn that gives up.
	loginMargin = 5 * time.Second
)

// pendingLine is what openvpn logs when the server asks for time until somebody has approved.
// Openvpn bounds what it asks for.
var pendingLine = regexp.MustCompile(
	`^AUTH_PENDING received, extending handshake timeout from \d+s to (\d{1,5})s`)

// parsePending reads such a line.
func parsePending(text string) (pendingEvent, bool) {
	m := pendingLine.FindStringSubmatch(text)
	if m == nil {
		return pendingEvent{}, false
	}
	seconds, err := strconv.Atoi(m[1])
	return pendingEvent{time.Duration(seconds) * time.Second}, err == nil
}

// awaitLogin gives the server time to accept a login, and says what is waited for.
func (r *run) awaitLogin(limit time.Duration, cause, remedy string) {
	if r.phase != trying {
		return
	}
	r.loggingIn = true
	r.timer.Reset(limit)
	r.t.change(func(s *Status) { s.Cause, s.Remedy = cause, remedy })
}

// fellSilent is the failure of a handshake in which the server says no more.
var fellSilent = failure{state: StateTLSFailed,
	cause:  "the server answered and fell silent during the TLS handshake",
	remedy: remedySilence}

// otherVersion is an address of the Internet of each IP version, by the bits of the other one.
var otherVersion = map[int]netip.AddrPort{
	32:  netip.MustParseAddrPort("[2606:4700:4700::1111]:53"),
	128: netip.MustParseAddrPort("1.1.1.1:53"),
}

// explainNoRoute says why a packet to a server could not leave. hasRoute reports whether this box
// has a route to an address.
func explainNoRoute(server netip.AddrPort, hasRoute func(netip.AddrPort) bool) failure {
	f := failure{state: StateBackoff, cause: causeNoRoute, remedy: remedyNetwork}
	addr := server.Addr().Unmap()
	switch {
	case !addr.IsValid():
	case hasRoute(server):
		f.cause = causeTurnedBack
	case hasRoute(otherVersion[addr.BitLen()]):
		has, lacks := "IPv6", "IPv4"
		if addr.Is6() {
			has, lacks = lacks, has
		}
		f.cause = fmt.Sprintf("this box's connection carries %s alone, and the server's address "+
			"(%s) needs %s", has, addr, lacks)
		f.remedy = fmt.Sprintf("connect this box to a network with %s, or use a server that has "+
			"an %s address", lacks, has)
	}
	return f
}

// routedFirst returns addresses, those that this box has no route to last: where a network carries
// one IP version alone, no time is lost with the other.
func routedFirst(addrs []netip.Addr, hasRoute func(netip.AddrPort) bool) []netip.Addr {
	var routed, others []netip.Addr
	for _, a := range addrs {
		if hasRoute(netip.AddrPortFrom(a, 1)) {
			routed = append(routed, a)
		} else {
			others = append(others, a)
		}
	}
	return append(routed, others...)
}

// hasRoute reports whether this box itself has a route to a server. Nothing is sent.
func hasRoute(server netip.AddrPort) bool {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(server))
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// attemptTimeout returns how long an attempt may rest in its present state.
func (r *run) attemptTimeout() time.Duration {
	if (r.t.servers.inFastRound() || r.target.measure) && !r.serverReplied {
		return fastTimeout
	}
	return stallTimeout
}

// reasonOf explains why openvpn begins again, by the detail that it gives.
func (r *run) reasonOf(detail string) failure {
	f, known := restartReasons[detail]
	if !known {
		f = failure{state: StateBackoff, cause: "openvpn reconnects: " + detail}
	}
	handshake := r.phase == trying && r.serverReplied && !r.loggingIn
	switch {
	case handshake && detail == "connection-reset":
		f = failure{state: StateTLSFailed,
			cause: "the server answered and broke off the TLS handshake", remedy: remedySilence}
	case handshake && detail == reasonSilence:
		f = fellSilent
	}
	if r.target.proxy.IsValid() && !r.serverReplied && silent[detail] {
		f = failure{state: StateBackoff, cause: "nothing comes back by the proxy",
			remedy: remedyProxy}
	}
	return f
}

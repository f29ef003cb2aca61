package client

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

const (
	remedyName = "check the name in the profile, or get a new profile from the provider"
	remedyDNS  = "check this box's connection, and its DNS server in /etc/resolv.conf"
	// remedyStub is for systemd-resolved and its like: the address is this box's own.
	remedyStub = "restart the program that answers there (systemctl restart systemd-resolved), " +
		"or name another DNS server in /etc/resolv.conf"
	remedyStubAsks = "see which DNS servers it asks in turn: resolvectl status; or name another " +
		"one in /etc/resolv.conf"
)

// lookupError is a name that could not be looked up, with the part that DNS servers had in it.
type lookupError struct {
	host   string
	what   string // "name", or "name of the proxy"
	cause  error
	reason string // for people
	remedy string
}

func (e *lookupError) Error() string {
	return fmt.Sprintf("the %s %s cannot be looked up: %s", e.what, e.host, e.reason)
}

func (e *lookupError) Unwrap() error { return e.cause }

// explainLookup says why a name could not be looked up, and what to do about it.
func explainLookup(what, host string, cause error) error {
	e := &lookupError{host: host, what: what, cause: cause, reason: cause.Error(),
		remedy: remedyDNS}
	dns, isDNS := errors.AsType[*net.DNSError](cause)
	if !isDNS || dns.Server == "" && !dns.IsNotFound {
		return e
	}
	server, own := dns.Server, false
	if at, err := netip.ParseAddrPort(dns.Server); err == nil {
		server, own = at.Addr().String(), at.Addr().IsLoopback()
	}
	switch { // of what a socket refused, net.DNSError keeps the text alone
	case dns.IsNotFound && server == "":
		e.reason, e.remedy = "there is no such name", remedyName
	case dns.IsNotFound:
		e.reason, e.remedy = fmt.Sprintf("DNS server %s says that there is no such name", server),
			remedyName
	case strings.HasSuffix(dns.Err, "connection refused") && own:
		e.reason, e.remedy = fmt.Sprintf("nothing on this box answers at %s, its DNS server in "+
			"/etc/resolv.conf", server), remedyStub
	case strings.HasSuffix(dns.Err, "connection refused"):
		e.reason = fmt.Sprintf("nothing answers DNS at %s", server)
	case strings.HasSuffix(dns.Err, "unreachable"):
		e.reason = fmt.Sprintf("this box has no route to its DNS server %s", server)
	case strings.HasSuffix(dns.Err, "operation not permitted"):
		e.reason = fmt.Sprintf("this box itself drops its questions to DNS server %s", server)
		e.remedy = "see what drops them: nft list ruleset; conntrack -S"
	case dns.IsTimeout && own:
		e.reason, e.remedy = fmt.Sprintf("%s on this box does not answer", server), remedyStub
	case dns.IsTimeout:
		e.reason = fmt.Sprintf("DNS server %s does not answer", server)
	case own:
		e.reason = fmt.Sprintf("%s on this box does not know it: the DNS servers that it asks in "+
			"turn may not answer", server)
		e.remedy = remedyStubAsks
	default:
		e.reason = fmt.Sprintf("DNS server %s answers with an error", server)
	}
	return e
}

// namesTold is how many names that cannot be looked up are told one by one.
const namesTold = 3

// unresolved explains that no server's name could be looked up. The first one stands for all.
func unresolved(err error) failure {
	f := failure{state: StateDNSFailed, cause: err.Error(), remedy: remedyDNS}
	var others []string
	if all, several := err.(interface{ Unwrap() []error }); several {
		for i, err := range all.Unwrap() {
			e, known := errors.AsType[*lookupError](err)
			switch {
			case !known:
			case i == 0:
				f.cause, f.remedy = e.Error(), e.remedy
			default:
				others = append(others, e.host)
			}
		}
	}
	if more := len(others) - namesTold; more > 0 {
		others = append(others[:namesTold], fmt.Sprintf("%d more", more))
	}
	if len(others) > 0 {
		f.cause += fmt.Sprintf(" (nor can %s)", strings.Join(others, ", "))
	}
	return f
}

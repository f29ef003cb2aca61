package pathcheck

import (
	"net/netip"

	"github.com/miekg/dns"
)

const (
	// knownName is a name that every resolver can look up, whose address has been the same since
	// 1995 (https://www.internic.net/domain/named.root).
	knownName = "a.root-servers.net."
	// noName is a name that nobody can have (RFC 6761, section 6.4).
	noName = "ztbridge-check.invalid."
)

var knownAddr = netip.MustParseAddr("198.41.0.4")

// Query returns the question that resolvers are tested with, or the one that tells a resolver that
// answers every name alike from one that merely has another address for the first.
func Query(second bool) *dns.Msg {
	name := knownName
	if second {
		name = noName
	}
	return new(dns.Msg).SetQuestion(name, dns.TypeA)
}

// WrongAddress returns the address that an answer gives, if that is not the one it should be; the
// zero Addr if the answer is right, or has none.
func WrongAddress(m *dns.Msg) netip.Addr {
	first := netip.Addr{}
	for _, rr := range m.Answer {
		a, ok := rr.(*dns.A)
		if !ok {
			continue
		}
		addr, _ := netip.AddrFromSlice(a.A.To4())
		if addr == knownAddr {
			return netip.Addr{}
		}
		if !first.IsValid() {
			first = addr
		}
	}
	return first
}

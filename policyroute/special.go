package policyroute

import (
	"net/netip"
	"slices"
)

// These prefixes are not part of the Internet: IANA's special-purpose registries call them not
// globally reachable. Sources: https://www.iana.org/assignments/iana-ipv4-special-registry,
// https://www.iana.org/assignments/iana-ipv6-special-registry. Prefixes that the registries leave
// undecided count as Internet (6to4's 192.88.99.0/24 and 2002::/16, Teredo).
var (
	special4 = prefixes("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8",
		"169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16", "240.0.0.0/4")
	// ::/80 holds ::, ::1 and ::ffff:0:0/96, which netlink takes for an IPv4 prefix; it is
	// reserved.
	special6 = prefixes("::/80", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64",
		"2001::/23", "5f00::/16", "fc00::/7", "fe80::/10",
		"fec0::/10") // site-local, deprecated by RFC 3879 and never global
	relay6a44 = netip.MustParsePrefix("192.88.99.2/32")
	// multicast4 is routed nowhere as it is, but could be where IPv6 carries it.
	multicast4 = prefixes("224.0.0.0/4")

	// reachable are assignments within these that are reachable, and Teredo's.
	reachable = prefixes("192.0.0.9/32", "192.0.0.10/32", "2001::/32", "2001:1::1/128",
		"2001:1::2/128", "2001:1::3/128", "2001:3::/32", "2001:4:112::/48", "2001:20::/28",
		"2001:30::/28")

	// examples are for documentation and benchmarks.
	examples = prefixes("192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
		"2001:db8::/32", "3fff::/20")
)

// NotInternet returns the destinations that are not part of the Internet, and exceptions inside
// them that are. own are the host's addresses on its uplink: if one is for documentation or
// benchmarks, the host is in a lab whose Internet has such addresses.
func NotInternet(own []netip.Addr) (closed, open []netip.Prefix) {
	closed = slices.Concat(special4, special6, embedded(special4), embedded(multicast4),
		[]netip.Prefix{relay6a44}, embedded([]netip.Prefix{relay6a44}))
	lab := slices.ContainsFunc(own, func(a netip.Addr) bool {
		return slices.ContainsFunc(examples, func(p netip.Prefix) bool { return p.Contains(a) })
	})
	if !lab {
		closed = slices.Concat(closed, examples, embedded(examples))
	}
	slices.SortFunc(closed, netip.Prefix.Compare)
	return closed, slices.Clone(reachable)
}

// embedded returns the IPv6 prefixes in which translators and relays carry those IPv4 destinations.
// They are NAT64's well-known prefix, in which RFC 6052 forbids addresses that are not global, and
// 6to4.
func embedded(special []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range special {
		if !p.Addr().Is4() {
			continue
		}
		a := p.Addr().As4()
		nat64 := [16]byte{0, 0x64, 0xff, 0x9b, 12: a[0], 13: a[1], 14: a[2], 15: a[3]}
		sixToFour := [16]byte{0x20, 0x02, a[0], a[1], a[2], a[3]}
		out = append(out, netip.PrefixFrom(netip.AddrFrom16(nat64), 96+p.Bits()),
			netip.PrefixFrom(netip.AddrFrom16(sixToFour), 16+p.Bits()))
	}
	return out
}

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, s := range texts {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

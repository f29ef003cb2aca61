package zerotier

import (
	"net/netip"
	"slices"
)

// notGlobal lists prefixes that zerotier-one takes for private although netip does not. They are
// reserved, or assigned but not routed on the Internet. Everything else outside of RFC 1918 and
// fc00::/7 it installs only with allowGlobal.
var notGlobal = prefixes(
	"6.0.0.0/8", "11.0.0.0/8", "21.0.0.0/8", "22.0.0.0/8", "25.0.0.0/8", "26.0.0.0/8", "28.0.0.0/8",
	"29.0.0.0/8", "30.0.0.0/8", "51.0.0.0/8", "55.0.0.0/8", "56.0.0.0/8",
	"100.64.0.0/10", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
	"240.0.0.0/4",
)

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, s := range texts {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// installable reports whether the service sets a managed address or route of this prefix on a
// member without allowDefault. global is the member's allowGlobal.
func installable(p netip.Prefix, global bool) bool {
	a := p.Addr()
	if p.Bits() == 0 || a.IsUnspecified() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return false
	}
	return global && a.IsGlobalUnicast() || a.IsPrivate() ||
		slices.ContainsFunc(notGlobal, func(n netip.Prefix) bool { return n.Contains(a) })
}

// memberPrefixes returns the subnets in which members of a network live. They are those of the
// box's addresses and of on-link managed routes, if installable.
func memberPrefixes(addrs []netip.Prefix, routes []Route, global bool) []netip.Prefix {
	var out []netip.Prefix
	for _, a := range addrs {
		if installable(a, global) {
			out = append(out, a.Masked())
		}
	}
	for _, r := range routes {
		if !r.Via.IsValid() && installable(r.Target, global) {
			out = append(out, r.Target.Masked())
		}
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Compact(out)
}

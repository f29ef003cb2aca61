package zerotier

import "net/netip"

// Derived returns the member that an IPv6 address belongs to, if the address follows from the
// member's own (RFC4193, SixPlane). It returns false for any other address.
func Derived(n NetworkID, a netip.Addr) (Address, bool) {
	if !a.Is6() {
		return 0, false
	}
	b := a.As16()
	node := func(at int) (out Address) {
		for _, x := range b[at : at+5] {
			out = out<<8 | Address(x)
		}
		return out
	}
	if m := node(11); RFC4193(n, m).Addr() == a {
		return m, true
	}
	m := node(5)
	return m, SixPlaneMember(n, m).Contains(a)
}

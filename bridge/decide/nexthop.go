package decide

import (
	"net/netip"
	"slices"

	"ztbridge/bridge/config"
	"ztbridge/policyroute/kernel"
)

// CheckNextHop returns why the address of a peer cannot be a next hop. It is an address of this
// box, or a broadcast address. It returns "" for any other address.
func CheckNextHop(e config.Egress, w HostState) string {
	if e.Peer == nil {
		return ""
	}
	for _, via := range []netip.Addr{e.Peer.Via4, e.Peer.Via6} {
		if !via.IsValid() {
			continue
		}
		if l, own := w.Owner(via); own {
			return "via " + via.String() + " is this box itself, on " + l.Name
		}
		if slices.ContainsFunc(w.Links,
			func(l kernel.Link) bool { return slices.ContainsFunc(l.Addrs, broadcast(via)) }) {
			return "via " + via.String() + " is every machine of its network at once"
		}
	}
	return ""
}

// broadcast reports whether an address is the broadcast address of its IPv4 prefix. A prefix of two
// addresses has none (RFC 3021).
func broadcast(a netip.Addr) func(netip.Prefix) bool {
	return func(p netip.Prefix) bool {
		return a.Is4() && p.Addr().Is4() && p.Bits() < 31 && p.Contains(a) && !p.Contains(a.Next())
	}
}

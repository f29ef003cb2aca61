package status

import (
	"fmt"
	"net/netip"
	"slices"

	"ztbridge/bridge/config"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/prefixcheck"
	"ztbridge/policyroute"
)

// prefixTrouble returns why members' own IPv6 addresses on a WAN egress cannot work, and the
// remedy; nothing if they can, or it is unknown.
func prefixTrouble(e config.Egress, s decide.Snapshot,
	intent policyroute.Intent) (message, remedy string) {
	if e.WAN == nil || e.WAN.IPv6.Mode != config.IPv6Prefix {
		return "", ""
	}
	prefix := e.WAN.IPv6.Prefix
	up := decide.UplinkOf(e.WAN, s.Host)
	iface := up.Iface
	if iface == "" {
		return "", ""
	}
	if !up.Has6 {
		return fmt.Sprintf("%s has no IPv6 default route: devices' IPv6 is blocked", iface),
			"check that the provider gives this box IPv6, or write `ipv6: off`"
	}
	link, _ := s.Host.Link(iface)
	onLink := false
	for _, a := range link.Addrs {
		if prefix.Contains(a.Addr()) {
			return fmt.Sprintf(
					"%s holds the address of %s, %s: a prefix for devices must hold no other hosts",
					prefix, iface, a.Addr()),
				"give devices a part of it: a /80"
		}
		onLink = onLink || decide.Covers(a, prefix)
	}
	if prefix.Contains(up.Gateway6) {
		return fmt.Sprintf("%s holds the provider's router, %s", prefix, up.Gateway6),
			"give devices a part of it: a /80"
	}
	if onLink && !e.WAN.IPv6.NDP {
		return fmt.Sprintf(
				"%s lies on the link of %s, where the provider's router asks for each address, "+
					"and nobody answers it", prefix, iface),
			"write `ndp: true`"
	}
	if !numbersMembers(prefix, intent) {
		return "no device can have an address of " + prefix.String(),
			"give devices addresses of it: at the network's controller (a managed route for it " +
				"and an assignment pool), or on their interface"
	}
	if s.Prefixes[e.Name] == prefixcheck.Lost {
		return fmt.Sprintf(
				"answers to addresses of %s do not come back, those to this box's own do: the "+
					"provider does not send the prefix here", prefix),
			"compare it with what the provider assigned, or have it routed to this box; until " +
				"then: `ipv6: nat66`"
	}
	return "", ""
}

// numbersMembers reports whether a prefix overlaps the prefixes behind some ingress.
func numbersMembers(prefix netip.Prefix, intent policyroute.Intent) bool {
	return slices.ContainsFunc(intent.Ingresses, func(g policyroute.Ingress) bool {
		return slices.ContainsFunc(g.Prefixes, prefix.Overlaps)
	})
}

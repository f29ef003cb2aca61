package doctor

import "fmt"

// KeepIPv6 returns the commands, for a shell, that keep the IPv6 of a Linux member from leaving by
// the member's own line while the box does not answer. iface is the member's interface in the
// network.
//
// A Linux host that does not forward looks past a route whose gateway does not answer neighbour
// discovery, down to its own default route (RT6_LOOKUP_F_REACHABLE), and tries the gateway again
// after router_probe_interval, 60 s. The unreachable routes lie in between; ZeroTier's own packets
// pass them by, since its sockets are bound to an interface. IPv4 does nothing of the kind.
func KeepIPv6(iface string) []string {
	return []string{
		"ip -6 route replace unreachable ::/1 metric 5001",
		"ip -6 route replace unreachable 8000::/1 metric 5001",
		fmt.Sprintf("sysctl -w net.ipv6.conf.%s.router_probe_interval=1", iface),
	}
}

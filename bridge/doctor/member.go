package doctor

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
)

// Members returns what to do on the members of the networks so that they leave by this box, for
// people. What is not known without a running daemon is left to be filled in.
func Members(networks []Network) string {
	var b strings.Builder
	for i, n := range networks {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(memberPage(n))
	}
	return b.String()
}

func memberPage(n Network) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	via4, via6 := first(n.Addresses, netip.Addr.Is4, "ADDRESS-OF-THIS-BOX"),
		first(n.Addresses, netip.Addr.Is6, "")
	iface := cmp.Or(n.Iface, "ztXXXXXXXX")

	line("Network %s (%s)", n.Name, n.ID)
	line("")
	line("1. At the network's controller, once: add the managed routes")
	line("     0.0.0.0/0 via %s", via4)
	if via6 != "" {
		line("     ::/0 via %s", via6)
	} else {
		line("   and for IPv6 ::/0 via this box's IPv6 address there, once it has one; until")
		line("   then members' IPv6 leaves by their own Internet connection.")
	}
	line("")
	line("2. On each device that should use this box, allow the default route:")
	line("     Linux           zerotier-cli set %s allowDefault=1", n.ID)
	line("     macOS, Windows  tick Allow Default Route Override in the network's entry of the")
	line("                     ZeroTier menu (older versions: Allow Default)")
	line("     Android, iOS    in the network's settings: the switch for the default route")
	line("                     (older Android: Route Via ZeroTier), before connecting")
	line("     FreeBSD         not possible: its routing lets ZeroTier's own packets run")
	line("                     into the route; put it behind another member instead")
	if public(n.Addresses) {
		line("   This box has a public address in the network. Members reach it only with")
		line("     zerotier-cli set %s allowGlobal=1", n.ID)
		line("   (macOS, Windows: tick Allow Assignment of Global IPs)")
	}
	line("")
	line("3. On Linux members")
	line("     sysctl -w net.ipv4.conf.all.rp_filter=2")
	line("   (in /etc/sysctl.d, to keep it): if it is 1, ZeroTier's own answers are dropped.")
	line("   IPv6 falls back to the member's own connection when this box does not answer; IPv4")
	line("   does not. To keep it from that, after each boot:")
	for _, command := range KeepIPv6(iface) {
		line("     %s", command)
	}
	line("   When ZeroTier ends on a member, its routes go with it, and the member's traffic")
	line("   leaves by its own connection: this box cannot prevent that.")
	line("")
	line("4. Check on the member which address the Internet sees: it must be the exit's.")
	line("     curl -4 https://ifconfig.co")
	line("     curl -6 https://ifconfig.co    (an error is fine where the exit has no IPv6)")
	line("   On this box, `ztbridge status --of ADDRESS-OF-THE-MEMBER` tells which, and why.")
	return b.String()
}

func first(addrs []netip.Addr, is func(netip.Addr) bool, otherwise string) string {
	for _, a := range addrs {
		if is(a) {
			return a.String()
		}
	}
	return otherwise
}

// public reports whether one of the addresses is global, so that members refuse its route by
// default.
func public(addrs []netip.Addr) bool {
	for _, a := range addrs {
		if a.IsGlobalUnicast() && !a.IsPrivate() {
			return true
		}
	}
	return false
}

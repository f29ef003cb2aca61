package netlab

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
)

// Loss drops a share of the packets, in percent, that enter and leave the host by an interface. Put
// it on a router: packets that are dropped on their way out of the sender's own host return an
// error to the sender. It replaces an earlier fault of the interface.
func (n *Namespace) Loss(iface string, percent int) error {
	return n.fault(iface, fmt.Sprintf("numgen random mod 100 < %d drop", percent))
}

// Blackhole drops everything that enters or leaves the host by an interface, silently.
func (n *Namespace) Blackhole(iface string) error {
	return n.fault(iface, "drop")
}

// BlockUDP drops all UDP but DNS that passes an interface, as networks of hotels do.
func (n *Namespace) BlockUDP(iface string) error {
	return n.fault(iface, "meta l4proto udp udp dport != 53 udp sport != 53 drop")
}

// BlackholeAddr drops everything that comes for one of the host's addresses, silently.
func (n *Namespace) BlackholeAddr(addr netip.Addr) error { return n.faultAddr(addr, "drop") }

// RefuseAddr refuses all UDP and TCP for one of the host's addresses, as when no program listens
// there any more.
func (n *Namespace) RefuseAddr(addr netip.Addr) error {
	return n.faultAddr(addr, "meta l4proto { tcp, udp } reject with icmp type port-unreachable")
}

// HealAddr ends BlackholeAddr and RefuseAddr.
func (n *Namespace) HealAddr(addr netip.Addr) error {
	return n.Nft(fmt.Sprintf("add table ip %[1]s\ndelete table ip %[1]s\n",
		faultTable(addr.String())))
}

func (n *Namespace) faultAddr(addr netip.Addr, rule string) error {
	return n.Nft(fmt.Sprintf(`add table ip %[1]s
delete table ip %[1]s
table ip %[1]s {
	chain in { type filter hook input priority -350; ip daddr %[2]s %[3]s; }
}
`, faultTable(addr.String()), addr, rule))
}

// Heal takes the fault of an interface away. No fault is no error.
func (n *Namespace) Heal(iface string) error {
	table := faultTable(iface)
	return n.Nft(fmt.Sprintf("add table inet %[1]s\ndelete table inet %[1]s\n", table))
}

func (n *Namespace) fault(iface, rule string) error {
	return n.Nft(fmt.Sprintf(`add table inet %[1]s
delete table inet %[1]s
table inet %[1]s {
	chain in { type filter hook prerouting priority -350; iifname %[2]q %[3]s; }
	chain out { type filter hook postrouting priority 350; oifname %[2]q %[3]s; }
}
`, faultTable(iface), iface, rule))
}

func faultTable(iface string) string {
	return "fault_" + strings.NewReplacer(".", "_", "-", "_").Replace(iface)
}

// RateLimit limits what leaves by an interface, for example to "20mbit", with a queue of at most 50
// ms. An empty rate takes the limit away.
func (n *Namespace) RateLimit(ctx context.Context, iface, rate string) error {
	args := []string{"qdisc", "replace", "dev", iface, "root", "tbf", "rate", rate, "burst", "64kb",
		"latency", "50ms"}
	if rate == "" {
		args = []string{"qdisc", "del", "dev", iface, "root"}
	}
	_, err := n.Run(ctx, "tc", args...)
	return err
}

// Masquerade translates the sources of all that leaves by an interface into the host's address on
// it.
func (n *Namespace) Masquerade(iface string) error {
	return n.Nft(fmt.Sprintf(`table inet lab_nat {
	chain post { type nat hook postrouting priority 100; oifname %q masquerade; }
}
`, iface))
}

// Forwarding makes the host a router for both families.
func (n *Namespace) Forwarding() error {
	return n.Sysctl("net/ipv4/ip_forward=1", "net/ipv6/conf/all/forwarding=1")
}

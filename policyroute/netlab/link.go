package netlab

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"time"
)

// Iface is one end of a link, as its host sees it.
type Iface struct {
	Name   string
	Addrs  []netip.Prefix
	Routes []Route
	MTU    int // bytes; 0 means 1500
}

// Route is a route of a host; the zero Via means on link.
type Route struct {
	Dst netip.Prefix
	Via netip.Addr
}

// DefaultVia returns default routes through the given next hops.
func DefaultVia(hops ...netip.Addr) []Route {
	var routes []Route
	for _, hop := range hops {
		dst := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if hop.Is6() {
			dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		routes = append(routes, Route{Dst: dst, Via: hop})
	}
	return routes
}

type end struct {
	ns     *Namespace
	iface  Iface
	bridge string // the bridge that it is a port of; empty: a host's own interface
}

// Link is a veth pair. Its hardware addresses derive from the names, so that a link that was
// deleted and made again is the same neighbour, as a ZeroTier interface is.
type Link struct {
	a, b end
}

// linkTimeout bounds how long the kernel may take until a new link carries packets.
const linkTimeout = 10 * time.Second

// Connect joins two hosts by a link with addresses and routes set, and waits until both ends carry
// packets.
func Connect(a *Namespace, ifaceA Iface, b *Namespace, ifaceB Iface) (*Link, error) {
	l := &Link{a: end{ns: a, iface: ifaceA}, b: end{ns: b, iface: ifaceB}}
	if err := l.Recreate(); err != nil {
		return l, err
	}
	for _, e := range []end{l.a, l.b} {
		if err := e.awaitRunning(); err != nil {
			return l, err
		}
	}
	return l, nil
}

// awaitRunning waits until the kernel has made the queue of an end whose other one has come up.
// Until then it drops what is sent: net/core/link_watch.c.
func (e end) awaitRunning() error {
	for deadline := time.Now().Add(linkTimeout); ; time.Sleep(2 * time.Millisecond) {
		var flags net.Flags
		if err := e.ns.Do(func() error {
			dev, err := net.InterfaceByName(e.iface.Name)
			if err == nil {
				flags = dev.Flags
			}
			return err
		}); err != nil {
			return fmt.Errorf("looking at %s of %s: %w", e.iface.Name, e.ns.Label, err)
		}
		if flags&net.FlagRunning != 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("link %s of %s does not come up", e.iface.Name, e.ns.Label)
		}
	}
}

// Delete removes both ends, as when a cable's card is pulled out or a tunnel's program dies.
func (l *Link) Delete() error {
	return l.a.ns.IP("link del " + l.a.iface.Name)
}

// Recreate makes the link again, with new interface indices, and sets addresses and routes again.
// It must not exist.
func (l *Link) Recreate() error {
	err := l.a.ns.IP(
		fmt.Sprintf("link add %s address %s type veth peer name %s address %s netns %s",
			l.a.iface.Name, l.a.mac(), l.b.iface.Name, l.b.mac(), l.b.ns.Name))
	if err != nil {
		return err
	}
	for _, e := range []end{l.a, l.b} {
		if err := e.ns.IP(e.commands()...); err != nil {
			return err
		}
	}
	return nil
}

// mac returns a locally administered hardware address that is always the same for this end.
func (e end) mac() string {
	sum := sha256.Sum256([]byte(e.ns.Label + "/" + e.iface.Name))
	return fmt.Sprintf("02:%02x:%02x:%02x:%02x:%02x", sum[0], sum[1], sum[2], sum[3], sum[4])
}

func (e end) commands() []string {
	dev := e.iface.Name
	var cmds []string
	if e.iface.MTU != 0 {
		cmds = append(cmds, fmt.Sprintf("link set %s mtu %d", dev, e.iface.MTU))
	}
	if e.bridge != "" {
		cmds = append(cmds, fmt.Sprintf("link set %s master %s", dev, e.bridge))
	}
	cmds = append(cmds, addAddrs(dev, e.iface.Addrs)...)
	cmds = append(cmds, fmt.Sprintf("link set %s up", dev))
	for _, r := range e.iface.Routes {
		cmd := fmt.Sprintf("route add %s dev %s", r.Dst, dev)
		if r.Via.IsValid() {
			cmd = fmt.Sprintf("route add %s via %s dev %s", r.Dst, r.Via, dev)
		}
		cmds = append(cmds, cmd)
	}
	return cmds
}

// addAddrs returns the commands that add addresses. The first of each family is the one the host
// sends from by itself: so it is with IPv4, and with IPv6 if the others are deprecated.
func addAddrs(dev string, addrs []netip.Prefix) []string {
	var cmds []string
	seen6 := false
	for _, a := range addrs {
		cmd := fmt.Sprintf("addr add %s dev %s", a, dev)
		if a.Addr().Is6() {
			cmd += " nodad"
			if seen6 {
				cmd += " preferred_lft 0"
			}
			seen6 = true
		}
		cmds = append(cmds, cmd)
	}
	return cmds
}

// Segment is an Ethernet that connects several hosts. It is a bridge inside a namespace, with an
// address if the namespace is a host of the segment as well.
type Segment struct {
	NS     *Namespace
	Bridge string
}

// NewSegment makes a bridge in ns with the given addresses.
func NewSegment(ns *Namespace, bridge string, addrs ...netip.Prefix) (*Segment, error) {
	cmds := []string{
		// Snooping without a querier would lose neighbour solicitations.
		fmt.Sprintf("link add %s type bridge mcast_snooping 0 stp_state 0", bridge),
	}
	cmds = append(cmds, addAddrs(bridge, addrs)...)
	// A bridge without an address of its own takes that of a port, and another one with each new
	// port. Hosts on it would be cut off until their neighbours notice.
	cmds = append(cmds, fmt.Sprintf("link set %s address %s up", bridge,
		end{ns: ns, iface: Iface{Name: bridge}}.mac()))
	return &Segment{NS: ns, Bridge: bridge}, errors.Join(ns.IP(cmds...), ns.plainBridges())
}

// plainBridges keeps the firewall's hooks off frames that only pass a bridge, as they are off in a
// switch. Where the kernel's module for them is not loaded, they are.
func (n *Namespace) plainBridges() error {
	for _, family := range []string{"iptables", "ip6tables", "arptables"} {
		if err := n.Sysctl("net/bridge/bridge-nf-call-" + family + "=0"); err != nil &&
			!errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Attach plugs a host into the segment.
func (s *Segment) Attach(ns *Namespace, iface Iface) (*Link, error) {
	port := Iface{Name: s.Port(ns, iface.Name), MTU: iface.MTU}
	l := &Link{a: end{ns: ns, iface: iface}, b: end{ns: s.NS, iface: port, bridge: s.Bridge}}
	return l, l.Recreate()
}

// Port returns the name of the segment's end of a host's link. What a host sends is best captured
// there: the host cannot disturb it.
func (s *Segment) Port(ns *Namespace, iface string) string {
	return fmt.Sprintf("%.*s.%s", 14-len(iface), ns.Label, iface)
}

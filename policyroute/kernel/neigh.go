package kernel

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Neighbour is an entry of the kernel's neighbour table (ip-neighbour(8)).
type Neighbour struct {
	Addr netip.Addr
	MAC  net.HardwareAddr
}

// lasting are the states in which an entry has a hardware address that was answered.
const lasting = unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE |
	unix.NUD_PERMANENT

// Neighbours returns who is known behind an interface, link-local addresses excepted; none if there
// is no such interface.
func (k *Kernel) Neighbours(iface string) ([]Neighbour, error) {
	link, err := k.linkByName(iface)
	if err != nil || link == nil {
		return nil, err
	}
	list, err := k.rtnl.NeighList(link.Attrs().Index, unix.AF_UNSPEC)
	if err != nil {
		return nil, fmt.Errorf("listing neighbours behind %s: %w", iface, err)
	}
	var out []Neighbour
	for _, n := range list {
		if known, ok := neighbourOf(n); ok {
			out = append(out, known)
		}
	}
	return out, nil
}

// FixedNeighbour returns the hardware address that a person, or a program, has fixed for a
// neighbour; nil if there is none.
func (k *Kernel) FixedNeighbour(iface string, a netip.Addr) net.HardwareAddr {
	link, err := k.linkByName(iface)
	if err != nil || link == nil {
		return nil
	}
	list, err := k.rtnl.NeighList(link.Attrs().Index, netlink.FAMILY_ALL)
	if err != nil {
		return nil
	}
	for _, n := range list {
		if toAddr(n.IP) == a.WithZone("") && n.State&unix.NUD_PERMANENT != 0 {
			return n.HardwareAddr
		}
	}
	return nil
}

// neighbourOf returns an entry that says who is behind a link; false for another.
func neighbourOf(n netlink.Neigh) (Neighbour, bool) {
	a := toAddr(n.IP)
	return Neighbour{a, n.HardwareAddr}, a.IsValid() && !a.IsLinkLocalUnicast() &&
		!a.IsMulticast() && n.State&lasting != 0 && len(n.HardwareAddr) == 6
}

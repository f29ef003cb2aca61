package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
)

// World is what the kernel says about the host beside us.
type World struct {
	Links    []Link         // sorted by name
	Defaults []DefaultRoute // of table main, by family and then by metric
	// IPv6 says that the kernel has it.
	IPv6 bool
	// ForceForwarding6 says that single interfaces can forward IPv6 (Linux 6.17).
	ForceForwarding6 bool
	// AcceptRA are the interfaces that take routes from router advertisements as long as they do
	// not forward (accept_ra is 1, or was before we made it 2), sorted.
	AcceptRA []string
}

// Link is a network interface.
type Link struct {
	Name      string
	Index     int
	Up        bool   // administratively
	OperState string // RFC 2863: "up", "down", "unknown" (TUN devices), …
	MTU       int    // bytes
	// PointToPoint says that whatever is sent there has one receiver, and so needs no gateway.
	PointToPoint bool
	Bridge       bool // it switches frames between its ports
	// NoIPv6 says that IPv6 is switched off there (disable_ipv6): it takes no such address, route
	// or packet.
	NoIPv6 bool
	Addrs  []netip.Prefix
	// Counters since the interface exists; in and out are the box's.
	BytesIn, BytesOut, PacketsIn, PacketsOut uint64
}

// DefaultRoute is a default route of table main.
type DefaultRoute struct {
	Family  policyroute.Family
	Iface   string
	Gateway netip.Addr // invalid when the destination is on the link
	Metric  int
}

// World returns what is true at this moment. It returns ErrDumpInterrupted when the kernel kept
// changing.
func (k *Kernel) World() (World, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for range observeAttempts {
		w, err := k.world()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return w, err
		}
	}
	return World{}, ErrDumpInterrupted
}

func (k *Kernel) world() (World, error) {
	w := World{IPv6: exists("net/ipv6"),
		ForceForwarding6: exists("net/ipv6/conf/all/force_forwarding")}
	links, err := k.rtnl.LinkList()
	if err != nil {
		return w, fmt.Errorf("listing links: %w", err)
	}
	addrs, err := k.listAddrs()
	if err != nil {
		return w, err
	}
	names := map[int]string{}
	for _, l := range links {
		a := l.Attrs()
		names[a.Index] = a.Name
		found := toLink(l, addrs[a.Name])
		off, err := readSysctl("net/ipv6/conf/" + a.Name + "/disable_ipv6")
		found.NoIPv6 = err != nil || off != "0"
		w.Links = append(w.Links, found)
		key := "net/ipv6/conf/" + a.Name + "/accept_ra"
		if value, err := readSysctl(key); err == nil && k.record.originalOf(key, value) == "1" &&
			a.Flags&net.FlagLoopback == 0 {
			w.AcceptRA = append(w.AcceptRA, a.Name)
		}
	}
	slices.SortFunc(w.Links, func(a, b Link) int { return strings.Compare(a.Name, b.Name) })
	slices.Sort(w.AcceptRA)
	for _, f := range policyroute.Families {
		routes, err := k.defaultRoutes(f, names)
		if err != nil {
			return w, err
		}
		w.Defaults = append(w.Defaults, routes...)
	}
	return w, nil
}

func toLink(link netlink.Link, addrs []netip.Prefix) Link {
	a := link.Attrs()
	l := Link{
		Name: a.Name, Index: a.Index, Up: a.Flags&net.FlagUp != 0, OperState: a.OperState.String(),
		MTU: a.MTU, Addrs: addrs,
		Bridge: link.Type() == "bridge",
		PointToPoint: a.RawFlags&(unix.IFF_POINTOPOINT|unix.IFF_NOARP) != 0 &&
			a.Flags&net.FlagLoopback == 0,
	}
	if s := a.Statistics; s != nil {
		l.BytesIn, l.BytesOut, l.PacketsIn, l.PacketsOut = s.RxBytes, s.TxBytes, s.RxPackets,
			s.TxPackets
	}
	return l
}

func (k *Kernel) defaultRoutes(f policyroute.Family, names map[int]string) ([]DefaultRoute, error) {
	filter := &netlink.Route{Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST}
	routes, err := k.strict.RouteListFiltered(int(afOf(f)), filter,
		netlink.RT_FILTER_TABLE|netlink.RT_FILTER_TYPE)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil // the kernel makes the table with its first route
	}
	if err = withoutIPv6(f, err); err != nil {
		return nil, fmt.Errorf("listing %s routes: %w", f, err)
	}
	var out []DefaultRoute
	for _, r := range routes {
		if bits, _ := r.Dst.Mask.Size(); bits != 0 || !r.Dst.IP.IsUnspecified() {
			continue
		}
		hops := []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw, Via: r.Via}}
		if len(r.MultiPath) > 0 {
			hops = r.MultiPath
		}
		for _, h := range hops {
			gateway, _ := netip.AddrFromSlice(h.Gw)
			out = append(out, DefaultRoute{Family: f, Iface: names[h.LinkIndex], Gateway: gateway,
				Metric: r.Priority})
		}
	}
	slices.SortStableFunc(out, func(a, b DefaultRoute) int {
		return cmp.Compare(a.Metric, b.Metric)
	})
	return out, nil
}

func exists(key string) bool {
	_, err := os.Stat(sysctlRoot + key)
	return err == nil
}

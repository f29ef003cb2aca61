package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
)

// HostState is the state of the host that is not ours.
type HostState struct {
	Links    []Link         // sorted by name
	Defaults []DefaultRoute // of table main, by family and then by metric
	// IPv6 reports whether the kernel has it.
	IPv6 bool
	// ConntrackMax is how many connections the host follows at most (nf_conntrack_max). It is 0 if
	// that is unknown or the kernel cannot count connections by source.
	ConntrackMax int
	// ConntrackFull is how many connections the host follows at most, if it follows so many that
	// packets of new ones were dropped in the last half minute; else 0.
	ConntrackFull int
	// Neighbours are how many neighbours the host keeps at most without us, of all its links
	// (gc_thresh3); none of an IP version for which that is another namespace's.
	Neighbours map[policyroute.Family]int
	// ForceForwarding6 reports whether single interfaces can forward IPv6 (Linux 6.17).
	ForceForwarding6 bool
	// AcceptRA are the interfaces that take routes from router advertisements while they do not
	// forward, sorted. Their accept_ra is 1, or was before we made it 2.
	AcceptRA []string
	// Services are the ports at which programs of the host are asked, sorted, if they are wanted.
	// Of UDP they are those that were open for some seconds.
	Services []policyroute.Listener
	// Reached are the destinations of main's routes by the named links, except the default.
	Reached map[string][]netip.Prefix
}

// Link is a network interface.
type Link struct {
	Name  string
	Index int
	Up    bool // administratively
	MTU   int  // bytes
	// PointToPoint reports whether packets there have a single receiver, and so need no gateway.
	PointToPoint bool
	// NoARP reports whether an Ethernet does not ask for its neighbours, and answers none that ask.
	NoARP  bool
	Bridge bool // it switches frames between its ports
	// NoIPv6 reports whether IPv6 is switched off there (disable_ipv6): no such address, route or
	// packet is possible.
	NoIPv6 bool
	// Forwards4 and Forwards6 report whether the host, without us, forwards what enters there.
	Forwards4, Forwards6 bool
	Addrs                []netip.Prefix
	// Learned are the addresses that a router or a DHCP server assigned for a limited time.
	Learned []netip.Prefix
	// Taken are the IPv6 addresses that Linux does not use, since another machine answered for them
	// when they were assigned (RFC 4862, section 5.4.5).
	Taken  []netip.Prefix
	Master string // the bridge, bond or VRF that it is a port of
	Parent string // the link that it is a VLAN, macvlan or the like of
	// Former is the name it had as an ingress, if it was renamed. The kernel does not tell: who
	// observes fills it in.
	Former string
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

// stacked are the types of link whose packets pass another link, unless that is in another
// namespace. A veth's other link is its peer.
var stacked = map[string]bool{"vlan": true, "macvlan": true, "macvtap": true, "ipvlan": true,
	"ipvtap": true, "macsec": true}

// Configured returns the addresses that a person or a program gave the link permanently.
func (l Link) Configured() []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(l.Addrs),
		func(p netip.Prefix) bool { return slices.Contains(l.Learned, p) })
}

// Wanted is what costs time to find out, and is not needed by all.
type Wanted struct {
	Links    []string // those by which it is wanted to know what main leads to
	Services bool
}

// HostState returns the state at this moment, and what is wanted beside it. It returns
// ErrDumpInterrupted if the kernel kept changing.
func (k *Kernel) HostState(also Wanted) (HostState, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for range observeAttempts {
		w, err := k.host(also)
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return w, err
		}
	}
	return HostState{}, ErrDumpInterrupted
}

func (k *Kernel) host(also Wanted) (HostState, error) {
	w := HostState{IPv6: exists("net/ipv6"), Reached: map[string][]netip.Prefix{},
		ConntrackMax: k.conntrackMax(), ConntrackFull: k.conntrackFull(),
		Neighbours:       k.neighbourLimits(),
		ForceForwarding6: exists("net/ipv6/conf/all/force_forwarding")}
	if also.Services {
		w.Services = k.services(time.Now())
	}
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
		names[l.Attrs().Index] = l.Attrs().Name
	}
	for _, l := range links {
		a := l.Attrs()
		found := toLink(l, withFlag(addrs[a.Name], 0, false))
		found.Learned = withFlag(addrs[a.Name], unix.IFA_F_PERMANENT, false)
		found.Taken = withFlag(addrs[a.Name], unix.IFA_F_DADFAILED, true)
		off, err := readSysctl("net/ipv6/conf/" + a.Name + "/disable_ipv6")
		found.NoIPv6 = err != nil || off != "0"
		found.Forwards4 = k.record.forwards("net/ipv4/conf/", "forwarding", a.Name)
		found.Forwards6 = k.record.forwards("net/ipv6/conf/", "force_forwarding", a.Name)
		w.Links = append(w.Links, found)
		if slices.Contains(also.Links, a.Name) {
			reached, err := k.reachedBy(a.Index)
			if err != nil {
				return w, err
			}
			w.Reached[a.Name] = reached
		}
		key := "net/ipv6/conf/" + a.Name + "/accept_ra"
		if value, err := readSysctl(key); err == nil && k.record.originalOf(key, value) == "1" &&
			a.Flags&net.FlagLoopback == 0 {
			w.AcceptRA = append(w.AcceptRA, a.Name)
		}
	}
	for i := range w.Links {
		l := links[i].Attrs()
		w.Links[i].Master = names[l.MasterIndex]
		if l.NetNsID < 0 && stacked[links[i].Type()] {
			w.Links[i].Parent = names[l.ParentIndex]
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
		Name: a.Name, Index: a.Index, Up: a.Flags&net.FlagUp != 0, MTU: a.MTU, Addrs: addrs,
		Bridge: link.Type() == "bridge",
		PointToPoint: a.RawFlags&(unix.IFF_POINTOPOINT|unix.IFF_NOARP) != 0 &&
			a.Flags&net.FlagLoopback == 0,
		NoARP: a.RawFlags&unix.IFF_NOARP != 0 && a.EncapType == "ether",
	}
	if s := a.Statistics; s != nil {
		l.BytesIn, l.BytesOut, l.PacketsIn, l.PacketsOut = s.RxBytes, s.TxBytes, s.RxPackets,
			s.TxPackets
	}
	return l
}

// reachedBy returns the destinations of main's routes by a link, except the default.
func (k *Kernel) reachedBy(index int) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, f := range policyroute.Families {
		filter := &netlink.Route{Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST,
			LinkIndex: index}
		routes, err := k.strict.RouteListFiltered(int(afOf(f)), filter,
			netlink.RT_FILTER_TABLE|netlink.RT_FILTER_TYPE|netlink.RT_FILTER_OIF)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err = withoutIPv6(f, err); err != nil {
			return nil, fmt.Errorf("listing %s routes: %w", f, err)
		}
		for _, r := range routes {
			if p := fromIPNet(r.Dst); p.Bits() > 0 && !p.Addr().IsLinkLocalUnicast() &&
				!p.Addr().IsMulticast() && !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return out, nil
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
		hops := []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw}}
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

func (k *Kernel) neighbourLimits() map[policyroute.Family]int {
	out := map[policyroute.Family]int{}
	for _, f := range policyroute.Families {
		key := policyroute.NeighbourKey(f)
		if present, err := readSysctl(key); err == nil {
			if n, err := strconv.Atoi(k.record.originalOf(key, present)); err == nil {
				out[f] = n
			}
		}
	}
	return out
}

func exists(key string) bool {
	_, err := os.Stat(sysctlRoot + key)
	return err == nil
}

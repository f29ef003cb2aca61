package kernel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
)

// listLinks returns the names of all links by index, and the state of our TUN devices.
func (k *Kernel) listLinks() (map[int]string, []policyroute.Link, error) {
	all, err := k.rtnl.LinkList()
	if err != nil {
		return nil, nil, fmt.Errorf("listing links: %w", err)
	}
	names := make(map[int]string, len(all))
	var ours []policyroute.Link
	for _, l := range all {
		a := l.Attrs()
		names[a.Index] = a.Name
		if strings.HasPrefix(a.Name, policyroute.TunPrefix) {
			ours = append(ours, policyroute.Link{
				Name: a.Name, Up: a.Flags&net.FlagUp != 0, MTU: a.MTU,
			})
		}
	}
	if len(ours) == 0 {
		return names, nil, nil
	}
	addrs, err := k.listAddrs()
	if err != nil {
		return nil, nil, err
	}
	for i := range ours {
		// The kernel's own link-local address is not ours to remove.
		all := withFlag(addrs[ours[i].Name], 0, false)
		ours[i].Addrs = slices.DeleteFunc(all, func(p netip.Prefix) bool {
			return p.Addr().Is6() && p.Addr().IsLinkLocalUnicast()
		})
	}
	slices.SortFunc(ours, func(a, b policyroute.Link) int {
		return strings.Compare(a.Name, b.Name)
	})
	return names, ours, nil
}

// listAddrs returns the addresses of all links by name, sorted.
func (k *Kernel) listAddrs() (map[string][]netlink.Addr, error) {
	links, err := k.rtnl.LinkList()
	if err != nil {
		return nil, fmt.Errorf("listing links: %w", err)
	}
	names := make(map[int]string, len(links))
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	addrs, err := k.rtnl.AddrList(nil, unix.AF_UNSPEC)
	if err != nil {
		return nil, fmt.Errorf("listing addresses: %w", err)
	}
	out := map[string][]netlink.Addr{}
	for _, a := range addrs {
		name := names[a.LinkIndex]
		out[name] = append(out[name], a)
	}
	for _, list := range out {
		slices.SortFunc(list, func(a, b netlink.Addr) int {
			return fromIPNet(a.IPNet).Compare(fromIPNet(b.IPNet))
		})
	}
	return out, nil
}

// withFlag returns those of the addresses that have the flag, or have it not.
func withFlag(addrs []netlink.Addr, flag int, has bool) (out []netip.Prefix) {
	for _, a := range addrs {
		if (a.Flags&flag != 0) == has {
			out = append(out, fromIPNet(a.IPNet))
		}
	}
	return out
}

// linkByName returns nil when there is no such link.
func (k *Kernel) linkByName(name string) (netlink.Link, error) {
	link, err := k.rtnl.LinkByName(name)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		return nil, nil
	}
	return link, err
}

func (k *Kernel) setLink(o policyroute.SetLink) error {
	link, err := k.linkByName(o.Name)
	if link == nil || err != nil {
		return err
	}
	if o.MTU > 0 {
		err = errors.Join(err, k.rtnl.LinkSetMTU(link, o.MTU))
	}
	if o.Up {
		err = errors.Join(err, k.rtnl.LinkSetUp(link))
	}
	return ignoreGone(err)
}

func (k *Kernel) addAddr(o policyroute.AddAddr) error {
	link, err := k.linkByName(o.Dev)
	if link == nil || err != nil {
		return err
	}
	addr := &netlink.Addr{IPNet: toIPNet(o.Addr), Flags: unix.IFA_F_NOPREFIXROUTE}
	if o.Addr.Addr().Is6() {
		addr.Flags |= unix.IFA_F_NODAD // nobody else is on the link
	} else {
		addr.Broadcast = net.IPv4zero // none
	}
	err = k.rtnl.AddrAdd(link, addr)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return ignoreGone(err)
}

func (k *Kernel) delAddr(o policyroute.DelAddr) error {
	link, err := k.linkByName(o.Dev)
	if link == nil || err != nil {
		return err
	}
	err = k.rtnl.AddrDel(link, &netlink.Addr{IPNet: toIPNet(o.Addr), Broadcast: net.IPv4zero})
	if errors.Is(err, unix.EADDRNOTAVAIL) {
		return nil
	}
	return ignoreGone(err)
}

// ignoreGone drops the error of a link that vanished between looking it up and using it.
func ignoreGone(err error) error {
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

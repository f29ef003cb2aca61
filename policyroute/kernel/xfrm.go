package kernel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
)

// ipsecBlocks returns other programs' IPsec policies (ip-xfrm(8)) that throw away what devices send
// to any of dsts, or the replies. It leaves out those for some protocols, marks or interfaces.
func (k *Kernel) ipsecBlocks(f policyroute.Family, sources []Source,
	dsts []netip.Addr) ([]Diversion, error) {
	list, err := k.rtnl.XfrmPolicyList(int(afOf(f)))
	switch {
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EOPNOTSUPP),
		errors.Is(err, unix.EAFNOSUPPORT):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("listing IPsec policies: %w", err)
	}
	var out []Diversion
	for _, p := range list {
		if p.Action != netlink.XFRM_POLICY_BLOCK || p.Proto != 0 || p.Mark != nil || p.Ifid != 0 ||
			p.Dir != netlink.XFRM_DIR_FWD && p.Dir != netlink.XFRM_DIR_OUT {
			continue
		}
		src, dst := selected(p.Src, f), selected(p.Dst, f)
		for _, s := range sources {
			if device, hit := meets(s, src, dst, dsts); hit {
				rule := fmt.Sprintf("src %s dst %s %s", src, dst, p.Dir)
				out = append(out, Diversion{Iface: s.Iface, Src: device,
					Rule: "xfrm policy " + rule, Remove: "ip xfrm policy delete " + rule})
				break
			}
		}
	}
	return out, nil
}

// selected returns the addresses of one side of a selector; nil stands for all.
func selected(n *net.IPNet, f policyroute.Family) netip.Prefix {
	if n == nil {
		return f.Default()
	}
	return fromIPNet(n)
}

// meets returns a device of the source whose packets to any of dsts, or the replies to those, a
// selector matches.
func meets(s Source, src, dst netip.Prefix, dsts []netip.Addr) (netip.Addr, bool) {
	for _, p := range s.Prefixes {
		for _, ends := range [][2]netip.Prefix{{src, dst}, {dst, src}} {
			if device := inside(p); ends[0].Contains(device) &&
				slices.ContainsFunc(dsts, ends[1].Contains) {
				return device, true
			}
			if p.Contains(ends[0].Addr()) && ends[0].Bits() >= p.Bits() &&
				slices.ContainsFunc(dsts, ends[1].Contains) {
				return inside(ends[0]), true
			}
		}
	}
	return netip.Addr{}, false
}

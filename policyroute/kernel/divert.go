package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
)

// Source is where packets of clients come from.
type Source struct {
	Iface    string
	Prefixes []netip.Prefix
}

// Diversion is a routing rule of another program that diverts clients' packets.
type Diversion struct {
	Iface string
	Rule  string // as ip(8) prints it: "100: from 10.0.0.0/8 lookup 200"
	// Remove is the command that removes the rule.
	Remove string
}

// foreignRule is a routing rule that is not ours.
type foreignRule struct {
	policyroute.Rule
	kind  uint8 // FR_ACT_…
	marks bool  // whether it matches marked packets only
}

// Diversions returns the foreign rules that decide about packets to dst from any of the sources. It
// asks the kernel to route such a packet, so that a rule whose table has no route counts as
// harmless. It skips sources whose interface does not exist.
func (k *Kernel) Diversions(sources []Source, dst netip.Addr) ([]Diversion, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := policyroute.FamilyOf(dst)
	rules, err := k.foreignRules(f)
	if err != nil {
		return nil, err
	}
	var out []Diversion
	for _, r := range rules {
		for _, s := range sources {
			src, ok := r.sourceIn(s, dst)
			if !ok {
				continue
			}
			takes, err := k.takes(r, s.Iface, src, dst)
			if err != nil {
				return nil, err
			}
			if takes {
				out = append(out, Diversion{Iface: s.Iface, Rule: r.String(),
					Remove: r.remove()})
				break
			}
		}
	}
	return out, nil
}

// foreignRules returns the rules of other programs that come before our last one.
func (k *Kernel) foreignRules(f policyroute.Family) ([]foreignRule, error) {
	req := k.request(unix.RTM_GETRULE, unix.NLM_F_DUMP)
	req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: afOf(f)}})
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWRULE)
	switch {
	case errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EOPNOTSUPP):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("listing %s rules: %w", f, err)
	}
	var out []foreignRule
	for _, m := range msgs {
		r, ours := parseRule(m)
		local := r.Table == unix.RT_TABLE_LOCAL
		if !ours && !local && r.Priority < policyroute.RuleDeny {
			out = append(out, foreignRule{Rule: r, kind: nl.DeserializeRtMsg(m).Type,
				marks: r.Mark != 0})
		}
	}
	return out, nil
}

// sourceIn returns an address of the source that the rule can match.
func (r foreignRule) sourceIn(s Source, dst netip.Addr) (netip.Addr, bool) {
	if r.marks || r.IIF != "" && r.IIF != s.Iface || r.To.IsValid() && !r.To.Contains(dst) {
		return netip.Addr{}, false
	}
	for _, p := range s.Prefixes {
		switch {
		case p.Addr().Is4() != dst.Is4():
		case r.From.IsValid() && p.Contains(r.From.Addr()):
			return inside(r.From), true
		case !r.From.IsValid() || r.From.Contains(p.Addr()):
			return inside(p), true
		}
	}
	return netip.Addr{}, false
}

// inside returns an address of a prefix other than the network address. It looks like a host's, but
// is rarely the box's own, which is often the first.
func inside(p netip.Prefix) netip.Addr {
	if p.IsSingleIP() {
		return p.Addr()
	}
	a := p.Masked().Addr().AsSlice()
	a[len(a)-1] |= 0xfd & (1<<min(8, p.Addr().BitLen()-p.Bits()) - 1)
	out, _ := netip.AddrFromSlice(a)
	return out
}

// takes reports whether the rule decides about a packet.
func (k *Kernel) takes(r foreignRule, iface string, src, dst netip.Addr) (bool, error) {
	routes, err := k.rtnl.RouteGetWithOptions(dst.AsSlice(), &netlink.RouteGetOptions{
		Iif: iface, SrcAddr: src.AsSlice(), FIBMatch: true})
	refusals := map[uint8]unix.Errno{unix.FR_ACT_UNREACHABLE: unix.ENETUNREACH,
		unix.FR_ACT_BLACKHOLE: unix.EINVAL, unix.FR_ACT_PROHIBIT: unix.EACCES}
	var refused unix.Errno
	var missing netlink.LinkNotFoundError
	switch {
	case errors.As(err, &missing):
		return false, nil
	case errors.As(err, &refused):
		return refused == refusals[r.kind] && r.kind != unix.FR_ACT_UNREACHABLE ||
			r.kind == unix.FR_ACT_UNREACHABLE && (refused == unix.ENETUNREACH ||
				refused == unix.EHOSTUNREACH), nil
	case err != nil:
		return false, fmt.Errorf("looking up the route of %s by %s: %w", src, iface, err)
	}
	return r.kind == unix.FR_ACT_TO_TBL && slices.ContainsFunc(routes,
		func(found netlink.Route) bool { return found.Table == r.Table }), nil
}

// selector prints the rule without its number, as ip(8) reads it.
func (r foreignRule) selector() string {
	words := []string{"from all"}
	if r.From.IsValid() {
		words[0] = "from " + r.From.String()
	}
	if r.To.IsValid() {
		words = append(words, "to "+r.To.String())
	}
	if r.IIF != "" {
		words = append(words, "iif "+r.IIF)
	}
	action := map[uint8]string{unix.FR_ACT_TO_TBL: fmt.Sprint("lookup ", r.Table),
		unix.FR_ACT_UNREACHABLE: "unreachable", unix.FR_ACT_BLACKHOLE: "blackhole",
		unix.FR_ACT_PROHIBIT: "prohibit"}[r.kind]
	return strings.TrimSpace(strings.Join(append(words, action), " "))
}

func (r foreignRule) String() string { return fmt.Sprintf("%d: %s", r.Priority, r.selector()) }

func (r foreignRule) remove() string {
	program := "ip"
	if r.Family == policyroute.V6 {
		program = "ip -6"
	}
	return fmt.Sprintf("%s rule del pref %d %s", program, r.Priority, r.selector())
}

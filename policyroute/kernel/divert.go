package kernel

import (
	"encoding/binary"
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

// Diversion is a routing rule, or a route, of another program that diverts clients' packets.
type Diversion struct {
	Iface string
	Src   netip.Addr // a device whose packets, or answers, it takes
	Rule  string     // as ip(8) prints it: "100: from 10.0.0.0/8 lookup 200"
	// Some reports whether it takes those of some ports, protocols or destinations only.
	Some bool
	// Elsewhere reports whether a route leads somewhere; others throw packets away.
	Elsewhere bool
	// Remove is the command that removes it.
	Remove string
}

// foreignRule is a routing rule that is not ours.
type foreignRule struct {
	policyroute.Rule
	kind        uint8 // FR_ACT_…
	invert      bool  // it takes what does not match
	mask        uint32
	sport, last uint16 // the last ports of its ranges
}

// flow is a packet that the kernel is asked to route.
type flow struct {
	device   netip.Addr // that sends it, or gets it
	iif      string
	to       string // the interface that a reply has to leave by; "" for a packet of the device
	src, dst netip.Addr
	mark     uint32
	proto    string // "tcp" or "udp"
	sport    uint16
	dport    uint16
}

// Diversions returns the foreign rules that decide about packets from any of the sources to any of
// dsts, or about the replies, which come by egress. It asks the kernel to route such packets, so
// that a rule whose table has no route counts as harmless. It also returns routes that throw away
// what goes to the sources or lead it elsewhere, and IPsec policies that throw it away, or what
// comes from there. It skips sources whose interface does not exist.
func (k *Kernel) Diversions(sources []Source, egress string,
	dsts []netip.Addr) ([]Diversion, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []Diversion
	for _, f := range policyroute.Families {
		rules, err := k.foreignRules(f)
		if err != nil {
			return nil, err
		}
		marks, err := k.marks(rules, sources, f, egress)
		if err != nil {
			return nil, err
		}
		for _, r := range rules {
			for _, s := range sources {
				found, src, err := k.diverts(r, r.flows(s, egress, dsts, marks))
				if err != nil {
					return nil, err
				}
				if found {
					out = append(out, Diversion{Iface: s.Iface, Src: src, Rule: r.String(),
						Remove: r.remove(), Some: r.Proto != "" || r.SrcPort+r.DstPort > 0 ||
							r.To.IsValid() && !r.To.Contains(src)})
					break
				}
			}
		}
		routes, err := k.wrongRoutes(f, sources, egress, dsts)
		if err != nil {
			return nil, err
		}
		blocks, err := k.ipsecBlocks(f, sources, dsts)
		if err != nil {
			return nil, err
		}
		out = append(append(out, routes...), blocks...)
	}
	return out, nil
}

// diverts reports whether a rule decides about any of the packets, and whose.
func (k *Kernel) diverts(r foreignRule, flows []flow) (bool, netip.Addr, error) {
	for _, q := range flows {
		takes, err := k.takes(r, q)
		if err != nil || takes {
			return takes, q.device, err
		}
	}
	return false, netip.Addr{}, nil
}

// marks returns the marks that other programs' filters give to packets of the sources, and to
// replies, by interface. It looks only if a rule asks for them.
func (k *Kernel) marks(rules []foreignRule, sources []Source,
	f policyroute.Family, egress string) (map[string]uint32, error) {
	out := map[string]uint32{}
	if !slices.ContainsFunc(rules, func(r foreignRule) bool { return r.Mark|r.mask != 0 }) {
		return out, nil
	}
	filters, err := k.foreignFilters()
	if err != nil {
		return nil, err
	}
	defer filters.conn.CloseLasting()
	for _, s := range sources {
		for _, device := range s.representatives(f) {
			for _, p := range packetsOf(s, f, device, egress) {
				mark, err := filters.markAt(p)
				if err != nil {
					return nil, err
				}
				if len(mark) == 4 && !p.reply {
					out[p.iif] = binary.NativeEndian.Uint32(mark)
				}
			}
		}
	}
	return out, nil
}

// foreignRules returns the rules of other programs that come before our last one.
func (k *Kernel) foreignRules(f policyroute.Family) ([]foreignRule, error) {
	msgs, err := k.dumpRules(f)
	if err != nil {
		return nil, err
	}
	var out []foreignRule
	for _, m := range msgs {
		r, ours := parseRule(m)
		local := r.Table == unix.RT_TABLE_LOCAL
		if !ours && !local && r.Priority < policyroute.RuleDeny {
			out = append(out, moreOf(m, r))
		}
	}
	return out, nil
}

// moreOf reads of a rule what ours never have.
func moreOf(m []byte, known policyroute.Rule) foreignRule {
	msg := nl.DeserializeRtMsg(m)
	r := foreignRule{Rule: known, kind: msg.Type, invert: msg.Flags&unix.FIB_RULE_INVERT != 0,
		sport: known.SrcPort, last: known.DstPort}
	for rest := m[msg.Len():]; len(rest) >= unix.SizeofRtAttr; {
		kind, v, next, ok := nextAttr(rest)
		if !ok {
			break
		}
		switch {
		case kind == unix.FRA_FWMASK && len(v) == 4:
			r.mask = binary.NativeEndian.Uint32(v)
		case kind == unix.FRA_SPORT_RANGE && len(v) == 4:
			r.sport = binary.NativeEndian.Uint16(v[2:])
		case kind == unix.FRA_DPORT_RANGE && len(v) == 4:
			r.last = binary.NativeEndian.Uint16(v[2:])
		}
		rest = next
	}
	return r
}

// flows returns packets of a source, and replies, that the rule can match.
func (r foreignRule) flows(s Source, egress string, dsts []netip.Addr,
	marks map[string]uint32) (out []flow) {
	add := func(iif, to string, src, dst, device netip.Addr) {
		out = append(out, flow{device: device, iif: iif, to: to, src: src, dst: dst,
			mark: marks[iif], proto: r.Proto, sport: r.SrcPort, dport: r.DstPort})
	}
	for _, dst := range dsts {
		if policyroute.FamilyOf(dst) != r.Family {
			continue
		}
		if r.IIF == "" || r.IIF == s.Iface || r.invert {
			for _, src := range s.those(r.From, r.Family, r.invert) {
				add(s.Iface, "", src, dst, src)
			}
		}
		if egress != "" && (r.IIF == "" || r.IIF == egress || r.invert) {
			for _, device := range s.those(r.To, r.Family, r.invert) {
				add(egress, s.Iface, dst, device, device)
			}
		}
	}
	return out
}

// those returns addresses of devices that a selector of a rule may match.
func (s Source) those(selected netip.Prefix, f policyroute.Family, invert bool) (out []netip.Addr) {
	for _, p := range s.Prefixes {
		switch {
		case policyroute.FamilyOf(p.Addr()) != f:
		case !selected.IsValid(), selected.Contains(p.Addr()), invert:
			out = append(out, inside(p))
		case p.Contains(selected.Addr()):
			out = append(out, inside(selected))
		}
	}
	return out
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

// matches reports whether a rule's addresses and mark, those that it names, are a packet's. What it
// finds in a table, a rule further on may find there as well.
func (r foreignRule) matches(q flow) bool {
	return r.invert || q.mark&r.mask == r.Mark && (!r.From.IsValid() || r.From.Contains(q.src)) &&
		(!r.To.IsValid() || r.To.Contains(q.dst))
}

// takes reports whether the rule decides about a packet, and takes it elsewhere. Replies leave by
// the right interface whatever rule finds the route of the devices' own network.
func (k *Kernel) takes(r foreignRule, q flow) (bool, error) {
	if !r.matches(q) {
		return false, nil
	}
	table, oif, err := k.routeOf(q)
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
		return false, fmt.Errorf("looking up the route of %s by %s: %w", q.src, q.iif, err)
	case q.to != "" && oif == q.to:
		return false, nil
	case r.kind == unix.FR_ACT_GOTO: // past our rules
		return r.Target > policyroute.RuleDeny &&
			(table < policyroute.TableFirst || table > policyroute.TableLast), nil
	}
	return r.kind == unix.FR_ACT_TO_TBL && table == r.Table, nil
}

// routeOf returns the table whose route the kernel would give to a forwarded packet, and the
// interface that it would leave by; "" if it would not leave.
func (k *Kernel) routeOf(q flow) (table int, oif string, err error) {
	link, err := k.rtnl.LinkByName(q.iif)
	if err != nil {
		return 0, "", err
	}
	bits := uint8(q.dst.BitLen())
	req := k.request(unix.RTM_GETROUTE, 0)
	req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: afOf(policyroute.FamilyOf(q.dst)),
		Dst_len: bits, Src_len: bits,
		Flags: unix.RTM_F_FIB_MATCH | unix.RTM_F_LOOKUP_TABLE}})
	add := func(attr int, v []byte) { req.AddData(nl.NewRtAttr(attr, v)) }
	add(unix.RTA_DST, q.dst.AsSlice())
	add(unix.RTA_SRC, q.src.AsSlice())
	add(unix.RTA_IIF, nl.Uint32Attr(uint32(link.Attrs().Index)))
	if q.mark != 0 {
		add(unix.RTA_MARK, nl.Uint32Attr(q.mark))
	}
	if number, ok := l4Protos[q.proto]; ok {
		add(unix.RTA_IP_PROTO, []byte{number})
	}
	for attr, port := range map[int]uint16{unix.RTA_SPORT: q.sport, unix.RTA_DPORT: q.dport} {
		if port != 0 {
			add(attr, binary.BigEndian.AppendUint16(nil, port))
		}
	}
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE)
	if err != nil || len(msgs) == 0 {
		return 0, "", err
	}
	msg := nl.DeserializeRtMsg(msgs[0])
	table = int(msg.Table)
	for rest := msgs[0][msg.Len():]; len(rest) >= unix.SizeofRtAttr; {
		kind, v, next, ok := nextAttr(rest)
		if !ok {
			break
		}
		switch {
		case kind == unix.RTA_TABLE && len(v) == 4:
			table = int(binary.NativeEndian.Uint32(v))
		case kind == unix.RTA_OIF && len(v) == 4:
			if out, err := k.rtnl.LinkByIndex(int(binary.NativeEndian.Uint32(v))); err == nil {
				oif = out.Attrs().Name
			}
		}
		rest = next
	}
	return table, oif, nil
}

// selector prints the rule without its number, as ip(8) reads it.
func (r foreignRule) selector() string {
	words := []string{"from all"}
	if r.From.IsValid() {
		words[0] = "from " + r.From.String()
	}
	if r.invert {
		words[0] = "not " + words[0]
	}
	add := func(word string, given bool) {
		if given {
			words = append(words, word)
		}
	}
	add("to "+r.To.String(), r.To.IsValid())
	add("iif "+r.IIF, r.IIF != "")
	mark := fmt.Sprintf("fwmark %#x", r.Mark)
	if r.mask != 0 && r.mask != ^uint32(0) {
		mark += fmt.Sprintf("/%#x", r.mask)
	}
	add(mark, r.Mark|r.mask != 0)
	add("ipproto "+r.Proto, r.Proto != "")
	add("sport "+portRange(r.SrcPort, r.sport), r.SrcPort != 0)
	add("dport "+portRange(r.DstPort, r.last), r.DstPort != 0)
	return strings.TrimSpace(strings.Join(append(words, r.action()), " "))
}

func portRange(first, last uint16) string {
	if first == last {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d-%d", first, last)
}

func (r foreignRule) action() string {
	table := fmt.Sprint(r.Table)
	if r.Table == unix.RT_TABLE_MAIN {
		table = "main"
	}
	return map[uint8]string{unix.FR_ACT_TO_TBL: "lookup " + table,
		unix.FR_ACT_UNREACHABLE: "unreachable", unix.FR_ACT_BLACKHOLE: "blackhole",
		unix.FR_ACT_PROHIBIT: "prohibit", unix.FR_ACT_GOTO: fmt.Sprint("goto ", r.Target)}[r.kind]
}

func (r foreignRule) String() string { return fmt.Sprintf("%d: %s", r.Priority, r.selector()) }

func (r foreignRule) remove() string {
	return fmt.Sprintf("%s rule del pref %d %s", ipProgram(r.Family), r.Priority, r.selector())
}

// ipProgram is ip(8) for an IP version.
func ipProgram(f policyroute.Family) string {
	if f == policyroute.V6 {
		return "ip -6"
	}
	return "ip"
}

package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
)

// Rules use netlink directly: netlink.RuleList returns no action, and netlink.RuleAdd sends
// FRA_IP_PROTO in a size that the kernel refuses.

// noMatch is the kernel's value of a suppressor that is not set.
const noMatch = 0xffffffff

var ruleActions = map[policyroute.RuleAction]uint8{
	policyroute.Lookup:      unix.FR_ACT_TO_TBL,
	policyroute.Goto:        unix.FR_ACT_GOTO,
	policyroute.Unreachable: unix.FR_ACT_UNREACHABLE,
}

// listRules returns our rules of one family, in the kernel's order. A rule with a property that we
// never set is not ours, whatever its number.
func (k *Kernel) listRules(f policyroute.Family) ([]policyroute.Rule, error) {
	msgs, err := k.dumpRules(f)
	if err != nil {
		return nil, err
	}
	out := make([]policyroute.Rule, 0, len(msgs))
	for _, m := range msgs {
		if r, ours := parseRule(m); ours {
			out = append(out, r)
		}
	}
	return out, nil
}

// dumpRules returns the messages of all rules of one family, none where the kernel lacks IPv6.
func (k *Kernel) dumpRules(f policyroute.Family) ([][]byte, error) {
	req := k.request(unix.RTM_GETRULE, unix.NLM_F_DUMP)
	req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: afOf(f)}})
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWRULE)
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing %s rules: %w", f, err)
	}
	return msgs, nil
}

// addRule adds the rule. If a rule of equal priority and table only matches more, or is a goto to
// another target, the kernel takes the new one for a duplicate (fib_rules.c, rule_exists): such
// rules are removed for a moment. A goto that differs in its target alone does not come back.
func (k *Kernel) addRule(r policyroute.Rule) error {
	err := k.newRule(r)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	present, err := k.listRules(r.Family)
	if err != nil || slices.Contains(present, r) {
		return err
	}
	masking := slices.DeleteFunc(present, func(p policyroute.Rule) bool {
		return p.Priority != r.Priority || p.Action != r.Action || p.Table != r.Table
	})
	for _, p := range masking {
		if err := k.delRule(p); err != nil {
			return err
		}
	}
	for _, p := range slices.Insert(masking, 0, r) {
		if err := k.newRule(p); err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
	}
	return nil
}

// delRule removes the rule that equals r, and no other. The kernel ignores properties that are not
// given and removes the first rule that fits, so delRule asks which one it was, and restores a
// wrong one.
func (k *Kernel) delRule(r policyroute.Rule) (err error) {
	var wrong []policyroute.Rule
	defer func() {
		for _, w := range wrong {
			if e := k.newRule(w); e != nil && !errors.Is(e, unix.EEXIST) {
				err = errors.Join(err, fmt.Errorf("putting back rule %s: %w", w, e))
			}
		}
	}()
	for {
		removed, err := k.removeFirst(r)
		switch {
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EAFNOSUPPORT):
			return nil
		case err != nil:
			return err
		case removed == r:
			return nil
		}
		wrong = append(wrong, removed)
	}
}

func (k *Kernel) newRule(r policyroute.Rule) error {
	req := k.request(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	addRuleData(req, r)
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// removeFirst removes the first rule that the kernel finds to fit, and returns it.
func (k *Kernel) removeFirst(r policyroute.Rule) (policyroute.Rule, error) {
	req := k.request(unix.RTM_DELRULE, unix.NLM_F_ACK|unix.NLM_F_ECHO)
	addRuleData(req, r)
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_DELRULE)
	if err != nil {
		return policyroute.Rule{}, err
	}
	if len(msgs) == 0 {
		return r, nil // a kernel that does not say; only Linux before 3.x
	}
	removed, _ := parseRule(msgs[0])
	return removed, nil
}

func (k *Kernel) request(kind, flags int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(kind, flags)
	req.Sockets = k.raw
	return req
}

func addRuleData(req *nl.NetlinkRequest, r policyroute.Rule) {
	msg := &nl.RtMsg{RtMsg: unix.RtMsg{Family: afOf(r.Family), Type: ruleActions[r.Action]}}
	req.AddData(msg)
	u32 := func(attr int, v uint32) { req.AddData(nl.NewRtAttr(attr, nl.Uint32Attr(v))) }
	u32(unix.FRA_PRIORITY, uint32(r.Priority))
	protocol := byte(policyroute.Protocol)
	if r.Kept {
		protocol = policyroute.ProtocolKept
	}
	req.AddData(nl.NewRtAttr(unix.FRA_PROTOCOL, []byte{protocol}))
	if r.IIF != "" {
		req.AddData(nl.NewRtAttr(unix.FRA_IIFNAME, nl.ZeroTerminated(r.IIF)))
	}
	if r.From.IsValid() {
		msg.Src_len = uint8(r.From.Bits())
		req.AddData(nl.NewRtAttr(unix.FRA_SRC, r.From.Addr().AsSlice()))
	}
	if r.To.IsValid() {
		msg.Dst_len = uint8(r.To.Bits())
		req.AddData(nl.NewRtAttr(unix.FRA_DST, r.To.Addr().AsSlice()))
	}
	if r.Proto != "" {
		req.AddData(nl.NewRtAttr(unix.FRA_IP_PROTO, []byte{l4Protos[r.Proto]}))
	}
	for attr, p := range map[int]uint16{unix.FRA_SPORT_RANGE: r.SrcPort,
		unix.FRA_DPORT_RANGE: r.DstPort} {
		if p != 0 {
			port := binary.NativeEndian.AppendUint16(nil, p)
			req.AddData(nl.NewRtAttr(attr, append(port, port...)))
		}
	}
	if r.Mark != 0 {
		u32(unix.FRA_FWMARK, r.Mark)
		u32(unix.FRA_FWMASK, noMatch)
	}
	switch r.Action {
	case policyroute.Lookup:
		u32(unix.FRA_TABLE, uint32(r.Table))
		if r.MinBits > 0 {
			u32(unix.FRA_SUPPRESS_PREFIXLEN, uint32(r.MinBits-1))
		}
	case policyroute.Goto:
		u32(unix.FRA_GOTO, uint32(r.Target))
	}
}

// parseRule reads a rule; ours is false if it lacks our mark or has more than we ever set. It skips
// unknown attributes: newer kernels report more about every rule.
func parseRule(m []byte) (r policyroute.Rule, ours bool) {
	msg := nl.DeserializeRtMsg(m)
	ours = msg.Tos == 0 && msg.Flags&unix.FIB_RULE_INVERT == 0
	r.Family = familyOfAF(msg.Family)
	r.Action, ours = actionOf(msg.Type, ours)
	var proto byte
	for rest := m[msg.Len():]; len(rest) >= unix.SizeofRtAttr; {
		var (
			kind uint16
			v    []byte
			ok   bool
		)
		if kind, v, rest, ok = nextAttr(rest); !ok {
			return r, false
		}
		switch kind {
		case unix.FRA_PRIORITY:
			r.Priority = int(binary.NativeEndian.Uint32(v))
		case unix.FRA_PROTOCOL:
			proto = v[0]
		case unix.FRA_IIFNAME:
			r.IIF = strings.TrimRight(string(v), "\x00")
		case unix.FRA_SRC:
			r.From = prefixOf(v, msg.Src_len)
		case unix.FRA_DST:
			r.To = prefixOf(v, msg.Dst_len)
		case unix.FRA_IP_PROTO:
			r.Proto = l4Name(v[0])
		case unix.FRA_SPORT_RANGE:
			r.SrcPort = binary.NativeEndian.Uint16(v)
			ours = ours && binary.NativeEndian.Uint16(v[2:]) == r.SrcPort
		case unix.FRA_DPORT_RANGE:
			r.DstPort = binary.NativeEndian.Uint16(v)
			ours = ours && binary.NativeEndian.Uint16(v[2:]) == r.DstPort
		case unix.FRA_FWMARK:
			r.Mark = binary.NativeEndian.Uint32(v)
		case unix.FRA_FWMASK:
			ours = ours && (binary.NativeEndian.Uint32(v) == noMatch || r.Mark == 0)
		case unix.FRA_TABLE:
			r.Table = int(binary.NativeEndian.Uint32(v))
		case unix.FRA_GOTO:
			r.Target = int(binary.NativeEndian.Uint32(v))
		case unix.FRA_SUPPRESS_PREFIXLEN:
			if bits := binary.NativeEndian.Uint32(v); bits != noMatch {
				r.MinBits = int(bits) + 1
			}
		case unix.FRA_SUPPRESS_IFGROUP:
			ours = ours && binary.NativeEndian.Uint32(v) == noMatch
		case unix.FRA_OIFNAME, unix.FRA_FLOW, unix.FRA_TUN_ID, unix.FRA_UID_RANGE:
			ours = false
		}
	}
	if r.Priority >= policyroute.RuleKept && r.Priority <= policyroute.RuleKeptBehind {
		r.Kept = true
		return r, ours && proto == policyroute.ProtocolKept
	}
	inRange := r.Priority >= policyroute.RuleFirst && r.Priority <= policyroute.RuleLast
	return r, ours && proto == policyroute.Protocol && inRange
}

// nextAttr takes the first attribute off a message, without the copy that nl.ParseRouteAttr makes:
// rules are listed by the thousand.
func nextAttr(b []byte) (kind uint16, value, rest []byte, ok bool) {
	n := int(binary.NativeEndian.Uint16(b))
	if n < unix.SizeofRtAttr || n > len(b) {
		return 0, nil, nil, false
	}
	aligned := (n + unix.RTA_ALIGNTO - 1) &^ (unix.RTA_ALIGNTO - 1)
	return binary.NativeEndian.Uint16(b[2:]), b[unix.SizeofRtAttr:n], b[min(aligned, len(b)):], true
}

func actionOf(number uint8, known bool) (policyroute.RuleAction, bool) {
	for action, n := range ruleActions {
		if n == number {
			return action, known
		}
	}
	return 0, false
}

func l4Name(number byte) string {
	for name, n := range l4Protos {
		if n == number {
			return name
		}
	}
	return fmt.Sprint(number)
}

func prefixOf(addr []byte, bits uint8) netip.Prefix {
	a, _ := netip.AddrFromSlice(addr)
	return netip.PrefixFrom(a, int(bits))
}

// afOf returns the number of a family (AF_INET, AF_INET6), which netfilter has as NFPROTO_….
func afOf(f policyroute.Family) uint8 {
	if f == policyroute.V6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

func familyOfAF(af uint8) policyroute.Family {
	if af == unix.AF_INET6 {
		return policyroute.V6
	}
	return policyroute.V4
}

package kernel

import (
	"bytes"
	"encoding/binary"
	"net"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
)

// evaluation follows one packet through rules of nftables.
type evaluation struct {
	f *filters // for its sets; nil: none can be read
	p *packet  // a rule that sets its mark changes it
}

// rule evaluates one rule.
func (v evaluation) rule(rule *nftables.Rule) step {
	s := step{matches: true, known: true, rule: rule}
	registers := map[uint32][]byte{}
	var mark []byte
	marks := false
	for _, e := range rule.Exprs {
		switch e := e.(type) {
		case *expr.Meta:
			switch {
			case !e.SourceRegister:
				registers[e.Register] = v.meta(e.Key)
			case e.Key == expr.MetaKeyMARK:
				mark, marks = registers[e.Register], true
			}
		case *expr.Immediate:
			registers[e.Register] = e.Data
		case *expr.Payload:
			registers[e.DestRegister] = v.payload(e)
		case *expr.Ct:
			registers[e.Register] = v.ct(e.Key)
		case *expr.Bitwise:
			registers[e.DestRegister] = masked(registers[e.SourceRegister], e)
		case *expr.Cmp:
			s.is(registers[e.Register] != nil, compare(registers[e.Register], e))
		case *expr.Range:
			have := registers[e.Register]
			within := bytes.Compare(have, e.FromData) >= 0 && bytes.Compare(have, e.ToData) <= 0
			s.is(have != nil, within == (e.Op == expr.CmpOpEq))
		case *expr.Lookup:
			if e.IsDestRegSet { // a verdict map: anything may come of it
				s.known, s.do = false, accept
				break
			}
			isIn, sure := v.lookup(rule.Table, e, registers[e.SourceRegister])
			s.is(sure, isIn != e.Invert)
		case *expr.Verdict:
			s.do, s.to = verdicts[e.Kind], e.Chain
		case *expr.Reject:
			s.do = drop
		case *expr.Redir: // elsewhere: as good as lost to who listens there
			s.elsewhere(v.p)
		case *expr.NAT:
			s.translates(v.p, e, registers[e.RegAddrMin])
		case *expr.Notrack:
			s.do = v.p.untracked()
		case *expr.Fib:
			registers[e.Register] = v.fib(e)
		case *expr.Target: // of iptables
			var sets bool
			var to []byte
			if s.do, to, sets = extension(e); sets {
				mark, marks = to, true
			}
			if s.do == spoil {
				s.do = v.p.untracked()
			}
		case *expr.Match: // of iptables
			s.is(v.match(e))
		case *expr.Limit:
			s.is(v.p.many && tight(e), e.Over)
		case *expr.Counter, *expr.Log:
		default:
			s.is(false, false)
		}
		if s.known && !s.matches {
			return s
		}
	}
	switch {
	case marks && s.known:
		v.p.mark = mark
	case marks:
		v.p.mark = nil
	}
	return s
}

// elsewhere says that a rule gives packets another destination.
func (s *step) elsewhere(p *packet) {
	if p.local() {
		s.do = drop
		return
	}
	s.is(false, false)
}

// translates says that a rule gives packets another source or destination.
func (s *step) translates(p *packet, e *expr.NAT, to []byte) {
	if e.Type != expr.NATTypeSourceNAT || !p.sourceFree {
		s.elsewhere(p)
	} else if !hasAddress(p.oif, to) {
		s.do = spoil
	}
}

// untracked returns what becomes of a packet whose connection is not tracked: what is for this
// box itself needs no translation.
func (p *packet) untracked() action {
	if p.local() {
		return goOn
	}
	return spoil
}

// hasAddress reports whether an interface has an address.
func hasAddress(name string, addr []byte) bool {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return false
	}
	addrs, _ := link.Addrs()
	return slices.ContainsFunc(addrs, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(net.IP(addr))
	})
}

var verdicts = map[expr.VerdictKind]action{expr.VerdictDrop: drop, expr.VerdictReturn: leave,
	expr.VerdictJump: call, expr.VerdictGoto: move, expr.VerdictAccept: accept,
	expr.VerdictStop: accept, expr.VerdictQueue: accept, expr.VerdictStolen: accept}

// tightPackets and tightBytes are rates, of a second, below which nobody can work with a limit on
// all that devices send or get.
const tightPackets, tightBytes = 50, 20_000

// tight reports whether a limit is so low that it keeps devices from working.
func tight(l *expr.Limit) bool {
	seconds := map[expr.LimitTime]uint64{expr.LimitTimeSecond: 1, expr.LimitTimeMinute: 60,
		expr.LimitTimeHour: 3600, expr.LimitTimeDay: 86400, expr.LimitTimeWeek: 7 * 86400}[l.Unit]
	least := uint64(tightPackets)
	if l.Type == expr.LimitTypePktBytes {
		least = tightBytes
	}
	return seconds > 0 && l.Rate/seconds < least
}

// is adds a condition. One that is known to fail decides, whatever is not known of others.
func (s *step) is(sure, holds bool) {
	switch {
	case !sure:
		s.known = false
	case !holds:
		s.matches, s.known = false, true
	}
}

// meta returns what is known of a packet, nil for nothing.
func (v evaluation) meta(key expr.MetaKey) []byte {
	switch key {
	case expr.MetaKeyIIFNAME:
		return nameKey(v.p.iif)
	case expr.MetaKeyOIFNAME:
		return nameKey(v.p.oif)
	case expr.MetaKeyIIF:
		return ifindexOf(v.p.iif)
	case expr.MetaKeyOIF:
		return ifindexOf(v.p.oif)
	case expr.MetaKeyMARK:
		return v.p.mark
	case expr.MetaKeyNFPROTO:
		return []byte{afOf(v.p.family)}
	case expr.MetaKeyL4PROTO:
		return v.p.port.proto()
	case expr.MetaKeyPROTOCOL:
		proto := uint16(unix.ETH_P_IP)
		if v.p.family == policyroute.V6 {
			proto = unix.ETH_P_IPV6
		}
		return binary.BigEndian.AppendUint16(nil, proto)
	}
	return nil
}

func nameKey(name string) []byte {
	if name == "" {
		return nil
	}
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

func ifindexOf(name string) []byte {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return nil
	}
	return binary.NativeEndian.AppendUint32(nil, uint32(link.Index))
}

// payload returns the part of the packet's addresses that is loaded, nil for anything else.
func (v evaluation) payload(e *expr.Payload) []byte {
	src, length := uint32(12), uint32(4)
	if v.p.family == policyroute.V6 {
		src, length = 8, 16
	}
	if e.OperationType == expr.PayloadLoad && v.p.local() {
		if b := v.p.port.payload(e, v.p.family); b != nil {
			return b
		}
	}
	if e.OperationType != expr.PayloadLoad || e.Base != expr.PayloadBaseNetworkHeader ||
		e.Offset < src || e.Offset+e.Len > src+2*length {
		return nil
	}
	addr, from := v.p.src, e.Offset-src
	if from >= length {
		addr, from = v.p.dst, from-length
	}
	if !addr.IsValid() || from+e.Len > length {
		return nil
	}
	return addr.AsSlice()[from : from+e.Len]
}

// ct returns the state of the connection: packets of devices open it.
func (v evaluation) ct(key expr.CtKey) []byte {
	switch {
	case !v.p.tracked:
		return nil
	case key == expr.CtKeyDIRECTION && v.p.reply:
		return []byte{1} // IP_CT_DIR_REPLY
	case key == expr.CtKeyDIRECTION:
		return []byte{0}
	case key == expr.CtKeySTATUS && v.p.local():
		return make([]byte, 4) // no other program has translated it
	case key != expr.CtKeySTATE:
		return nil
	}
	state := expr.CtStateBitNEW
	if v.p.reply || v.p.many {
		state = expr.CtStateBitESTABLISHED
	}
	return binary.NativeEndian.AppendUint32(nil, state)
}

func masked(value []byte, e *expr.Bitwise) []byte {
	if len(value) != len(e.Mask) || len(value) != len(e.Xor) {
		return nil
	}
	out := make([]byte, len(value))
	for i := range value {
		out[i] = value[i]&e.Mask[i] ^ e.Xor[i]
	}
	return out
}

// compare reports whether a value satisfies a comparison. A name that ends in '*' is compared as
// far as it goes.
func compare(have []byte, e *expr.Cmp) bool {
	have = have[:min(len(have), len(e.Data))]
	switch order := bytes.Compare(have, e.Data); e.Op {
	case expr.CmpOpEq:
		return order == 0
	case expr.CmpOpNeq:
		return order != 0
	case expr.CmpOpLt:
		return order < 0
	case expr.CmpOpLte:
		return order <= 0
	case expr.CmpOpGt:
		return order > 0
	default:
		return order >= 0
	}
}

// lookup reports whether a value is in a set; sure is false if that cannot be known.
func (v evaluation) lookup(table *nftables.Table, e *expr.Lookup, have []byte) (isIn, sure bool) {
	if have == nil || v.f == nil {
		return false, false
	}
	set, err := v.f.conn.GetSetByName(table, e.SetName)
	// Those with a name may hold the addresses of half the world.
	if err != nil || set.Concatenation || !set.Anonymous && set.KeyType != nftables.TypeIFName {
		return false, false
	}
	elements, err := v.f.conn.GetSetElements(set)
	if err != nil {
		return false, false
	}
	if set.Interval {
		return inIntervals(elements, have), true
	}
	return slices.ContainsFunc(elements,
		func(el nftables.SetElement) bool { return bytes.Equal(el.Key, have) }), true
}

// inIntervals reports whether a value is in one of the ranges that begin and end with elements.
func inIntervals(elements []nftables.SetElement, have []byte) bool {
	var last *nftables.SetElement
	for i, el := range elements {
		if bytes.Compare(el.Key, have) > 0 {
			continue
		}
		// a range may begin where another one ends
		if last == nil || bytes.Compare(el.Key, last.Key) > 0 ||
			bytes.Equal(el.Key, last.Key) && last.IntervalEnd {
			last = &elements[i]
		}
	}
	return last != nil && !last.IntervalEnd
}

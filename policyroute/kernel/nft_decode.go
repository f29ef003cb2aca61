package kernel

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
)

// decoder reads a rule back from its expressions: the inverse of encoder. It refuses unknown
// expressions, so that an altered rule never counts as ours.
type decoder struct {
	in    []expr.Any
	ports map[string][]uint16 // anonymous sets by name
	rule  policyroute.NftRule
}

// decode returns the rule, or false if encoder makes no such rule. Encoding the result again must
// give the same expressions, so that none is overlooked.
func decode(in []expr.Any, ports map[string][]uint16) (policyroute.NftRule, bool) {
	d := &decoder{in: in, ports: ports}
	for len(d.in) > 0 {
		if !d.next() {
			return policyroute.NftRule{}, false
		}
	}
	return d.rule, d.faithful(in)
}

func (d *decoder) faithful(in []expr.Any) bool {
	enc := encoder{
		maps: map[string]policyroute.Family{d.rule.VMap: d.rule.Family,
			d.rule.DstVMap: d.rule.Family},
		portSet: func([]uint16) (string, uint32, error) { return "", 0, nil },
	}
	again, err := enc.rule(d.rule)
	return err == nil && slices.EqualFunc(in, again, func(read, written expr.Any) bool {
		if l, ok := read.(*expr.Lookup); ok {
			named := *l
			named.SetID = 0
			if _, anonymous := d.ports[l.SetName]; anonymous {
				named.SetName = "" // the kernel chose it
			}
			read = &named
		}
		if ct, ok := read.(*expr.Ct); ok && setsCt(ct) {
			read = &expr.Ct{Register: reg, SourceRegister: true, Key: ct.Key}
		}
		return sameExpr(read, written)
	})
}

// next consumes one match or one action.
func (d *decoder) next() bool {
	switch x := take[expr.Any](d).(type) {
	case *expr.Meta:
		return x.Register == reg && !x.SourceRegister && d.meta(x.Key)
	case *expr.Payload:
		return d.payload(x)
	case *expr.Ct:
		return !setsCt(x) && d.conntrack(x.Key)
	case *expr.Fib:
		if *x == *noReturn() {
			d.rule.NoReturn = true
			return d.equal([]byte{0})
		}
		d.rule.LocalDst = true
		return *x == expr.Fib{Register: reg, ResultADDRTYPE: true, FlagDADDR: true} &&
			d.equal(binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL))
	case *expr.Immediate:
		return d.immediate(x.Data)
	case *expr.Exthdr:
		return d.lowerMSS(x)
	default:
		return d.verdict(x)
	}
}

func (d *decoder) meta(key expr.MetaKey) bool {
	if key == expr.MetaKeyIIFTYPE {
		return d.hardware()
	}
	cmp := take[*expr.Cmp](d)
	if cmp == nil || cmp.Register != reg || cmp.Op != expr.CmpOpEq {
		return false
	}
	switch key {
	case expr.MetaKeyIIFNAME:
		d.rule.IIF = ifnameText(cmp.Data)
	case expr.MetaKeyOIFNAME:
		d.rule.OIF = ifnameText(cmp.Data)
	case expr.MetaKeyNFPROTO:
		return d.nfproto(cmp.Data)
	case expr.MetaKeyL4PROTO:
		return d.l4proto(cmp.Data)
	default:
		return false
	}
	return true
}

// nfproto reads a match of the family. Whether it was asked for or only needed by an address, the
// rule's text is the same.
func (d *decoder) nfproto(data []byte) bool {
	for _, f := range policyroute.Families {
		if bytes.Equal(data, []byte{afOf(f)}) {
			d.rule.Family = f
			return true
		}
	}
	return false
}

func (d *decoder) l4proto(data []byte) bool {
	if d.rule.Proto != "" && bytes.Equal(data, []byte{unix.IPPROTO_TCP}) {
		return d.rule.Proto == "tcp"
	}
	for name, number := range l4Protos {
		if bytes.Equal(data, []byte{number}) {
			if p := peek[*expr.Payload](d); p != nil && p.Offset == offTCPFlags {
				return name == "tcp" // belongs to the flags
			}
			d.rule.Proto = name
			return true
		}
	}
	return false
}

func (d *decoder) payload(p *expr.Payload) bool {
	if p.DestRegister != reg || p.OperationType != expr.PayloadLoad {
		return false
	}
	switch {
	case p.Base == expr.PayloadBaseTransportHeader && p.Offset == offICMPType && p.Len == 1:
		return d.icmpType()
	case p.Base == expr.PayloadBaseTransportHeader && p.Offset == offDport && p.Len == 2:
		return d.port(&d.rule.DstPorts)
	case p.Base == expr.PayloadBaseTransportHeader && p.Offset == offSport && p.Len == 2:
		return d.port(&d.rule.SrcPorts)
	case p.Base == expr.PayloadBaseTransportHeader && p.Offset == offTCPFlags && p.Len == 1:
		return d.syn()
	case p.Base == expr.PayloadBaseNetworkHeader:
		return d.address(p)
	}
	return false
}

func (d *decoder) address(p *expr.Payload) bool {
	var (
		target *netip.Prefix
		size   int
	)
	switch p.Offset {
	case offSaddr4:
		target, size = &d.rule.Src, 4
	case offDaddr4:
		target, size = &d.rule.Dst, 4
	case offSaddr6:
		target, size = &d.rule.Src, 16
	case offDaddr6:
		target, size = &d.rule.Dst, 16
	default:
		return false
	}
	if int(p.Len) > size {
		return false
	}
	if l := peek[*expr.Lookup](d); l != nil {
		return d.vmap(p, size)
	}
	if x := peek[*expr.Dynset](d); x != nil {
		return int(p.Len) == size && d.rule.Family != 0 && d.over()
	}
	length := int(p.Len) * 8
	if b := peek[*expr.Bitwise](d); b != nil {
		take[*expr.Bitwise](d)
		ones, ok := prefixLength(b.Mask)
		if !ok || !allZero(b.Xor) {
			return false
		}
		length = ones
	}
	cmp := take[*expr.Cmp](d)
	if cmp == nil || cmp.Op != expr.CmpOpEq || cmp.Register != reg || len(cmp.Data) != int(p.Len) {
		return false
	}
	full := make([]byte, size)
	copy(full, cmp.Data)
	addr, _ := netip.AddrFromSlice(full)
	*target = netip.PrefixFrom(addr, length)
	return true
}

func (d *decoder) vmap(p *expr.Payload, size int) bool {
	l := take[*expr.Lookup](d)
	if l.Invert || !l.IsDestRegSet || l.DestRegister != unix.NFT_REG_VERDICT || int(p.Len) != size {
		return false
	}
	if p.Offset == offSaddr4 || p.Offset == offSaddr6 {
		d.rule.VMap = l.SetName
	} else {
		d.rule.DstVMap = l.SetName
	}
	return true
}

func (d *decoder) port(to *[]uint16) bool {
	if l := peek[*expr.Lookup](d); l != nil {
		take[*expr.Lookup](d)
		ports, known := d.ports[l.SetName]
		*to = slices.Clone(ports)
		return known && !l.Invert && !l.IsDestRegSet
	}
	cmp := take[*expr.Cmp](d)
	if cmp == nil || cmp.Op != expr.CmpOpEq || len(cmp.Data) != 2 {
		return false
	}
	*to = []uint16{binary.BigEndian.Uint16(cmp.Data)}
	return true
}

func (d *decoder) icmpType() bool {
	cmp := take[*expr.Cmp](d)
	if cmp == nil || cmp.Op != expr.CmpOpEq || len(cmp.Data) != 1 {
		return false
	}
	d.rule.ICMPType = cmp.Data[0]
	return d.rule.ICMPType != 0
}

func (d *decoder) syn() bool {
	d.rule.Syn = true
	return d.exactly(syn()[1:])
}

// lowerMSS reads an action that begins with loading the option. Its match of a SYN is implied.
func (d *decoder) lowerMSS(load *expr.Exthdr) bool {
	if !d.rule.Syn || len(d.in) < 2 {
		return false
	}
	imm, ok := d.in[1].(*expr.Immediate)
	if !ok || len(imm.Data) != 2 {
		return false
	}
	d.rule.Syn, d.rule.SynMSS = false, binary.BigEndian.Uint16(imm.Data)
	want := lowerMSS(d.rule.SynMSS)
	return d.rule.SynMSS != 0 && sameExpr(load, want[0]) && d.exactly(want[1:])
}

// exactly consumes these very expressions.
func (d *decoder) exactly(want []expr.Any) bool {
	if len(d.in) < len(want) || !slices.EqualFunc(want, d.in[:len(want)], sameExpr) {
		return false
	}
	d.in = d.in[len(want):]
	return true
}

func (d *decoder) conntrack(key expr.CtKey) bool {
	switch key {
	case expr.CtKeyDIRECTION:
		cmp := peek[*expr.Cmp](d)
		d.rule.CTReply = cmp != nil && bytes.Equal(cmp.Data, []byte{ctDirectionReply})
		d.rule.CTOriginal = !d.rule.CTReply
		if d.rule.CTReply {
			return d.equal([]byte{ctDirectionReply})
		}
		return d.equal([]byte{ctDirectionOriginal})
	case expr.CtKeyLABELS:
		return d.label()
	}
	if key == expr.CtKeySTATUS && d.exactly(firstPacket()[1:]) {
		d.rule.CTFirst = true
		return true
	}
	b, cmp := take[*expr.Bitwise](d), take[*expr.Cmp](d)
	if b == nil || cmp == nil || len(b.Mask) != 4 || !allZero(b.Xor) || cmp.Op != expr.CmpOpNeq ||
		!allZero(cmp.Data) {
		return false
	}
	mask := binaryutil.NativeEndian.Uint32(b.Mask)
	switch key {
	case expr.CtKeySTATUS:
		for name, bit := range ctStatuses {
			if mask == bit {
				d.rule.CTStatus = name
			}
		}
		return d.rule.CTStatus != ""
	case expr.CtKeySTATE:
		for _, name := range []string{"invalid", "established", "related", "new", "untracked"} {
			if mask&ctStates[name] != 0 {
				d.rule.CTState = append(d.rule.CTState, name)
				mask &^= ctStates[name]
			}
		}
		return mask == 0
	}
	return false
}

func (d *decoder) verdict(x expr.Any) bool {
	v := &d.rule.Verdict
	switch x := x.(type) {
	case *expr.Verdict:
		kinds := map[expr.VerdictKind]string{
			expr.VerdictAccept: "accept", expr.VerdictDrop: "drop", expr.VerdictReturn: "return",
			expr.VerdictJump: "jump", expr.VerdictGoto: "goto",
		}
		v.Kind, v.Chain = kinds[x.Kind], x.Chain
	case *expr.Masq:
		v.Kind, v.Random = "masquerade", x.FullyRandom
		return *x == expr.Masq{FullyRandom: v.Random}
	}
	return v.Kind != "" && len(d.in) == 0
}

// equal consumes a comparison with the data.
func (d *decoder) equal(data []byte) bool {
	cmp := take[*expr.Cmp](d)
	return cmp != nil && cmp.Op == expr.CmpOpEq && bytes.Equal(cmp.Data, data)
}

// take removes the next expression; the zero value means that it is not of the type.
func take[T expr.Any](d *decoder) T {
	x := peek[T](d)
	if len(d.in) > 0 {
		d.in = d.in[1:]
	}
	return x
}

func peek[T expr.Any](d *decoder) T {
	var none T
	if len(d.in) == 0 {
		return none
	}
	x, _ := d.in[0].(T)
	return x
}

func sameExpr(a, b expr.Any) bool {
	x, errX := expr.Marshal(unix.NFPROTO_INET, a)
	y, errY := expr.Marshal(unix.NFPROTO_INET, b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

func ifnameText(data []byte) string {
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return string(data[:i])
	}
	return string(data) + "*"
}

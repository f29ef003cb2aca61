package kernel

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
)

// Offsets and lengths of packet header fields that rules match, in bytes.
const (
	offSrcMAC            = 6
	offSaddr4, offDaddr4 = 12, 16
	offSaddr6, offDaddr6 = 8, 24
	offICMPType          = 0
	offSport, offDport   = 0, 2
	offTCPFlags          = 13

	tcpSynRst, tcpSyn = 0x06, 0x02

	tcpOptMaxseg = 2 // kind of the option; its value is 2 bytes long and begins 2 bytes into it
)

// reg is the one register that our rules use; every match loads it again.
const reg = unix.NFT_REG_1

var l4Protos = map[string]byte{
	"icmp":   unix.IPPROTO_ICMP,
	"tcp":    unix.IPPROTO_TCP,
	"udp":    unix.IPPROTO_UDP,
	"icmpv6": unix.IPPROTO_ICMPV6,
}

var ctStates = map[string]uint32{
	"invalid":     expr.CtStateBitINVALID,
	"established": expr.CtStateBitESTABLISHED,
	"related":     expr.CtStateBitRELATED,
	"new":         expr.CtStateBitNEW,
	"untracked":   expr.CtStateBitUNTRACKED,
}

// ctStatuses are IPS_SRC_NAT and IPS_DST_NAT (linux/netfilter/nf_conntrack_common.h).
var ctStatuses = map[string]uint32{"snat": 1 << 4, "dnat": 1 << 5}

// The directions of a connection (linux/netfilter/nf_conntrack_tuple_common.h).
const (
	ctDirectionOriginal = 0
	ctDirectionReply    = 1
)

// encoder translates rules of one table into expressions. The expressions are those that nft(8)
// itself makes of NftRule.String, so that a plan pasted into a shell is observed like one applied.
type encoder struct {
	maps map[string]policyroute.Family // families of the verdict maps
	// portSet makes an anonymous set of ports in the transaction under way.
	portSet func(ports []uint16) (name string, id uint32, err error)
}

func (e encoder) rule(r policyroute.NftRule) ([]expr.Any, error) {
	var out []expr.Any
	add := func(x ...expr.Any) { out = append(out, x...) }
	if r.IIF != "" {
		add(ifname(expr.MetaKeyIIFNAME, r.IIF)...)
	}
	if r.OIF != "" {
		add(ifname(expr.MetaKeyOIFNAME, r.OIF)...)
	}
	family, err := e.family(r)
	if err != nil {
		return nil, err
	}
	if family != 0 {
		add(nfproto(family)...)
	}
	if r.Src.IsValid() {
		add(address(r.Src, offSaddr4, offSaddr6)...)
	}
	if r.Dst.IsValid() {
		add(address(r.Dst, offDaddr4, offDaddr6)...)
	}
	if r.NotSrcMAC != "" {
		mac, err := net.ParseMAC(r.NotSrcMAC)
		if err != nil {
			return nil, err
		}
		add(notFrom(mac)...)
	}
	if err := e.transport(r, add); err != nil {
		return nil, err
	}
	if r.Syn || r.SynMSS != 0 {
		if r.Proto != "tcp" {
			add(meta(expr.MetaKeyL4PROTO), eq([]byte{unix.IPPROTO_TCP}))
		}
		add(syn()...)
	}
	if err := conntrack(r, add); err != nil {
		return nil, err
	}
	if r.CTFirst {
		add(firstPacket()...)
	}
	if r.NoReturn {
		add(noReturn(), eq([]byte{0}))
	}
	if r.LocalDst {
		add(&expr.Fib{Register: reg, ResultADDRTYPE: true, FlagDADDR: true},
			eq(binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)))
	}
	if r.Over.Meter != "" {
		if r.Family != family {
			return nil, fmt.Errorf("a limit of neighbours beside a match of an address")
		}
		add(over(family, r.Over)...)
	}
	if err := e.action(r, add); err != nil {
		return nil, err
	}
	return out, nil
}

// family returns the family that the rule's matches need. An inet table sees both, and an address
// has another offset in each.
func (e encoder) family(r policyroute.NftRule) (policyroute.Family, error) {
	family := r.Family
	need := func(f policyroute.Family) error {
		if family != 0 && family != f {
			return fmt.Errorf("matches both %s and %s", family, f)
		}
		family = f
		return nil
	}
	for _, p := range []netip.Prefix{r.Src, r.Dst} {
		if p.IsValid() {
			if err := need(policyroute.FamilyOf(p.Addr())); err != nil {
				return 0, err
			}
		}
	}
	for _, name := range []string{r.VMap, r.DstVMap} {
		if name == "" {
			continue
		}
		f, ok := e.maps[name]
		if !ok {
			return 0, fmt.Errorf("map %q does not exist", name)
		}
		if err := need(f); err != nil {
			return 0, err
		}
	}
	return family, nil
}

func (e encoder) transport(r policyroute.NftRule, add func(...expr.Any)) error {
	if r.Proto == "" {
		if len(r.DstPorts)+len(r.SrcPorts) > 0 {
			return fmt.Errorf("ports without a protocol")
		}
		return nil
	}
	number, ok := l4Protos[r.Proto]
	if !ok {
		return fmt.Errorf("protocol %q is unknown", r.Proto)
	}
	add(meta(expr.MetaKeyL4PROTO), eq([]byte{number}))
	if r.ICMPType != 0 {
		add(payload(expr.PayloadBaseTransportHeader, offICMPType, 1), eq([]byte{r.ICMPType}))
	}
	ports, offset := r.DstPorts, uint32(offDport)
	if len(r.SrcPorts) > 0 {
		if len(ports) > 0 {
			return fmt.Errorf("ports of both ends")
		}
		ports, offset = r.SrcPorts, offSport
	}
	if len(ports) == 0 {
		return nil
	}
	add(payload(expr.PayloadBaseTransportHeader, offset, 2))
	if len(ports) == 1 {
		add(eq(binary.BigEndian.AppendUint16(nil, ports[0])))
		return nil
	}
	name, id, err := e.portSet(ports)
	if err != nil {
		return err
	}
	add(&expr.Lookup{SourceRegister: reg, SetName: name, SetID: id})
	return nil
}

func conntrack(r policyroute.NftRule, add func(...expr.Any)) error {
	if len(r.CTState) > 0 {
		var bits uint32
		for _, name := range r.CTState {
			bit, ok := ctStates[name]
			if !ok {
				return fmt.Errorf("conntrack state %q is unknown", name)
			}
			bits |= bit
		}
		add(anyBit(expr.CtKeySTATE, bits)...)
	}
	if r.CTReply {
		add(&expr.Ct{Register: reg, Key: expr.CtKeyDIRECTION}, eq([]byte{ctDirectionReply}))
	}
	if r.CTOriginal {
		add(&expr.Ct{Register: reg, Key: expr.CtKeyDIRECTION}, eq([]byte{ctDirectionOriginal}))
	}
	if r.CTLabel != 0 {
		add(hasLabel(r.CTLabel)...)
	}
	if r.CTStatus != "" {
		bit, ok := ctStatuses[r.CTStatus]
		if !ok {
			return fmt.Errorf("conntrack status %q is unknown", r.CTStatus)
		}
		add(anyBit(expr.CtKeySTATUS, bit)...)
	}
	return nil
}

func (e encoder) action(r policyroute.NftRule, add func(...expr.Any)) error {
	switch {
	case r.SynMSS != 0:
		add(lowerMSS(r.SynMSS)...)
		return nil
	case r.SetLabel != 0:
		add(&expr.Immediate{Register: reg, Data: labelBit(r.SetLabel)},
			&expr.Ct{Register: reg, SourceRegister: true, Key: expr.CtKeyLABELS})
		return nil
	case r.VMap != "":
		e.vmap(r.VMap, offSaddr4, offSaddr6, add)
		return nil
	case r.DstVMap != "":
		e.vmap(r.DstVMap, offDaddr4, offDaddr6, add)
		return nil
	}
	return verdict(r.Verdict, add)
}

// vmap jumps where the map sends the address; family has matched already.
func (e encoder) vmap(name string, off4, off6 uint32, add func(...expr.Any)) {
	add(addressField(e.maps[name], off4, off6), &expr.Lookup{
		SourceRegister: reg, SetName: name, IsDestRegSet: true, DestRegister: unix.NFT_REG_VERDICT,
	})
}

func verdict(v policyroute.NftVerdict, add func(...expr.Any)) error {
	switch v.Kind {
	case "": // a rule that only counts or comments
	case "accept":
		add(&expr.Verdict{Kind: expr.VerdictAccept})
	case "drop":
		add(&expr.Verdict{Kind: expr.VerdictDrop})
	case "return":
		add(&expr.Verdict{Kind: expr.VerdictReturn})
	case "jump":
		add(&expr.Verdict{Kind: expr.VerdictJump, Chain: v.Chain})
	case "goto":
		add(&expr.Verdict{Kind: expr.VerdictGoto, Chain: v.Chain})
	case "masquerade":
		add(&expr.Masq{FullyRandom: v.Random})
	case "redirect":
		add(&expr.Immediate{Register: reg, Data: binary.BigEndian.AppendUint16(nil, v.Port)},
			&expr.Redir{RegisterProtoMin: reg, RegisterProtoMax: reg,
				Flags: unix.NF_NAT_RANGE_PROTO_SPECIFIED})
	case "snat", "dnat":
		if !v.Addr.IsValid() {
			return fmt.Errorf("%s without an address", v.Kind)
		}
		kind := expr.NATTypeSourceNAT
		if v.Kind == "dnat" {
			kind = expr.NATTypeDestNAT
		}
		add(&expr.Immediate{Register: reg, Data: v.Addr.AsSlice()},
			&expr.NAT{Type: kind, Family: uint32(afOf(policyroute.FamilyOf(v.Addr))),
				RegAddrMin: reg, RegAddrMax: reg, FullyRandom: v.Random})
	default:
		return fmt.Errorf("verdict %q is unknown", v.Kind)
	}
	return nil
}

// syn matches a SYN without RST.
func syn() []expr.Any {
	return []expr.Any{
		payload(expr.PayloadBaseTransportHeader, offTCPFlags, 1),
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 1, Mask: []byte{tcpSynRst},
			Xor: []byte{0}},
		eq([]byte{tcpSyn}),
	}
}

// lowerMSS matches an MSS larger than the limit and lowers it to that.
func lowerMSS(limit uint16) []expr.Any {
	value := binary.BigEndian.AppendUint16(nil, limit)
	return []expr.Any{
		&expr.Exthdr{DestRegister: reg, Type: tcpOptMaxseg, Offset: 2, Len: 2,
			Op: expr.ExthdrOpTcpopt},
		&expr.Cmp{Op: expr.CmpOpGt, Register: reg, Data: value},
		&expr.Immediate{Register: reg, Data: value},
		&expr.Exthdr{SourceRegister: reg, Type: tcpOptMaxseg, Offset: 2, Len: 2,
			Op: expr.ExthdrOpTcpopt},
	}
}

// ifname compares an interface's name: all 16 bytes, or those before a '*'.
func ifname(key expr.MetaKey, name string) []expr.Any {
	data := make([]byte, unix.IFNAMSIZ)
	if prefix, wild := strings.CutSuffix(name, "*"); wild {
		data = []byte(prefix)
	} else {
		copy(data, name)
	}
	return []expr.Any{meta(key), eq(data)}
}

func nfproto(f policyroute.Family) []expr.Any {
	return []expr.Any{meta(expr.MetaKeyNFPROTO), eq([]byte{afOf(f)})}
}

// address matches a prefix. Where its length is a whole number of bytes, only those are loaded, as
// nft does it.
func address(p netip.Prefix, off4, off6 uint32) []expr.Any {
	p = p.Masked()
	field := addressField(policyroute.FamilyOf(p.Addr()), off4, off6)
	data := p.Addr().AsSlice()
	if p.Bits() > 0 && p.Bits()%8 == 0 {
		field.Len = uint32(p.Bits() / 8)
		return []expr.Any{field, eq(data[:field.Len])}
	}
	mask := make([]byte, len(data))
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return []expr.Any{
		field,
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: field.Len, Mask: mask,
			Xor: make([]byte, len(data))},
		eq(data),
	}
}

func addressField(f policyroute.Family, off4, off6 uint32) *expr.Payload {
	if f == policyroute.V6 {
		return payload(expr.PayloadBaseNetworkHeader, off6, 16)
	}
	return payload(expr.PayloadBaseNetworkHeader, off4, 4)
}

// anyBit matches when conntrack's field has at least one of the bits.
func anyBit(key expr.CtKey, bits uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Register: reg, Key: key},
		&expr.Bitwise{
			SourceRegister: reg, DestRegister: reg, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4),
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: make([]byte, 4)},
	}
}

func meta(key expr.MetaKey) *expr.Meta { return &expr.Meta{Key: key, Register: reg} }

func eq(data []byte) *expr.Cmp { return &expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: data} }

func payload(base expr.PayloadBase, offset, length uint32) *expr.Payload {
	return &expr.Payload{DestRegister: reg, Base: base, Offset: offset, Len: length}
}

package kernel

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"

	"ztbridge/policyroute"
)

// ctLabelBytes is the size of all labels of a connection (NF_CT_LABELS_MAX_SIZE).
const ctLabelBytes = 16

// hasLabel matches connections with the label.
func hasLabel(label uint8) []expr.Any {
	return []expr.Any{
		&expr.Ct{Register: reg, Key: expr.CtKeyLABELS},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: ctLabelBytes,
			Mask: labelBit(label), Xor: make([]byte, ctLabelBytes)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: make([]byte, ctLabelBytes)},
	}
}

// labelBit returns the bit of a label as the kernel keeps it: in native words of 32 bits.
func labelBit(label uint8) []byte {
	var out []byte
	for word := range ctLabelBytes / 4 {
		var bits uint32
		if int(label/32) == word {
			bits = 1 << (label % 32)
		}
		out = append(out, binaryutil.NativeEndian.PutUint32(bits)...)
	}
	return out
}

// noReturn looks whether the interface leads back to the source.
func noReturn() *expr.Fib {
	return &expr.Fib{Register: reg, ResultOIF: true, FlagSADDR: true, FlagIIF: true,
		FlagPRESENT: true}
}

// setsCt reports whether the expression writes to the connection. The library does not read the
// register that is written from, and every load has one.
func setsCt(x *expr.Ct) bool { return x.SourceRegister || x.Register == 0 }

// label reads a match of one label.
func (d *decoder) label() bool {
	b := peek[*expr.Bitwise](d)
	if b == nil {
		return false
	}
	label, ok := labelOf(b.Mask)
	d.rule.CTLabel = label
	return ok && d.exactly(hasLabel(label)[1:])
}

// labelOf returns the one label that is set.
func labelOf(data []byte) (uint8, bool) {
	for label := uint8(1); label < 8*ctLabelBytes; label++ {
		if bytes.Equal(data, labelBit(label)) {
			return label, true
		}
	}
	return 0, false
}

// immediate reads a translation whose address or port was loaded into the register.
func (d *decoder) immediate(data []byte) bool {
	switch x := take[expr.Any](d).(type) {
	case *expr.Ct:
		label, ok := labelOf(data)
		d.rule.SetLabel = label
		return ok && setsCt(x) && x.Key == expr.CtKeyLABELS
	case *expr.Redir:
		if x.RegisterProtoMin != reg || len(data) != 2 {
			return false
		}
		d.rule.Verdict = policyroute.NftVerdict{Kind: "redirect",
			Port: binary.BigEndian.Uint16(data)}
		return true
	case *expr.NAT:
		addr, ok := netip.AddrFromSlice(data)
		if !ok || x.RegAddrMin != reg || x.RegProtoMin != 0 || x.Random || x.Persistent {
			return false
		}
		kind := "snat"
		if x.Type == expr.NATTypeDestNAT {
			kind = "dnat"
		}
		d.rule.Verdict = policyroute.NftVerdict{Kind: kind, Addr: addr,
			Random: x.FullyRandom}
		return true
	}
	return false
}

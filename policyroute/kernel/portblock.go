package kernel

import (
	"context"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
)

// Port is a port of this box: "udp" or "tcp", and its number.
type Port struct {
	Proto  string
	Number uint16
}

// PortBlock is a filter that drops, or a rule that leads elsewhere, all that is sent to a port.
type PortBlock struct {
	Port
	Family policyroute.Family // the only IP version; 0: both
	Block
}

// anybody stands for those who send to this box from the Internet: no rule is likely to name them.
var anybody = map[policyroute.Family]netip.Addr{
	policyroute.V4: netip.MustParseAddr("1.1.1.1"),
	policyroute.V6: netip.MustParseAddr("2606:4700:4700::1111")}

// PortBlocks returns foreign filters that keep all that enters by the uplinks from ports of this
// box. As IfaceBlocks, it leaves out rules that only a packet can test.
func (k *Kernel) PortBlocks(ctx context.Context, uplinks map[policyroute.Family]string,
	ports []Port) ([]PortBlock, error) {
	if len(ports) == 0 {
		return nil, nil
	}
	filters, err := k.foreignFilters()
	if err != nil {
		return nil, err
	}
	defer filters.conn.CloseLasting()
	legacy := legacyFilters(ctx)
	var out []PortBlock
	for _, port := range ports {
		for _, f := range policyroute.Families {
			if uplinks[f] == "" {
				continue
			}
			b, found, err := filters.blockOf(ctx, []packet{{family: f, iif: uplinks[f],
				src: anybody[f], mark: make([]byte, 4), port: port}}, legacy)
			if err != nil {
				return nil, err
			}
			if !found {
				continue
			}
			same := slices.IndexFunc(out,
				func(o PortBlock) bool { return o.Port == port && o.Block == b })
			if same >= 0 {
				out[same].Family = 0
				continue
			}
			out = append(out, PortBlock{port, f, b})
		}
	}
	return out, nil
}

// local reports whether the packet is for this box itself.
func (p packet) local() bool { return p.port.Number != 0 }

// meetsLegacy reports whether the packet comes to a chain of legacy iptables. What is forwarded to
// is not lost by being translated.
func (p packet) meetsLegacy(table, chain string) bool {
	switch chain {
	case "INPUT":
		return p.local()
	case "PREROUTING":
		return p.local() || table != "nat"
	}
	return !p.local()
}

// proto returns the number of the protocol, nil if there is none.
func (p Port) proto() []byte {
	switch p.Proto {
	case "udp":
		return []byte{unix.IPPROTO_UDP}
	case "tcp":
		return []byte{unix.IPPROTO_TCP}
	}
	return nil
}

// payload returns the protocol or the port, if that is what is loaded.
func (p Port) payload(e *expr.Payload, f policyroute.Family) []byte {
	protocolAt := uint32(9)
	if f == policyroute.V6 {
		protocolAt = 6
	}
	const portAt = 2
	switch {
	case e.Base == expr.PayloadBaseNetworkHeader && e.Offset == protocolAt && e.Len == 1:
		return p.proto()
	case e.Base == expr.PayloadBaseTransportHeader && e.Offset == portAt && e.Len == 2:
		return binary.BigEndian.AppendUint16(nil, p.Number)
	}
	return nil
}

// fib returns what kind of address the packet's destination is, nil for any other question.
func (v evaluation) fib(e *expr.Fib) []byte {
	if !v.p.local() || !e.ResultADDRTYPE || !e.FlagDADDR || e.FlagSADDR {
		return nil
	}
	return binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)
}

// match evaluates an extension of iptables, as far as it can be known.
func (v evaluation) match(e *expr.Match) (sure, holds bool) {
	if !v.p.local() {
		return e.Name == "comment", true
	}
	ports := func(of [2]uint16, inverted bool, source [2]uint16) (bool, bool) {
		holds = inverted != (of[0] <= v.p.port.Number && v.p.port.Number <= of[1])
		return !holds || source == [2]uint16{0, 65535}, holds
	}
	switch info := e.Info.(type) {
	case *xt.Udp:
		return ports(info.DstPorts, info.InvFlags == xt.UdpInvDestPorts, info.SrcPorts)
	case *xt.Tcp:
		if info.FlagsMask != 0 || info.Option != 0 {
			return false, false
		}
		return ports(info.DstPorts, info.InvFlags == xt.TcpInvDestPorts, info.SrcPorts)
	case *xt.AddrTypeV1:
		const local, inverted = 1 << unix.RTN_LOCAL, 2 // XT_ADDRTYPE_INVERT_DEST
		return info.Source == 0 && info.Flags&^inverted == 0,
			(info.Dest&local != 0) != (info.Flags&inverted != 0)
	}
	return e.Name == "comment", true
}

package ndp

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"

	"github.com/mdlayher/ndp"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

const (
	headerLen        = 40 // of IPv6
	typeSolicitation = 135
)

var errInvalid = errors.New("no valid neighbour solicitation")

// solicitation is a neighbour solicitation that is valid by RFC 4861, section 7.1.1.
type solicitation struct {
	// unspecified when the neighbour checks that the address is free (RFC 4862, DAD)
	source netip.Addr
	target netip.Addr
}

// parse reads an IPv6 packet. It fails with errInvalid unless that is a valid solicitation.
func parse(packet []byte) (solicitation, error) {
	var s solicitation
	if len(packet) < headerLen+24 || packet[0]>>4 != 6 || packet[6] != unix.IPPROTO_ICMPV6 ||
		packet[7] != ndp.HopLimit {
		return s, errInvalid
	}
	size := int(binary.BigEndian.Uint16(packet[4:]))
	if size < 24 || size > len(packet)-headerLen {
		return s, errInvalid
	}
	body := packet[headerLen : headerLen+size] // frames may be padded behind it
	s.source = netip.AddrFrom16([16]byte(packet[8:24]))
	dst := netip.AddrFrom16([16]byte(packet[24:40]))
	icmp := header.ICMPv6(body)
	if icmp.Type() != header.ICMPv6NeighborSolicit || icmp.Code() != 0 ||
		icmp.Checksum() != checksum(s.source, dst, icmp) || s.source.IsMulticast() {
		return s, errInvalid
	}
	m, err := ndp.ParseMessage(body)
	ns, ok := m.(*ndp.NeighborSolicitation)
	if err != nil || !ok || !unicast(ns.TargetAddress) {
		return s, errInvalid
	}
	s.target = ns.TargetAddress
	group, err := ndp.SolicitedNodeMulticast(s.target)
	if err != nil || dst.IsMulticast() && dst != group {
		return s, errInvalid
	}
	if s.source.IsUnspecified() && (dst != group || hasSource(ns)) {
		return s, errInvalid
	}
	return s, nil
}

func unicast(a netip.Addr) bool { return !a.IsMulticast() && !a.IsUnspecified() && !a.IsLoopback() }

func hasSource(ns *ndp.NeighborSolicitation) bool {
	for _, o := range ns.Options {
		if lla, ok := o.(*ndp.LinkLayerAddress); ok && lla.Direction == ndp.Source {
			return true
		}
	}
	return false
}

// answer returns the advertisement as an IPv6 packet. A proxy leaves the override flag off (RFC
// 4861, section 7.2.8): if the address itself is on the link, its own answer wins.
func (s solicitation) answer(source netip.Addr, mac net.HardwareAddr) ([]byte, error) {
	dst := s.source
	if dst.IsUnspecified() {
		dst = netip.IPv6LinkLocalAllNodes()
	}
	body, err := ndp.MarshalMessageChecksum(&ndp.NeighborAdvertisement{
		Solicited:     !s.source.IsUnspecified(),
		TargetAddress: s.target,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: mac}},
	}, source, dst)
	if err != nil {
		return nil, err
	}
	packet := header.IPv6(make([]byte, headerLen, headerLen+len(body)))
	packet.Encode(&header.IPv6Fields{PayloadLength: uint16(len(body)), HopLimit: ndp.HopLimit,
		TransportProtocol: header.ICMPv6ProtocolNumber, SrcAddr: tcpip.AddrFrom16(source.As16()),
		DstAddr: tcpip.AddrFrom16(dst.As16())})
	return append(packet, body...), nil
}

// destination returns the link-layer destination: the asking neighbour, or all nodes for DAD.
func (s solicitation) destination(index int, from *unix.SockaddrLinklayer) *unix.SockaddrLinklayer {
	to := &unix.SockaddrLinklayer{Protocol: ethIPv6, Ifindex: index, Halen: 6, Addr: from.Addr}
	if s.source.IsUnspecified() {
		copy(to.Addr[:], []byte{0x33, 0x33, 0, 0, 0, 1}) // ff02::1
	}
	return to
}

// checksum returns the checksum that an ICMPv6 message should have.
func checksum(src, dst netip.Addr, message header.ICMPv6) uint16 {
	return header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: message,
		Src: tcpip.AddrFrom16(src.As16()), Dst: tcpip.AddrFrom16(dst.As16())})
}

package pathcheck

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/miekg/dns"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// Kind is what a check asks for.
type Kind uint8

// The kinds of check.
const (
	Echo Kind = iota // ICMP echo
	DNS              // a query over UDP
	TCP              // the handshake of a connection, which is reset at once
	UDP              // a QUIC packet of a version that nobody speaks
	kinds
)

// Kinds lists them.
var Kinds = [kinds]Kind{Echo, DNS, TCP, UDP}

func (k Kind) String() string { return [...]string{"ping", "DNS", "TCP", "UDP"}[k] }

const (
	dnsPort = 53
	// WebPort is the port of handshakes and of QUIC: what listens on it is what most clients want.
	WebPort = 443
	// hops is the hop limit that this box, and every Linux, begins with. An answer that still has
	// all of it was made on this box.
	hops = 64
)

// probe is one question: what leaves, and by what its answer is known.
type probe struct {
	kind     Kind
	src, dst netip.Addr
	id       uint16 // of the echo, the query, and as the port of the client
	second   bool   // of DNS: the second question
	seq      uint32 // of TCP
}

// marshal returns the IP packet.
func (p probe) marshal() ([]byte, error) {
	switch p.kind {
	case Echo:
		return p.packet(p.echo()), nil
	case DNS:
		query := Query(p.second)
		query.Id = p.id
		b, err := query.Pack()
		if err != nil {
			return nil, fmt.Errorf("packing a query: %w", err)
		}
		return p.packet(p.udp(dnsPort, b)), nil
	case UDP:
		return p.packet(p.udp(WebPort, p.quic())), nil
	default:
		return p.packet(p.tcp(p.seq, header.TCPFlagSyn)), nil
	}
}

// reset returns the packet that ends a connection which was answered, so that nothing is left of
// it in connection tracking or at the other end.
func (p probe) reset() []byte { return p.packet(p.tcp(p.seq+1, header.TCPFlagRst)) }

// port returns the source port, one of those that Linux gives to clients.
func (p probe) port() uint16 { return 32768 + p.id%28232 }

func (p probe) echo() []byte {
	const data = "ztbridge path check"
	if p.src.Is4() {
		h := header.ICMPv4(append(make([]byte, header.ICMPv4MinimumSize), data...))
		h.SetType(header.ICMPv4Echo)
		h.SetIdent(p.id)
		h.SetSequence(1)
		h.SetChecksum(^checksum.Checksum(h, 0))
		return h
	}
	h := header.ICMPv6(append(make([]byte, header.ICMPv6EchoMinimumSize), data...))
	h.SetType(header.ICMPv6EchoRequest)
	h.SetIdent(p.id)
	h.SetSequence(1)
	h.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: h,
		Src: tcpip.AddrFromSlice(p.src.AsSlice()), Dst: tcpip.AddrFromSlice(p.dst.AsSlice())}))
	return h
}

func (p probe) udp(port uint16, payload []byte) []byte {
	h := header.UDP(append(make([]byte, header.UDPMinimumSize), payload...))
	length := uint16(len(h))
	h.Encode(&header.UDPFields{SrcPort: p.port(), DstPort: port, Length: length})
	h.SetChecksum(^checksum.Checksum(h, p.pseudoHeader(header.UDPProtocolNumber, length)))
	return h
}

func (p probe) tcp(seq uint32, flags header.TCPFlags) []byte {
	h := header.TCP(make([]byte, header.TCPMinimumSize))
	h.Encode(&header.TCPFields{SrcPort: p.port(), DstPort: WebPort, SeqNum: seq, Flags: flags,
		DataOffset: header.TCPMinimumSize, WindowSize: 65535})
	h.SetChecksum(^checksum.Checksum(h,
		p.pseudoHeader(header.TCPProtocolNumber, header.TCPMinimumSize)))
	return h
}

// pseudoHeader returns the sum of the addresses, protocol and length that UDP and TCP cover.
func (p probe) pseudoHeader(proto tcpip.TransportProtocolNumber, length uint16) uint16 {
	return header.PseudoHeaderChecksum(proto, tcpip.AddrFromSlice(p.src.AsSlice()),
		tcpip.AddrFromSlice(p.dst.AsSlice()), length)
}

// packet puts the IP header before a payload.
func (p probe) packet(payload []byte) []byte {
	proto := [...][2]tcpip.TransportProtocolNumber{
		Echo: {header.ICMPv4ProtocolNumber, header.ICMPv6ProtocolNumber},
		DNS:  {header.UDPProtocolNumber, header.UDPProtocolNumber},
		TCP:  {header.TCPProtocolNumber, header.TCPProtocolNumber},
		UDP:  {header.UDPProtocolNumber, header.UDPProtocolNumber},
	}[p.kind]
	src, dst := tcpip.AddrFromSlice(p.src.AsSlice()), tcpip.AddrFromSlice(p.dst.AsSlice())
	length := uint16(len(payload))
	if p.src.Is4() {
		h := header.IPv4(make([]byte, header.IPv4MinimumSize))
		h.Encode(&header.IPv4Fields{TotalLength: header.IPv4MinimumSize + length, ID: p.id,
			TTL: hops, Protocol: uint8(proto[0]), SrcAddr: src, DstAddr: dst})
		h.SetChecksum(^h.CalculateChecksum())
		return append(h, payload...)
	}
	h := header.IPv6(make([]byte, header.IPv6MinimumSize))
	h.Encode(&header.IPv6Fields{PayloadLength: length, TransportProtocol: proto[1],
		HopLimit: hops, SrcAddr: src, DstAddr: dst})
	return append(h, payload...)
}

// answer is a packet that came back.
type answer struct {
	kind Kind
	id   uint16 // of the probe; for DNS and TCP only the port is compared as well
	port uint16
	dst  netip.Addr // of the answer: the client
	src  netip.Addr
	ack  uint32
	hops uint8 // the hop limit that is left
	// open reports whether a TCP connection would have been opened.
	open  bool
	wrong netip.Addr // of DNS: an address that the name does not have
	// closed reports whether the target itself says that nobody listens there.
	closed bool
	// refused is why nothing can be got: empty for a good answer.
	refused string
}

// parse returns what a packet answers; false for what is no answer to any check. A fragment, and
// an IPv6 packet with extension headers, is none: the answers to our packets need neither.
func parse(b []byte) (answer, bool) {
	var a answer
	proto, payload, ok := a.network(b)
	if !ok {
		return a, false
	}
	switch proto {
	case header.ICMPv4ProtocolNumber:
		return a.icmp4(payload)
	case header.ICMPv6ProtocolNumber:
		return a.icmp6(payload)
	case header.UDPProtocolNumber:
		return a.udp(payload)
	case header.TCPProtocolNumber:
		return a.tcp(payload, a.hops == hops)
	}
	return a, false
}

// network reads the IP header into the answer and returns what follows; false if it is none.
func (a *answer) network(b []byte) (
	proto tcpip.TransportProtocolNumber, payload []byte, ok bool) {
	switch header.IPVersion(b) {
	case header.IPv4Version:
		h := header.IPv4(b)
		if !h.IsValid(len(b)) || h.More() || h.FragmentOffset() != 0 {
			return 0, nil, false
		}
		a.src, a.dst = address(h.SourceAddress()), address(h.DestinationAddress())
		a.hops = h.TTL()
		return h.TransportProtocol(), h.Payload(), true
	case header.IPv6Version:
		h := header.IPv6(b)
		if !h.IsValid(len(b)) {
			return 0, nil, false
		}
		a.src, a.dst = address(h.SourceAddress()), address(h.DestinationAddress())
		a.hops = h.HopLimit()
		return tcpip.TransportProtocolNumber(h.NextHeader()), h.Payload(), true
	}
	return 0, nil, false
}

func (a answer) icmp4(h header.ICMPv4) (answer, bool) {
	if len(h) < header.ICMPv4MinimumSize {
		return a, false
	}
	switch h.Type() {
	case header.ICMPv4EchoReply:
		a.kind, a.id = Echo, h.Ident()
		return a, true
	case header.ICMPv4DstUnreachable:
		return a.quoted(h.Payload(), unreachable4[h.Code()])
	}
	return a, false
}

func (a answer) icmp6(h header.ICMPv6) (answer, bool) {
	if len(h) < header.ICMPv6ErrorHeaderSize {
		return a, false
	}
	switch h.Type() {
	case header.ICMPv6EchoReply:
		a.kind, a.id = Echo, h.Ident()
		return a, true
	case header.ICMPv6DstUnreachable:
		return a.quoted(h[header.ICMPv6ErrorHeaderSize:], unreachable6[h.Code()])
	}
	return a, false
}

// noPort names the error of a host where nobody listens.
const noPort = "port unreachable"

// unreachable4 names the codes of ICMP type 3 that routers and hosts send (RFC 1812, 5.2.7.1).
var unreachable4 = map[header.ICMPv4Code]string{
	0: "network unreachable", 1: "host unreachable", 2: "protocol unreachable",
	3: noPort, 4: "fragmentation needed", 5: "source route failed",
	6: "network unknown", 7: "host unknown", 9: "network prohibited", 10: "host prohibited",
	11: "network unreachable for this service", 12: "host unreachable for this service",
	13: "communication prohibited",
}

// unreachable6 names the codes of ICMPv6 type 1 (RFC 4443, 3.1).
var unreachable6 = map[header.ICMPv6Code]string{
	0: "no route", 1: "communication prohibited", 2: "beyond the scope of the source",
	3: "address unreachable", 4: noPort, 5: "source refused by policy",
	6: "route rejected",
}

func (a answer) udp(h header.UDP) (answer, bool) {
	var m dns.Msg
	if len(h) >= header.UDPMinimumSize && h.SourcePort() == WebPort {
		a.kind, a.port = UDP, h.DestinationPort()
		return a.quic(h.Payload())
	}
	if len(h) < header.UDPMinimumSize || h.SourcePort() != dnsPort ||
		m.Unpack(h.Payload()) != nil || !m.Response {
		return a, false
	}
	a.kind, a.id, a.port, a.wrong = DNS, m.Id, h.DestinationPort(), WrongAddress(&m)
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		a.refused = "answers " + dns.RcodeToString[m.Rcode]
	}
	return a, true
}

func (a answer) tcp(h header.TCP, local bool) (answer, bool) {
	if len(h) < header.TCPMinimumSize || h.SourcePort() != WebPort {
		return a, false
	}
	flags := h.Flags()
	if !flags.Contains(header.TCPFlagAck) ||
		!flags.Intersects(header.TCPFlagSyn|header.TCPFlagRst) {
		return a, false
	}
	a.kind, a.port, a.ack = TCP, h.DestinationPort(), h.AckNumber()
	a.open = flags.Contains(header.TCPFlagSyn)
	if !a.open && local {
		a.refused = "this box resets the connection"
	}
	return a, true
}

// quoted reads the packet that an ICMP error is about. It may be cut after 8 bytes of its payload.
func (a answer) quoted(b []byte, code string) (answer, bool) {
	const ports, toPort = 4, 2
	var proto tcpip.TransportProtocolNumber
	var to netip.Addr
	switch {
	case len(b) >= header.IPv4MinimumSize && header.IPVersion(b) == header.IPv4Version:
		h := header.IPv4(b)
		to = address(h.DestinationAddress())
		proto, b = h.TransportProtocol(), b[min(int(h.HeaderLength()), len(b)):]
	case len(b) >= header.IPv6MinimumSize && header.IPVersion(b) == header.IPv6Version:
		to = address(header.IPv6(b).DestinationAddress())
		proto = tcpip.TransportProtocolNumber(header.IPv6(b).NextHeader())
		b = b[header.IPv6MinimumSize:]
	default:
		return a, false
	}
	if len(b) < ports+4 {
		return a, false
	}
	code = cmp.Or(code, "unreachable")
	a.refused = fmt.Sprintf("%s says: %s", a.src, code)
	a.closed = a.src == to && code == noPort
	a.port = binary.BigEndian.Uint16(b)
	switch proto {
	case header.ICMPv4ProtocolNumber, header.ICMPv6ProtocolNumber:
		a.kind, a.id = Echo, binary.BigEndian.Uint16(b[ports:])
	case header.UDPProtocolNumber:
		a.kind = DNS
		if binary.BigEndian.Uint16(b[toPort:]) == WebPort {
			a.kind = UDP
		}
	case header.TCPProtocolNumber:
		a.kind, a.ack = TCP, binary.BigEndian.Uint32(b[ports:])+1
	default:
		return a, false
	}
	return a, true
}

// answers reports whether the answer is one to the probe. Its source may be another than was
// asked, for errors alone.
func (a answer) answers(p probe) bool {
	if a.kind != p.kind || a.dst != p.src || a.refused == "" && a.src != p.dst {
		return false
	}
	switch p.kind {
	case Echo:
		return a.id == p.id
	case DNS, UDP:
		return a.port == p.port() && (a.id == p.id || a.id == 0)
	default:
		return a.port == p.port() && a.ack == p.seq+1
	}
}

func address(a tcpip.Address) netip.Addr {
	addr, _ := netip.AddrFromSlice(a.AsSlice())
	return addr
}

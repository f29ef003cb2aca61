package pathcheck

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/miekg/dns"
)

// Kind is what a check asks for.
type Kind uint8

// The kinds of check.
const (
	Echo Kind = iota // ICMP echo
	DNS              // a query over UDP
	TCP              // the handshake of a connection, which is reset at once
	kinds
)

// Kinds lists them.
var Kinds = [kinds]Kind{Echo, DNS, TCP}

func (k Kind) String() string { return [...]string{"ping", "DNS", "TCP"}[k] }

const (
	dnsPort = 53
	// tcpPort is the port of handshakes: what listens on it is what most clients want.
	tcpPort = 443
	// hops is the hop limit that this box, and every Linux, begins with. An answer that still has
	// all of it was made on this box.
	hops = 64
)

// probe is one question: what leaves, and by what its answer is known.
type probe struct {
	kind     Kind
	src, dst netip.Addr
	id       uint16 // of the echo, the query, and as the port of the client
	seq      uint32 // of TCP
}

// marshal returns the IP packet.
func (p probe) marshal() ([]byte, error) {
	var l []gopacket.SerializableLayer
	switch p.kind {
	case Echo:
		l = p.echo()
	case DNS:
		query := dns.Msg{MsgHdr: dns.MsgHdr{Id: p.id, RecursionDesired: true},
			Question: []dns.Question{{Name: ".", Qtype: dns.TypeSOA, Qclass: dns.ClassINET}}}
		b, err := query.Pack()
		if err != nil {
			return nil, fmt.Errorf("packing a query: %w", err)
		}
		udp := &layers.UDP{SrcPort: layers.UDPPort(p.port()), DstPort: dnsPort}
		l = []gopacket.SerializableLayer{udp, gopacket.Payload(b)}
	case TCP:
		l = []gopacket.SerializableLayer{&layers.TCP{SrcPort: layers.TCPPort(p.port()),
			DstPort: tcpPort, Seq: p.seq, SYN: true, Window: 65535}}
	}
	return p.packet(l)
}

// reset returns the packet that ends a connection which was answered, so that nothing is left of
// it in connection tracking or at the other end.
func (p probe) reset() ([]byte, error) {
	return p.packet([]gopacket.SerializableLayer{&layers.TCP{SrcPort: layers.TCPPort(p.port()),
		DstPort: tcpPort, Seq: p.seq + 1, RST: true}})
}

// port returns the source port, one of those that Linux gives to clients.
func (p probe) port() uint16 { return 32768 + p.id%28232 }

func (p probe) echo() []gopacket.SerializableLayer {
	data := gopacket.Payload("ztbridge path check")
	if p.src.Is4() {
		return []gopacket.SerializableLayer{&layers.ICMPv4{Id: p.id, Seq: 1,
			TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0)}, data}
	}
	return []gopacket.SerializableLayer{&layers.ICMPv6{
		TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeEchoRequest, 0)},
		&layers.ICMPv6Echo{Identifier: p.id, SeqNumber: 1}, data}
}

// packet puts the IP header before the layers, and their checksums in.
func (p probe) packet(l []gopacket.SerializableLayer) ([]byte, error) {
	proto := map[Kind][2]layers.IPProtocol{
		Echo: {layers.IPProtocolICMPv4, layers.IPProtocolICMPv6},
		DNS:  {layers.IPProtocolUDP, layers.IPProtocolUDP},
		TCP:  {layers.IPProtocolTCP, layers.IPProtocolTCP},
	}[p.kind]
	var ip interface {
		gopacket.NetworkLayer
		gopacket.SerializableLayer
	}
	if p.src.Is4() {
		ip = &layers.IPv4{Version: 4, TTL: hops, Id: p.id, Protocol: proto[0],
			SrcIP: p.src.AsSlice(), DstIP: p.dst.AsSlice()}
	} else {
		ip = &layers.IPv6{Version: 6, HopLimit: hops, NextHeader: proto[1],
			SrcIP: p.src.AsSlice(), DstIP: p.dst.AsSlice()}
	}
	for _, layer := range l {
		if c, ok := layer.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); ok {
			if err := c.SetNetworkLayerForChecksum(ip); err != nil {
				return nil, fmt.Errorf("making a packet: %w", err)
			}
		}
	}
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	err := gopacket.SerializeLayers(buf, opts, append([]gopacket.SerializableLayer{ip}, l...)...)
	if err != nil {
		return nil, fmt.Errorf("making a packet: %w", err)
	}
	return buf.Bytes(), nil
}

// answer is a packet that came back.
type answer struct {
	kind Kind
	id   uint16 // of the probe; for DNS and TCP only the port is compared as well
	port uint16
	dst  netip.Addr // of the answer: the client
	src  netip.Addr
	ack  uint32
	// open reports whether a TCP connection would have been opened.
	open bool
	// refused is why nothing can be got: empty for a good answer.
	refused string
}

// parse returns what a packet answers; false for what is no answer to any check.
func parse(b []byte) (answer, bool) {
	first := layers.LayerTypeIPv4
	if len(b) > 0 && b[0]>>4 == 6 {
		first = layers.LayerTypeIPv6
	}
	pkt := gopacket.NewPacket(b, first, gopacket.DecodeOptions{NoCopy: true})
	var a answer
	var local bool
	switch ip := pkt.NetworkLayer().(type) {
	case *layers.IPv4:
		a.src, a.dst = address(ip.SrcIP), address(ip.DstIP)
		local = ip.TTL == hops
	case *layers.IPv6:
		a.src, a.dst = address(ip.SrcIP), address(ip.DstIP)
		local = ip.HopLimit == hops
	default:
		return a, false
	}
	for _, l := range pkt.Layers() {
		switch l := l.(type) {
		case *layers.ICMPv4:
			return a.icmp4(l)
		case *layers.ICMPv6:
			return a.icmp6(l)
		case *layers.UDP:
			return a.udp(l)
		case *layers.TCP:
			return a.tcp(l, local)
		}
	}
	return a, false
}

func (a answer) icmp4(l *layers.ICMPv4) (answer, bool) {
	switch l.TypeCode.Type() {
	case layers.ICMPv4TypeEchoReply:
		a.kind, a.id = Echo, l.Id
		return a, true
	case layers.ICMPv4TypeDestinationUnreachable:
		return a.quoted(l.Payload, l.TypeCode.String())
	}
	return a, false
}

func (a answer) icmp6(l *layers.ICMPv6) (answer, bool) {
	const unused = 4 // bytes of the error's header before what it quotes
	switch {
	case l.TypeCode.Type() == layers.ICMPv6TypeEchoReply && len(l.Payload) >= unused:
		a.kind, a.id = Echo, binary.BigEndian.Uint16(l.Payload)
		return a, true
	case l.TypeCode.Type() == layers.ICMPv6TypeDestinationUnreachable && len(l.Payload) >= unused:
		return a.quoted(l.Payload[unused:], l.TypeCode.String())
	}
	return a, false
}

func (a answer) udp(l *layers.UDP) (answer, bool) {
	var m dns.Msg
	if l.SrcPort != dnsPort || m.Unpack(l.Payload) != nil || !m.Response {
		return a, false
	}
	a.kind, a.id, a.port = DNS, m.Id, uint16(l.DstPort)
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		a.refused = "the DNS server answers " + dns.RcodeToString[m.Rcode]
	}
	return a, true
}

func (a answer) tcp(l *layers.TCP, local bool) (answer, bool) {
	if l.SrcPort != tcpPort || !l.ACK || !l.SYN && !l.RST {
		return a, false
	}
	a.kind, a.port, a.ack, a.open = TCP, uint16(l.DstPort), l.Ack, l.SYN
	if l.RST && local {
		a.refused = "this box resets the connection"
	}
	return a, true
}

// quoted reads the packet that an ICMP error is about.
func (a answer) quoted(b []byte, code string) (answer, bool) {
	const ports = 4
	var proto layers.IPProtocol
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		proto = layers.IPProtocol(b[9])
		b = b[min(int(b[0]&15)*4, len(b)):]
	case len(b) >= 40 && b[0]>>4 == 6:
		proto, b = layers.IPProtocol(b[6]), b[40:]
	default:
		return a, false
	}
	if len(b) < ports+4 {
		return a, false
	}
	a.refused = fmt.Sprintf("%s says %s", a.src, code)
	a.port = binary.BigEndian.Uint16(b)
	switch proto {
	case layers.IPProtocolICMPv4, layers.IPProtocolICMPv6:
		a.kind, a.id = Echo, binary.BigEndian.Uint16(b[ports:])
	case layers.IPProtocolUDP:
		a.kind = DNS
	case layers.IPProtocolTCP:
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
	case DNS:
		return a.port == p.port() && (a.id == p.id || a.id == 0)
	default:
		return a.port == p.port() && a.ack == p.seq+1
	}
}

func address(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a.Unmap()
}

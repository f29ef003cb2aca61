package netlab

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Packet is a captured frame and what its headers say.
type Packet struct {
	At       time.Time
	Outgoing bool       // sent by the host on whose interface it was captured
	Src, Dst netip.Addr // zero if it is not IP
	Proto    string     // "udp", "tcp", "icmp", "icmpv6", "arp", "ip" (another), "frame" (not IP)
	SrcPort  uint16
	DstPort  uint16
	// the frame, from its Ethernet header on; of a TUN device, from its IP header on
	Data []byte
}

// String prints the packet in one line, for failure messages.
func (p Packet) String() string {
	dir := "in "
	if p.Outgoing {
		dir = "out"
	}
	at := p.At.Format("15:04:05.000")
	if p.SrcPort != 0 || p.DstPort != 0 {
		return fmt.Sprintf("%s %s %s %s > %s, %d bytes", at, dir, p.Proto,
			netip.AddrPortFrom(p.Src, p.SrcPort), netip.AddrPortFrom(p.Dst, p.DstPort), len(p.Data))
	}
	return fmt.Sprintf("%s %s %s %s > %s, %d bytes", at, dir, p.Proto, p.Src, p.Dst, len(p.Data))
}

// Match selects packets.
type Match func(Packet) bool

// Within matches packets whose source or destination is inside one of the prefixes.
func Within(prefixes ...netip.Prefix) Match {
	return func(p Packet) bool {
		return slices.ContainsFunc(prefixes, func(prefix netip.Prefix) bool {
			return prefix.Contains(p.Src) || prefix.Contains(p.Dst)
		})
	}
}

// Carrying matches packets that hold the text anywhere: what is left of a client after its source
// address was translated.
func Carrying(marker string) Match {
	return func(p Packet) bool { return bytes.Contains(p.Data, []byte(marker)) }
}

// Any matches packets that one of the matches selects; without matches, every packet.
func Any(matches ...Match) Match {
	return func(p Packet) bool {
		return len(matches) == 0 ||
			slices.ContainsFunc(matches, func(m Match) bool { return m(p) })
	}
}

// decoder turns frames into packets. It keeps its buffers; one goroutine uses it.
type decoder struct {
	parsers map[gopacket.LayerType]*gopacket.DecodingLayerParser // by the first layer
	decoded []gopacket.LayerType
	eth     layers.Ethernet
	arp     layers.ARP
	ip4     layers.IPv4
	ip6     layers.IPv6
	tcp     layers.TCP
	udp     layers.UDP
	icmp4   layers.ICMPv4
	icmp6   layers.ICMPv6
}

func newDecoder() *decoder {
	d := &decoder{parsers: make(map[gopacket.LayerType]*gopacket.DecodingLayerParser)}
	for _, first := range []gopacket.LayerType{layers.LayerTypeEthernet, layers.LayerTypeIPv4,
		layers.LayerTypeIPv6} {
		parser := gopacket.NewDecodingLayerParser(first, &d.eth, &d.arp, &d.ip4, &d.ip6, &d.tcp,
			&d.udp, &d.icmp4, &d.icmp6)
		parser.IgnoreUnsupported = true
		d.parsers[first] = parser
	}
	return d
}

// decode reads the headers of a frame, or of a packet from a device without Ethernet. What cannot
// be decoded is left zero: a damaged packet is a packet still, and its content is searched like any
// other's. data is not copied.
func (d *decoder) decode(data []byte, ethernet bool) Packet {
	p := Packet{Proto: "frame", Data: data}
	first := layers.LayerTypeEthernet
	if !ethernet {
		first = layers.LayerTypeIPv4
		if len(data) > 0 && data[0]>>4 == 6 {
			first = layers.LayerTypeIPv6
		}
	}
	d.decoded = d.decoded[:0]
	_ = d.parsers[first].DecodeLayers(data, &d.decoded)
	for _, layer := range d.decoded {
		switch layer {
		case layers.LayerTypeARP:
			p.Proto = "arp"
			p.Src, _ = netip.AddrFromSlice(d.arp.SourceProtAddress)
			p.Dst, _ = netip.AddrFromSlice(d.arp.DstProtAddress)
		case layers.LayerTypeIPv4:
			p.Proto = "ip"
			p.Src, _ = netip.AddrFromSlice(d.ip4.SrcIP)
			p.Dst, _ = netip.AddrFromSlice(d.ip4.DstIP)
		case layers.LayerTypeIPv6:
			p.Proto = "ip"
			p.Src, _ = netip.AddrFromSlice(d.ip6.SrcIP)
			p.Dst, _ = netip.AddrFromSlice(d.ip6.DstIP)
		case layers.LayerTypeTCP:
			p.Proto, p.SrcPort, p.DstPort = "tcp", uint16(d.tcp.SrcPort), uint16(d.tcp.DstPort)
		case layers.LayerTypeUDP:
			p.Proto, p.SrcPort, p.DstPort = "udp", uint16(d.udp.SrcPort), uint16(d.udp.DstPort)
		case layers.LayerTypeICMPv4:
			p.Proto = "icmp"
		case layers.LayerTypeICMPv6:
			p.Proto = "icmpv6"
		}
	}
	p.Src, p.Dst = p.Src.Unmap(), p.Dst.Unmap()
	return p
}

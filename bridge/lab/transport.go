package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/miekg/dns"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// datagram is a transport over one socket. UDP, DNS and Ping differ in how they encode a request
// and read an answer.
type datagram struct {
	conn   net.PacketConn
	to     net.Addr
	encode func(seq uint64) ([]byte, error)
	decode func(b []byte) (seq uint64, egress netip.Addr, ok bool)
	wg     sync.WaitGroup
}

func (d *datagram) start(t *tracker) *datagram {
	d.wg.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			size, _, err := d.conn.ReadFrom(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue // an ICMP error about an earlier request
			}
			if seq, egress, ok := d.decode(buf[:size]); ok {
				t.answered(seq, egress)
			}
		}
	})
	return d
}

func (d *datagram) send(seq uint64) error {
	b, err := d.encode(seq)
	if err != nil {
		return err
	}
	_, err = d.conn.WriteTo(b, d.to)
	return err
}

func (d *datagram) close() {
	_ = d.conn.Close()
	d.wg.Wait()
}

// udpConn opens the socket of a UDP or DNS stream, of the target's family only.
func udpConn(cfg StreamConfig) (net.PacketConn, error) {
	network := "udp4"
	if cfg.To.Addr().Is6() {
		network = "udp6"
	}
	local := ":0"
	if cfg.Source.IsValid() {
		local = netip.AddrPortFrom(cfg.Source, 0).String()
	}
	return cfg.From.ListenPacket(network, local)
}

func newUDPTransport(cfg StreamConfig, t *tracker) (transport, error) {
	conn, err := udpConn(cfg)
	if err != nil {
		return nil, err
	}
	d := &datagram{conn: conn, to: net.UDPAddrFromAddrPort(cfg.To)}
	d.encode = func(seq uint64) ([]byte, error) {
		return frame{marker: cfg.Marker, seq: seq}.marshal(), nil
	}
	d.decode = func(b []byte) (uint64, netip.Addr, bool) {
		f, ok := parseFrame(b)
		return f.seq, f.observed, ok && f.marker == cfg.Marker
	}
	return d.start(t), nil
}

// newDNSTransport asks for names below WhoZone, which the lab's DNS servers answer with the address
// they were asked from.
func newDNSTransport(cfg StreamConfig, t *tracker) (transport, error) {
	conn, err := udpConn(cfg)
	if err != nil {
		return nil, err
	}
	qtype := dns.TypeA
	if cfg.To.Addr().Is6() {
		qtype = dns.TypeAAAA
	}
	d := &datagram{conn: conn, to: net.UDPAddrFromAddrPort(cfg.To)}
	d.encode = func(seq uint64) ([]byte, error) {
		m := new(dns.Msg)
		m.SetQuestion(fmt.Sprintf("%d.%s.%s", seq, cfg.Marker, WhoZone), qtype)
		return m.Pack()
	}
	d.decode = func(b []byte) (seq uint64, egress netip.Addr, ok bool) {
		m := new(dns.Msg)
		if err := m.Unpack(b); err != nil || !m.Response || m.Rcode != dns.RcodeSuccess ||
			len(m.Question) != 1 {
			return 0, egress, false
		}
		_, err := fmt.Sscanf(m.Question[0].Name, "%d."+cfg.Marker, &seq)
		return seq, answerAddr(m), err == nil
	}
	return d.start(t), nil
}

// answerAddr returns the first address in an answer.
func answerAddr(m *dns.Msg) netip.Addr {
	for _, rr := range m.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			a, _ := netip.AddrFromSlice(rr.A)
			return a.Unmap()
		case *dns.AAAA:
			a, _ := netip.AddrFromSlice(rr.AAAA)
			return a
		}
	}
	return netip.Addr{}
}

func newPingTransport(cfg StreamConfig, t *tracker) (transport, error) {
	network, proto, local := "ip4:icmp", 1, "0.0.0.0"
	var request, reply icmp.Type = ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply
	if cfg.To.Addr().Is6() {
		network, proto, local = "ip6:ipv6-icmp", 58, "::"
		request, reply = ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply
	}
	if cfg.Source.IsValid() {
		local = cfg.Source.String()
	}
	conn, err := cfg.From.ListenPacket(network, local)
	if err != nil {
		return nil, err
	}
	// The marker tells our answers from those of other streams; the id tells the flows apart for
	// NAT.
	id := int(cfg.Marker[0])<<8 | int(cfg.Marker[1])
	d := &datagram{conn: conn, to: &net.IPAddr{IP: cfg.To.Addr().AsSlice()}}
	d.encode = func(seq uint64) ([]byte, error) {
		data := frame{marker: cfg.Marker, seq: seq}.marshal()
		return (&icmp.Message{Type: request,
			Body: &icmp.Echo{ID: id, Seq: int(seq & 0xffff), Data: data}}).Marshal(nil)
	}
	d.decode = func(b []byte) (uint64, netip.Addr, bool) {
		m, err := icmp.ParseMessage(proto, b)
		if err != nil || m.Type != reply {
			return 0, netip.Addr{}, false
		}
		echo, ok := m.Body.(*icmp.Echo)
		if !ok {
			return 0, netip.Addr{}, false
		}
		f, ok := parseFrame(echo.Data)
		return f.seq, netip.Addr{}, ok && f.marker == cfg.Marker
	}
	return d.start(t), nil
}

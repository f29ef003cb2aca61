package ndp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/mdlayher/ndp"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

var (
	router = netip.MustParseAddr("fe80::1")
	member = netip.MustParseAddr("2001:db8:1:0:80::7")
	group  = netip.MustParseAddr("ff02::1:ff00:7")
	mac    = net.HardwareAddr{2, 0, 0, 0, 0, 9}
)

// packet builds an IPv6 packet around an ICMPv6 message.
func datagram(t testing.TB, src, dst netip.Addr, m ndp.Message) []byte {
	t.Helper()
	body, err := ndp.MarshalMessageChecksum(m, src, dst)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, headerLen)
	b[0], b[6], b[7] = 6<<4, unix.IPPROTO_ICMPV6, ndp.HopLimit
	binary.BigEndian.PutUint16(b[4:], uint16(len(body)))
	copy(b[8:], src.AsSlice())
	copy(b[24:], dst.AsSlice())
	return append(b, body...)
}

func solicit(target netip.Addr, options ...ndp.Option) *ndp.NeighborSolicitation {
	return &ndp.NeighborSolicitation{TargetAddress: target, Options: options}
}

func sourceOption() ndp.Option {
	return &ndp.LinkLayerAddress{Direction: ndp.Source, Addr: net.HardwareAddr{2, 0, 0, 0, 0, 1}}
}

func TestParse(t *testing.T) {
	none := netip.IPv6Unspecified()
	good := datagram(t, router, group, solicit(member, sourceOption()))
	change := func(f func([]byte)) []byte { b := bytes.Clone(good); f(b); return b }
	cases := []struct {
		name   string
		packet []byte
		valid  bool
	}{
		{"multicast", good, true},
		{"unicast probe", datagram(t, router, member, solicit(member, sourceOption())), true},
		{"without an option", datagram(t, router, group, solicit(member)), true},
		{"is it free (DAD)", datagram(t, none, group, solicit(member)), true},
		{"padded by the link", append(bytes.Clone(good), make([]byte, 30)...), true},
		{"DAD by unicast", datagram(t, none, member, solicit(member)), false},
		{"DAD with a source option", datagram(t, none, group, solicit(member, sourceOption())),
			false},
		{"another address's group",
			datagram(t, router, netip.MustParseAddr("ff02::1:ff00:8"), solicit(member)), false},
		{"all nodes", datagram(t, router, netip.IPv6LinkLocalAllNodes(), solicit(member)), false},
		{"multicast target", datagram(t, router, group, solicit(group)), false},
		{"from multicast", datagram(t, group, group, solicit(member)), false},
		{"an advertisement", datagram(t, router, group,
			&ndp.NeighborAdvertisement{TargetAddress: member}), false},
		{"from beyond the link", change(func(b []byte) { b[7] = 254 }), false},
		{"wrong checksum", change(func(b []byte) { b[60] ^= 1 }), false},
		{"code", change(func(b []byte) { b[41] = 1 }), false},
		{"another protocol", change(func(b []byte) { b[6] = 17 }), false},
		{"IPv4", change(func(b []byte) { b[0] = 0x45 }), false},
		{"cut", good[:len(good)-1], false},
		{"empty", nil, false},
		{"length of nothing", change(func(b []byte) { b[4], b[5] = 0, 0 }), false},
	}
	for _, c := range cases {
		s, err := parse(c.packet)
		if c.valid != (err == nil) || err != nil && !errors.Is(err, errInvalid) {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.valid && s.target != member {
			t.Errorf("%s: target %s", c.name, s.target)
		}
	}
}

func TestAnswer(t *testing.T) {
	own := netip.MustParseAddr("fe80::2")
	for _, c := range []struct {
		name      string
		from      netip.Addr
		to        netip.Addr
		solicited bool
	}{
		{"asked", router, router, true},
		{"DAD", netip.IPv6Unspecified(), netip.IPv6LinkLocalAllNodes(), false},
	} {
		raw, err := solicitation{source: c.from, target: member}.answer(own, mac)
		if err != nil {
			t.Fatal(err)
		}
		if got := netip.AddrFrom16([16]byte(raw[24:40])); got != c.to || raw[7] != 255 {
			t.Errorf("%s: to %s with hop limit %d", c.name, got, raw[7])
		}
		if icmp := header.ICMPv6(raw[headerLen:]); icmp.Checksum() != checksum(own, c.to, icmp) {
			t.Errorf("%s: wrong checksum", c.name)
		}
		m, err := ndp.ParseMessage(raw[headerLen:])
		na, ok := m.(*ndp.NeighborAdvertisement)
		if err != nil || !ok {
			t.Fatalf("%s: %v %v", c.name, m, err)
		}
		lla, ok := na.Options[0].(*ndp.LinkLayerAddress)
		if na.Solicited != c.solicited || na.Override || na.Router || na.TargetAddress != member ||
			!ok || lla.Direction != ndp.Target || lla.Addr.String() != mac.String() {
			t.Errorf("%s: %+v", c.name, na)
		}
	}
}

func TestWhatWeSentIsIgnored(t *testing.T) {
	asked := false
	p := New(Config{Iface: "x", Ours: func(netip.Addr) bool { asked = true; return false }})
	good := datagram(t, router, group, solicit(member))
	for _, kind := range []uint8{unix.PACKET_OUTGOING, unix.PACKET_OTHERHOST,
		unix.PACKET_BROADCAST} {
		if err := p.handle(context.Background(), nil, good,
			&unix.SockaddrLinklayer{Pkttype: kind}); err != nil || asked {
			t.Errorf("packet type %d: asked %v, %v", kind, asked, err)
		}
	}
	if err := p.handle(context.Background(), nil, good,
		&unix.SockaddrLinklayer{Pkttype: unix.PACKET_HOST}); err != nil || !asked {
		t.Errorf("a neighbour's: asked %v, %v", asked, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(datagram(f, router, group, solicit(member, sourceOption())))
	f.Add(datagram(f, netip.IPv6Unspecified(), group, solicit(member)))
	f.Add(datagram(f, router, group, solicit(member, ndp.NewMTU(1500))))
	filter, err := bpf.NewVM(solicitations)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := parse(raw)
		if err != nil {
			return
		}
		if n, err := filter.Run(raw); err != nil || n == 0 {
			t.Errorf("the socket's filter drops %x: %v", raw, err)
		}
		if !s.target.Is6() || !unicast(s.target) {
			t.Errorf("target %s of %x", s.target, raw)
		}
		if _, err := s.answer(netip.MustParseAddr("fe80::2"), mac); err != nil {
			t.Errorf("no answer to %x: %v", raw, err)
		}
	})
}

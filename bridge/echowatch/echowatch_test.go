package echowatch

import (
	"net/netip"
	"testing"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

func packet4(t testing.TB, typ icmp.Type, options int) []byte {
	t.Helper()
	body, err := (&icmp.Message{Type: typ,
		Body: &icmp.Echo{ID: 1, Seq: 2, Data: []byte("hello")}}).Marshal(nil)
	if err != nil {
		t.Fatal(err)
	}
	h := make([]byte, header4+options)
	h[0], h[9] = 4<<4|byte(len(h)/4), 1
	copy(h[16:], netip.MustParseAddr("192.0.2.1").AsSlice())
	return append(h, body...)
}

func packet6(t testing.TB, typ icmp.Type) []byte {
	t.Helper()
	body, err := (&icmp.Message{Type: typ,
		Body: &icmp.Echo{ID: 1, Seq: 2, Data: []byte("hello")}}).Marshal(nil)
	if err != nil {
		t.Fatal(err)
	}
	h := make([]byte, header6)
	h[0], h[6] = 6<<4, 58
	copy(h[24:], netip.MustParseAddr("2001:db8::1").AsSlice())
	return append(h, body...)
}

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name   string
		packet []byte
		parse  func([]byte) (Echo, bool)
		reply  bool
		dst    string // empty: no echo
	}{
		{"request", packet4(t, ipv4.ICMPTypeEcho, 0), parse4, false, "192.0.2.1"},
		{"reply, with options", packet4(t, ipv4.ICMPTypeEchoReply, 8), parse4, true, "192.0.2.1"},
		{"another message", packet4(t, ipv4.ICMPTypeTimestamp, 0), parse4, false, ""},
		{"cut short", packet4(t, ipv4.ICMPTypeEcho, 0)[:header4+4], parse4, false, ""},
		{"IPv6 request", packet6(t, ipv6.ICMPTypeEchoRequest), parse6, false, "2001:db8::1"},
		{"IPv6 reply", packet6(t, ipv6.ICMPTypeEchoReply), parse6, true, "2001:db8::1"},
		{"IPv6 another message", packet6(t, ipv6.ICMPTypeNeighborSolicitation), parse6, false, ""},
		{"of the other version", packet6(t, ipv6.ICMPTypeEchoRequest), parse4, false, ""},
		{"nothing", nil, parse6, false, ""},
	} {
		e, ok := tc.parse(tc.packet)
		if ok != (tc.dst != "") || ok && (e.Reply != tc.reply ||
			e.Dst != netip.MustParseAddr(tc.dst) || string(e.Data) != "hello") {
			t.Errorf("%s: %+v, %v", tc.name, e, ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(packet4(f, ipv4.ICMPTypeEcho, 4))
	f.Add(packet6(f, ipv6.ICMPTypeEchoReply))
	f.Add([]byte{0x4f, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, v := range versions {
			if e, ok := v.parse(b); ok && len(e.Data) > len(b)-headerEcho-header4 {
				t.Errorf("%d bytes of data in a packet of %d", len(e.Data), len(b))
			}
		}
	})
}

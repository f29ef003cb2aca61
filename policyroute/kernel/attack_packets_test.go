package kernel

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
	"ztbridge/policyroute/policytest"
)

// oddPackets are what a member may send beside TCP, UDP and echo requests: other protocols,
// tunnels, fragments, extension headers, and multicast.
func oddPackets() [][]byte {
	const src, src6, there, there6 = "10.147.17.50", "fd80:56c2:e21c::50", "8.8.8.8",
		"2606:4700::8"
	content := append(bytes.Repeat([]byte{0, 1}, 16), marker...) // headers of small numbers
	inner := ipv4("10.147.17.50", "8.8.8.8", 64, unix.IPPROTO_UDP, udp(4000, marker))
	inner6 := ipv6(src6, there6, 64, unix.IPPROTO_UDP, udp6(src6, there6, 4000, marker))
	var out [][]byte
	for _, to := range []string{there, "203.0.113.1", "224.0.0.251", "239.1.2.3",
		"255.255.255.255", "203.0.113.255"} {
		for _, proto := range []byte{2, 4, 33, 41, 47, 50, 51, 89, 94, 112, 115, 132, 136, 253} {
			body := content
			switch proto {
			case 4:
				body = inner
			case 41:
				body = inner6
			}
			out = append(out, ipv4(src, to, 64, proto, body))
		}
		out = append(out, ipv4(src, to, 64, unix.IPPROTO_UDP, udp(3544, marker)), // Teredo
			ipv4(src, to, 64, unix.IPPROTO_UDP, udp(4789, marker)), // VXLAN
			fragment(ipv4(src, to, 64, unix.IPPROTO_UDP, udp(4000, marker)), true, 0),
			fragment(ipv4(src, to, 64, unix.IPPROTO_UDP, content), false, 64),
			sourceRouted(src, "10.147.17.1", to, marker))
	}
	for _, to := range []string{there6, "2001:db8::1", "ff02::fb", "ff05::2", "ff0e::1"} {
		for _, proto := range []byte{4, 33, 41, 47, 50, 51, 59, 89, 115, 132, 136, 253} {
			body := content
			switch proto {
			case 4:
				body = inner
			case 41:
				body = inner6
			}
			out = append(out, ipv6(src6, to, 64, proto, body))
		}
		datagram := udp6(src6, to, 4000, marker)
		options := []byte{unix.IPPROTO_UDP, 0, 1, 4, 0, 0, 0, 0}
		out = append(out,
			ipv6(src6, to, 64, unix.IPPROTO_HOPOPTS, append(bytes.Clone(options), datagram...)),
			ipv6(src6, to, 64, unix.IPPROTO_DSTOPTS, append(bytes.Clone(options), datagram...)),
			ipv6(src6, to, 64, unix.IPPROTO_FRAGMENT,
				append([]byte{unix.IPPROTO_UDP, 0, 0, 1, 0, 0, 0, 7}, datagram...)),
			ipv6(src6, to, 64, unix.IPPROTO_FRAGMENT,
				append([]byte{unix.IPPROTO_UDP, 0, 1, 0, 0, 0, 0, 8}, content...)))
		last := netip.MustParseAddr(to).As16()
		for _, kind := range []byte{0, 2, 3, 4} {
			header := append([]byte{unix.IPPROTO_UDP, 2, kind, 1, 0, 0, 0, 0}, last[:]...)
			for _, first := range []string{"fd80:56c2:e21c::1", to} {
				out = append(out, ipv6(src6, first, 64, unix.IPPROTO_ROUTING,
					append(bytes.Clone(header), datagram...)))
			}
		}
	}
	return out
}

// fragment makes a packet one of a larger one, at an offset in bytes.
func fragment(p []byte, more bool, offset uint16) []byte {
	field := offset / 8
	if more {
		field |= 0x2000
	}
	binary.BigEndian.PutUint16(p[6:], field)
	binary.BigEndian.PutUint16(p[10:], 0)
	binary.BigEndian.PutUint16(p[10:], checksum(p[:20]))
	return p
}

// sourceRouted is a datagram to one address that asks to be sent on to another (RFC 791, loose
// source route).
func sourceRouted(src, via, dst, text string) []byte {
	p := ipv4(src, via, 64, unix.IPPROTO_UDP, udp(4000, text))
	d := netip.MustParseAddr(dst).As4()
	options := append([]byte{131, 7, 4}, append(d[:], 0)...)
	p = append(append(bytes.Clone(p[:20]), options...), p[20:]...)
	p[0] = 0x47
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	binary.BigEndian.PutUint16(p[10:], 0)
	binary.BigEndian.PutUint16(p[10:], checksum(p[:28]))
	return p
}

// TestOddPacketsDoNotLeak sends them by a member and by a client of the endpoint, while layers are
// missing. With a way out by the WAN, what leaves has the box's own address.
func TestOddPacketsDoNotLeak(t *testing.T) {
	l := newEndpointLab(t)
	l.box.sh(t, endpointUp+`
sysctl -qw net.ipv4.conf.all.accept_source_route=1 net.ipv4.conf.default.accept_source_route=1
for f in 203.0.113.1 203.0.113.255; do ip neigh replace $f lladdr `+wanMAC+` dev wanlab0; done`)
	inside := policytest.Prefixes("10.147.17.0/24", "fd80:56c2:e21c::/88", "10.9.0.0/24",
		"fd09::/64")
	isInside := func(a netip.Addr) bool {
		for _, p := range inside {
			if p.Contains(a) {
				return true
			}
		}
		return false
	}
	attack := func() {
		packets := oddPackets()
		l.client.do(func() { sendRaw(t, packets...) })
		for _, p := range packets {
			l.inject(t, p) // spoofed
			own := bytes.Clone(p)
			if own[0]>>4 == 4 {
				src := netip.MustParseAddr("10.9.0.2").As4()
				copy(own[12:], src[:])
				size := int(own[0]&15) * 4
				binary.BigEndian.PutUint16(own[10:], 0)
				binary.BigEndian.PutUint16(own[10:], checksum(own[:size]))
			} else {
				src := netip.MustParseAddr("fd09::2").As16()
				copy(own[8:], src[:])
			}
			l.inject(t, own)
		}
	}
	in := policytest.Duo()
	in.Egresses = exitIntent().Egresses
	in.Policies = []policyroute.Policy{{Name: "policy[0]", Egress: []string{"direct"},
		Use: "direct"}}
	exit, err := policyroute.Compile(in)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, fault string
		state       policyroute.State
		seen        func(int) bool // how many of a client's packets the WAN may see
		own         bool           // those with the box's own address do not count
	}{
		{"control", ":", policyroute.State{}, func(n int) bool { return n > 50 }, false},
		{"guard", ":", policyroute.Closed([]string{"zt*", "tunztbsrv"}), none, false},
		{"tunnel", ":", duo(t), none, false},
		{"tunnel, filter flushed", "nft flush ruleset", duo(t), none, false},
		{"tunnel, rules removed", flushOurRules, duo(t), none, false},
		{"tunnel, device gone", "ip link del tunztb0", duo(t), none, false},
		{"filter flushed, rules removed", "nft flush ruleset; " + flushOurRules, duo(t), none,
			false},
		{"wan", ":", exit, none, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l.tunnel(t)
			l.bring(t, tt.state)
			l.box.sh(t, "conntrack -F 2>/dev/null; "+tt.fault)
			attack()
			n := l.countIf(t, func(frame []byte) bool {
				if !bytes.Contains(frame, []byte(marker)) && !bytes.Contains(frame, []byte("quoted")) {
					return false
				}
				return !tt.own || isInside(source(frame))
			})
			t.Logf("the WAN saw %d packets of %d", n, 3*len(oddPackets()))
			if !tt.seen(n) {
				t.Errorf("the WAN saw %d", n)
			}
		})
	}
}

func none(n int) bool { return n == 0 }

func source(frame []byte) netip.Addr {
	var a netip.Addr
	switch {
	case len(frame) >= 34 && binary.BigEndian.Uint16(frame[12:]) == unix.ETH_P_IP:
		a, _ = netip.AddrFromSlice(frame[26:30])
	case len(frame) >= 54 && binary.BigEndian.Uint16(frame[12:]) == unix.ETH_P_IPV6:
		a, _ = netip.AddrFromSlice(frame[22:38])
	}
	return a
}

// segmentRouted is a datagram to one address that asks to be sent on to another, by a segment
// routing header (RFC 8754).
func segmentRouted(src, via, dst, text string) []byte {
	header := []byte{unix.IPPROTO_UDP, 4, 4, 1, 1, 0, 0, 0}
	for _, segment := range []string{dst, via} { // the last comes first
		a := netip.MustParseAddr(segment).As16()
		header = append(header, a[:]...)
	}
	return ipv6(src, via, 64, unix.IPPROTO_ROUTING,
		append(header, udp6(src, dst, 4000, text)...))
}

// TestSourceRoutesAreNotFollowed has a member reach another along a route of its own, by the box:
// for the filter such a packet is to the box. Nor is it followed where the filter is missing.
func TestSourceRoutesAreNotFollowed(t *testing.T) {
	l := newLeakLab(t)
	others := []string{"10.147.17.77", "fd80:56c2:e21c::77"}
	l.box.sh(t, `ip tuntap add dev tunztbsrv mode tun; ip link set tunztbsrv up
for a in `+strings.Join(others, " ")+`; do ip neigh replace $a lladdr 02:00:00:00:00:07 dev ztlab0; done`)
	scenes := attackScenes(t)
	scenes["control"] = policyroute.State{}
	for name, state := range scenes {
		for _, fault := range []string{":", "nft flush ruleset"} {
			t.Run(name+" "+fault, func(t *testing.T) {
				l.tunnel(t)
				l.bring(t, policyroute.State{})
				l.box.sh(t, `for i in all ztlab0; do sysctl -qw net.ipv4.conf.$i.accept_source_route=1 \
net.ipv6.conf.$i.seg6_enabled=1; done`)
				l.bring(t, state)
				if name == "guard" {
					l.box.do(func() {
						if err := guardSysctls(state, t.TempDir()+"/record"); err != nil {
							t.Error(err)
						}
					})
				}
				l.box.sh(t, fault)
				var capture int
				l.client.do(func() {
					capture = openCapture(t, "zt")
					sendRaw(t, sourceRouted("10.147.17.50", "10.147.17.1", others[0], marker),
						segmentRouted("fd80:56c2:e21c::50", "fd80:56c2:e21c::1", others[1], marker))
				})
				defer unix.Close(capture)
				l.box.do(func() { sendUDP(t, "10.147.17.50:9", "the fence") })
				buf, got, want := make([]byte, 2048), 0, 0
				for range 100 {
					n, _ := unix.Read(capture, buf)
					if n > 0 && strings.Contains(string(buf[:n]), "the fence") {
						break
					}
					if n > 0 && isTo(buf[:n], others) {
						got++
					}
				}
				if name == "control" {
					want = len(others)
				}
				if got != want {
					t.Errorf("another member was reached by %d packets, want %d", got, want)
				}
			})
		}
	}
}

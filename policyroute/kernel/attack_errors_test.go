package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
	"ztbridge/policyroute/policytest"
)

// icmpError is an ICMP error that quotes a packet; mtu matters where a packet was too big.
func icmpError(kind, code byte, mtu uint16, quoted []byte) []byte {
	b := append([]byte{kind, code, 0, 0, 0, 0, byte(mtu >> 8), byte(mtu)}, quoted...)
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return b
}

// icmp6Error is the same of ICMPv6.
func icmp6Error(src, dst string, kind, code byte, mtu uint16, quoted []byte) []byte {
	return icmp6Raw(src, dst,
		append([]byte{kind, code, 0, 0, 0, 0, byte(mtu >> 8), byte(mtu)}, quoted...))
}

// quoted4 and quoted6 are the beginning of a datagram, as an error quotes it.
func quoted4(src, dst netip.AddrPort) []byte {
	b := udp(dst.Port(), "quoted, as it were")
	binary.BigEndian.PutUint16(b, src.Port())
	return ipv4(src.Addr().String(), dst.Addr().String(), 60, unix.IPPROTO_UDP, b)
}

func quoted6(src, dst netip.AddrPort) []byte {
	s, d := src.Addr().String(), dst.Addr().String()
	b := udp6(s, d, dst.Port(), "quoted, as it were")
	binary.BigEndian.PutUint16(b, src.Port())
	return ipv6(s, d, 60, unix.IPPROTO_UDP, b)
}

// talker is a connected datagram socket of the box, as that of a tunnel's process.
type talker struct {
	fd         int
	here, peer netip.AddrPort
}

func (l *leakLab) talk(t *testing.T, peer string) talker {
	t.Helper()
	s := talker{peer: netip.MustParseAddrPort(peer)}
	var sa unix.Sockaddr = &unix.SockaddrInet6{Port: int(s.peer.Port()), Addr: s.peer.Addr().As16()}
	family := unix.AF_INET6
	if s.peer.Addr().Is4() {
		sa, family = &unix.SockaddrInet4{Port: int(s.peer.Port()), Addr: s.peer.Addr().As4()},
			unix.AF_INET
	}
	l.box.do(func() {
		var err error
		s.fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		err = errors.Join(err, unix.Connect(s.fd, sa))
		_, werr := unix.Write(s.fd, []byte("the box's own"))
		own, nerr := unix.Getsockname(s.fd)
		if err = errors.Join(err, werr, nerr); err != nil {
			t.Error(err)
			return
		}
		switch a := own.(type) {
		case *unix.SockaddrInet4:
			s.here = netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
		case *unix.SockaddrInet6:
			s.here = netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
		}
	})
	t.Cleanup(func() { _ = unix.Close(s.fd) })
	return s
}

// disturbed returns the error that somebody had the socket report; 0 if nobody did.
func (s talker) disturbed() int {
	errno, _ := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	return errno
}

const flushExceptions = "ip route flush cache; ip -6 route flush cache"

// TestErrorsAboutOthers sends ICMP errors that quote what the box itself sends by its WAN: a
// packet of a tunnel's process, and an echo request, for which Linux looks for no socket.
func TestErrorsAboutOthers(t *testing.T) {
	l := newEndpointLab(t)
	const echoed4, echoed6 = "198.51.100.9", "2606:4700::9"
	for _, from := range []struct {
		name     string
		send     func([]byte)
		src, dst [2]string
	}{
		{"member", func(p []byte) { l.client.do(func() { sendRaw(t, p) }) },
			[2]string{"10.147.17.50", "fd80:56c2:e21c::50"},
			[2]string{"10.147.17.1", "fd80:56c2:e21c::1"}},
		{"client", func(p []byte) { l.inject(t, p) }, [2]string{"10.9.0.2", "fd09::2"},
			[2]string{"10.9.0.1", "fd09::1"}},
	} {
		for name, state := range map[string]policyroute.State{"control": {}, "running": duo(t),
			"guard": policyroute.Closed([]string{"zt*", "tunztbsrv"})} {
			t.Run(from.name+", "+name, func(t *testing.T) {
				l.tunnel(t)
				l.bring(t, state)
				l.box.sh(t, endpointUp+"; conntrack -F 2>/dev/null; "+flushExceptions)
				four, six := l.talk(t, "198.51.100.7:1194"), l.talk(t, "[2606:4700::7]:1194")
				// To the addressee of the quoted packet and to that of the ingress.
				for _, to := range []string{from.dst[0], "203.0.113.2"} {
					for _, quoted := range [][]byte{quoted4(four.here, four.peer),
						ipv4("203.0.113.2", echoed4, 60, unix.IPPROTO_ICMP, echo(8, marker))} {
						from.send(ipv4(from.src[0], to, 64, unix.IPPROTO_ICMP,
							icmpError(3, 4, 576, quoted)))
						from.send(ipv4(from.src[0], to, 64, unix.IPPROTO_ICMP,
							icmpError(3, 3, 0, quoted)))
						from.send(ipv4(from.src[0], to, 64, unix.IPPROTO_ICMP,
							icmpError(12, 0, 0, quoted)))
					}
				}
				for _, to := range []string{from.dst[1], "2001:db8::2"} {
					for _, quoted := range [][]byte{quoted6(six.here, six.peer),
						ipv6("2001:db8::2", echoed6, 60, unix.IPPROTO_ICMPV6,
							icmp6("2001:db8::2", echoed6, 128, marker))} {
						for _, e := range []struct {
							kind, code byte
							mtu        uint16
						}{{2, 0, 1280}, {1, 4, 0}, {4, 1, 0}} {
							from.send(ipv6(from.src[1], to, 64, unix.IPPROTO_ICMPV6,
								icmp6Error(from.src[1], to, e.kind, e.code, e.mtu, quoted)))
						}
					}
				}
				var harm []string
				for _, to := range []string{four.peer.Addr().String(), echoed4,
					six.peer.Addr().String(), echoed6} {
					if out := l.box.sh(t, "ip route get "+to); strings.Contains(out, "mtu") {
						harm = append(harm, "path of "+to+" is smaller")
					}
				}
				for _, s := range []talker{four, six} {
					if e := s.disturbed(); e != 0 {
						harm = append(harm, fmt.Sprintf("socket to %s: %v", s.peer, unix.Errno(e)))
					}
				}
				t.Logf("harm: %q", harm)
				if name == "control" {
					if len(harm) < 5 {
						t.Errorf("without us there is too little harm: %q", harm)
					}
				} else if len(harm) > 0 {
					t.Errorf("errors did harm: %q", harm)
				}
			})
		}
	}
}

// exitIntent is policytest.Exit as any kernel carries it.
func exitIntent() policyroute.Intent {
	in := policytest.Exit()
	in.ForceForwarding6, in.Inbound = false, nil
	in.Egresses[0].Gateway6 = netip.MustParseAddr("2001:db8::1")
	return in
}

// TestErrorsAboutAnotherMember has one member send errors about what another sends by a way out:
// their translation would be undone, and they would reach the other. What comes by the way out
// itself does.
func TestErrorsAboutAnotherMember(t *testing.T) {
	l := newLeakLab(t)
	l.box.sh(t, "ip link set wanlab0 address 02:00:00:00:00:02")
	in := exitIntent()
	in.Peerings = []policyroute.Peering{{From: "zerotier", To: "zerotier"}}
	state, err := policyroute.Compile(in)
	if err != nil {
		t.Fatal(err)
	}
	l.bring(t, state)
	var capture int
	l.client.do(func() { capture = openCapture(t, "zt") })
	defer unix.Close(capture)
	// So that the box knows where it is: what waits for that would pass the fence late.
	l.client.sh(t, `ping -c1 10.147.17.1 && ping -c1 fd80:56c2:e21c::1
python3 - <<'E'
import socket
for family, here, to in (socket.AF_INET,"10.147.17.50","9.9.9.9"),(socket.AF_INET6,"fd80:56c2:e21c::50","2606:4700::9"):
    s=socket.socket(family,socket.SOCK_DGRAM); s.bind((here,5555)); s.sendto(b"hello",(to,4000))
E`)
	port := netip.MustParseAddrPort
	q4 := quoted4(port("203.0.113.2:5555"), port("9.9.9.9:4000"))
	q6 := quoted6(port("[2001:db8::2]:5555"), port("[2606:4700::9]:4000"))
	errorsFrom := func(iface, src4, src6 string) {
		for _, code := range []byte{3, 4} {
			sendRawBy(t, iface, ipv4(src4, "203.0.113.2", 64, unix.IPPROTO_ICMP,
				icmpError(3, code, 576, q4)))
		}
		for _, kind := range []byte{1, 2} {
			sendRawBy(t, iface, ipv6(src6, "2001:db8::2", 64, unix.IPPROTO_ICMPV6,
				icmp6Error(src6, "2001:db8::2", kind, 0, 1280, q6)))
		}
	}
	// arrived counts the errors that reached the other member, until a fence has.
	arrived := func(fence string) (n int) {
		l.box.do(func() { sendUDP(t, "10.147.17.50:9", fence) })
		buf := make([]byte, 2048)
		for range 1000 {
			size, err := unix.Read(capture, buf)
			if err != nil {
				continue
			}
			if strings.Contains(string(buf[:size]), fence) {
				return n
			}
			if isTo(buf[:size], []string{"10.147.17.50", "fd80:56c2:e21c::50"}) &&
				strings.Contains(string(buf[:size]), "quoted") {
				n++
			}
		}
		t.Error("the member does not see the fence")
		return n
	}
	l.wan.do(func() { errorsFrom("wan", "9.9.9.9", "2606:4700::9") })
	if n := arrived("the first fence"); n != 4 {
		t.Errorf("%d of 4 errors of the way out arrived", n)
	}
	l.client.do(func() { errorsFrom("zt", "10.147.17.51", "fd80:56c2:e21c::51") })
	if n := arrived("the second fence"); n > 0 {
		t.Errorf("%d of a member's errors reached another", n)
	}
}

// TestErrorsBetweenMembersArrive asks a member for a service that it does not have, as a client
// that may reach members.
func TestErrorsBetweenMembersArrive(t *testing.T) {
	l := newEndpointLab(t)
	l.tunnel(t)
	l.bring(t, duo(t))
	l.box.sh(t, endpointUp)
	l.client.sh(t, "ip route replace 10.9.0.0/24 via 10.147.17.1; "+
		"ip -6 route replace fd09::/64 via fd80:56c2:e21c::1")
	const text4, text6 = "nobody listens by IPv4", "nobody listens by IPv6"
	l.inject(t, ipv4("10.9.0.2", "10.147.17.50", 64, unix.IPPROTO_UDP, udp(4001, text4)))
	l.inject(t, ipv6("fd09::2", "fd80:56c2:e21c::50", 64, unix.IPPROTO_UDP,
		udp6("fd09::2", "fd80:56c2:e21c::50", 4001, text6)))
	for _, text := range []string{text4, text6} {
		if !l.answered(text) {
			t.Errorf("the error that quotes %q does not arrive", text)
		}
	}
}

// TestProvidersSpeakForThemselves has a provider's server send, by its tunnel, what looks like a
// reply to what left by the WAN, and errors about it. Without the entrance it is taken for one.
func TestProvidersSpeakForThemselves(t *testing.T) {
	l := newLeakLab(t)
	fd := l.openTUN(t, "tunztb0")
	in := unoIntent()
	in.Egresses = append(in.Egresses, exitIntent().Egresses[0])
	in.Policies[0].Egress, in.Policies[0].Use = []string{"direct"}, "direct"
	state, err := policyroute.Compile(in)
	if err != nil {
		t.Fatal(err)
	}
	port := netip.MustParseAddrPort
	for name, fault := range map[string]string{"running": ":",
		"control": "nft flush chain inet ztb entrance; nft add rule inet ztb input iifname tunztb0 accept"} {
		t.Run(name, func(t *testing.T) {
			l.bring(t, state)
			l.box.sh(t, fault+"; conntrack -F 2>/dev/null; "+flushExceptions)
			var capture int
			l.client.do(func() { capture = openCapture(t, "zt") })
			defer unix.Close(capture)
			four, six := l.talk(t, "198.51.100.7:1194"), l.talk(t, "[2606:4700::7]:1194")
			l.client.sh(t, `python3 - <<'E'
import socket
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(("10.147.17.50",5555)); s.sendto(b"hello",("9.9.9.9",4000))
E`)
			spoofed := udp(four.here.Port(), "spoofed")
			binary.BigEndian.PutUint16(spoofed, 1194)
			forwarded := udp(5555, "spoofed")
			binary.BigEndian.PutUint16(forwarded, 4000)
			for _, p := range [][]byte{
				ipv4("198.51.100.7", "203.0.113.2", 64, unix.IPPROTO_UDP, spoofed),
				ipv4("9.9.9.9", "203.0.113.2", 64, unix.IPPROTO_UDP, forwarded),
				ipv4("198.51.100.7", "203.0.113.2", 64, unix.IPPROTO_ICMP,
					icmpError(3, 4, 576, quoted4(four.here, four.peer))),
				ipv4("9.9.9.9", "203.0.113.2", 64, unix.IPPROTO_ICMP,
					icmpError(3, 4, 576, quoted4(port("203.0.113.2:5555"), port("9.9.9.9:4000")))),
				ipv6("2606:4700::7", "2001:db8::2", 64, unix.IPPROTO_ICMPV6,
					icmp6Error("2606:4700::7", "2001:db8::2", 2, 0, 1280,
						quoted6(six.here, six.peer))),
			} {
				if _, err := unix.Write(fd, p); err != nil {
					t.Error(err)
				}
			}
			var harm []string
			for _, s := range []talker{four, six} {
				buf := make([]byte, 64)
				n, _, _ := unix.Recvfrom(s.fd, buf, unix.MSG_DONTWAIT)
				if n > 0 {
					harm = append(harm, "the box's socket got "+string(buf[:n]))
				}
				if l.box.sh(t, "ip route get "+s.peer.Addr().String()+" | grep mtu || :") != "" {
					harm = append(harm, "path of "+s.peer.Addr().String()+" is smaller")
				}
			}
			buf := make([]byte, 2048)
			for {
				n, _, err := unix.Recvfrom(capture, buf, unix.MSG_DONTWAIT)
				if errors.Is(err, unix.EAGAIN) {
					break
				}
				if isTo(buf[:max(0, n)], []string{"10.147.17.50"}) {
					harm = append(harm, "a member got a packet")
				}
			}
			t.Logf("harm: %q", harm)
			if harmed := len(harm) > 0; harmed != (name == "control") {
				t.Errorf("harm: %q", harm)
			}
		})
	}
}

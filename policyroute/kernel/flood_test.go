package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
	"ztbridge/policyroute/netlab"
)

// A scan of one member sends so many packets, each of a connection of its own.
const (
	scanPackets     = 100_000
	scanPacketsLong = 1_000_000
)

// TestScanLeavesRoom has one member open connections as fast as it can, through the box and to it,
// by both IP versions, while another member, and the host itself, connect.
func TestScanLeavesRoom(t *testing.T) {
	scan(t, scanPackets, policyroute.SourceRate) // less than it may open at once
}

func TestLongScanLeavesRoom(t *testing.T) {
	netlab.Long(t, "a million packets of each kind")
	scan(t, scanPacketsLong, int(unoIntent().SourceConns))
}

// scan sends so many packets where one source may have limit connections.
func scan(t *testing.T, packets, limit int) {
	const one, many = 1, policyroute.NeighbourSources
	for name, target := range map[string]struct {
		src, dst string
		sources  int // as how many the packets' sources count
	}{
		"through the box":                       {"10.147.17.50", "8.8.8.8", one},
		"through the box, IPv6":                 {"fd80:56c2:e21c::50", "2606:4700::8", one},
		"to the box":                            {"10.147.17.50", "10.147.17.1", one},
		"to the box, IPv6":                      {"fd80:56c2:e21c::50", "fd80:56c2:e21c::1", one},
		"to the box, from a link-local address": {"fe80::bad", "fd80:56c2:e21c::1", one},
		"through the box, many addresses":       {"10.147.17.128", "8.8.8.8", many},
		"through the box, many addresses, IPv6": {"fd80:56c2:e21c::8000", "2606:4700::8", many},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLeakLab(t)
			l.client.sh(t, `ip addr add 10.147.17.51/24 dev zt
ip -6 addr add fd80:56c2:e21c::51/88 dev zt nodad; ip -6 addr add fe80::bad/64 dev zt nodad`)
			if target.sources == many { // the other is another neighbour
				l.client.sh(t, `ip link add other link zt type macvlan; ip link set other up
ip rule add from 10.147.17.51 lookup 77; ip -6 rule add from fd80:56c2:e21c::51 lookup 77
ip route add default dev other table 77; ip -6 route add default dev other table 77
ip addr del 10.147.17.51/24 dev zt; ip addr add 10.147.17.51/32 dev other
ip -6 addr del fd80:56c2:e21c::51/88 dev zt; ip -6 addr add fd80:56c2:e21c::51/128 dev other nodad`)
			}
			l.tunnel(t)
			in := unoIntent()
			in.SourceConns = 0
			bring := func() {
				state, err := policyroute.Compile(in)
				if err != nil {
					t.Fatal(err)
				}
				l.bring(t, state)
			}
			bring()
			// No entry may end by itself while they are counted.
			l.box.sh(t, "sysctl -qw net.netfilter.nf_conntrack_udp_timeout=300")
			const few = 10_000
			l.flood(t, target.src, target.dst, few, target.sources == many, nil)
			if n := l.tracked(t); n < few*9/10 {
				t.Fatalf("without a limit %d packets left %d connections: the test is blind", few, n)
			}
			l.box.sh(t, "conntrack -F 2>/dev/null")
			in.SourceConns = uint32(limit)
			bring()
			tries := 0
			begin := time.Now()
			l.flood(t, target.src, target.dst, packets, target.sources == many, func() {
				tries++
				if err := l.othersConnect(); err != nil {
					t.Error(err)
				}
			})
			n := l.tracked(t)
			t.Logf("%d packets in %v left %d connections, beside %d times 4 of others",
				packets, time.Since(begin).Round(time.Millisecond), n, tries)
			if may := limit * target.sources; n < may/2 || n > may+4*tries+64 {
				t.Errorf("%d connections are tracked, of which these sources may have %d", n, may)
			}
			// When its connections are gone, the member opens others.
			l.box.sh(t, "conntrack -F 2>/dev/null")
			begin = time.Now()
			for deadline := begin.Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
				err := l.connects(l.client, "10.147.17.50", "10.147.17.1")
				if err == nil {
					err = l.connects(l.client, "fd80:56c2:e21c::50", "fd80:56c2:e21c::1")
				}
				if err == nil {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("the member cannot connect any more: %v", err)
				}
			}
			t.Logf("the member connects again after %v", time.Since(begin).Round(time.Millisecond))
		})
	}
}

// flood sends UDP from a member, each packet from and to ports of its own, and calls also now and
// then. With vary, the last seven bits of the source differ as well.
func (l *leakLab) flood(t *testing.T, src, dst string, packets int, vary bool, also func()) {
	t.Helper()
	const parts = 50
	packet, at := ipv4(src4(src), src4(dst), 64, unix.IPPROTO_UDP, udp(9, marker)), 20
	if strings.Contains(src, ":") {
		packet, at = ipv6(src, dst, 64, unix.IPPROTO_UDP, udp(9, marker)), 40
	}
	source := packet[15:16] // the last byte of the address
	pseudo := []byte(nil)
	if at == 40 {
		source = packet[23:24]
		pseudo = pseudo6(src, dst, unix.IPPROTO_UDP, len(packet)-at)
	}
	n := 0
	for range parts {
		l.client.do(func() {
			fd, to := packetSocket(t, packet)
			defer unix.Close(fd)
			for range packets / parts {
				n++
				body := packet[at:]
				if vary {
					source[0] = source[0]&0x80 | byte(n&0x7f)
					if pseudo == nil {
						binary.BigEndian.PutUint16(packet[10:], 0)
						binary.BigEndian.PutUint16(packet[10:], checksum(packet[:at]))
					} else {
						pseudo[15] = source[0]
					}
				}
				binary.BigEndian.PutUint16(body, uint16(1024+n%60000))
				binary.BigEndian.PutUint16(body[2:], uint16(1024+n/60000))
				binary.BigEndian.PutUint16(body[6:], 0) // none, which IPv6 forbids
				if pseudo != nil {
					binary.BigEndian.PutUint16(body[6:],
						checksum(append(append([]byte{}, pseudo...), body...)))
				}
				if err := unix.Sendto(fd, packet, 0, to); err != nil && err != unix.ENOBUFS {
					t.Errorf("sending: %v", err)
					return
				}
			}
		})
		if also != nil {
			also()
		}
	}
}

// src4 returns an IPv4 address as it is, and any for another.
func src4(a string) string {
	if strings.Contains(a, ":") {
		return "0.0.0.0"
	}
	return a
}

// packetSocket returns a socket of the member's link, and whom to send such packets to.
func packetSocket(t *testing.T, packet []byte) (int, unix.Sockaddr) {
	proto := uint16(unix.ETH_P_IP)
	if packet[0]>>4 == 6 {
		proto = unix.ETH_P_IPV6
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Error(err)
		return -1, nil
	}
	index, err := ifindex("zt")
	if err != nil {
		t.Error(err)
	}
	sa := &unix.SockaddrLinklayer{Protocol: proto<<8 | proto>>8, Ifindex: index, Halen: 6}
	copy(sa.Addr[:], boxMAC)
	return fd, sa
}

// tracked returns how many connections the box follows.
func (l *leakLab) tracked(t *testing.T) int {
	t.Helper()
	text := l.box.sh(t, "cat /proc/sys/net/netfilter/nf_conntrack_count")
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// othersConnect has another member connect to the box, and the host to the WAN.
func (l *leakLab) othersConnect() error {
	for _, c := range []struct {
		name     string
		from     *thread
		src, dst string
	}{
		{"another member", l.client, "10.147.17.51", "10.147.17.1"},
		{"another member", l.client, "fd80:56c2:e21c::51", "fd80:56c2:e21c::1"},
		{"the host", l.box, "203.0.113.2", "203.0.113.1"},
		{"the host", l.box, "2001:db8::2", "2001:db8::1"},
	} {
		if err := l.connects(c.from, c.src, c.dst); err != nil {
			return fmt.Errorf("%s does not reach %s: %w", c.name, c.dst, err)
		}
	}
	return nil
}

// connects asks for a TCP connection to a closed port. The refusal is an answer.
func (l *leakLab) connects(from *thread, src, dst string) error {
	var err error
	from.do(func() { err = dial(netip.MustParseAddr(src), netip.MustParseAddr(dst)) })
	return err
}

func dial(src, dst netip.Addr) error {
	family := unix.AF_INET6
	var local, remote unix.Sockaddr = &unix.SockaddrInet6{Addr: src.As16()},
		&unix.SockaddrInet6{Port: 7, Addr: dst.As16()}
	if dst.Is4() {
		family = unix.AF_INET
		local, remote = &unix.SockaddrInet4{Addr: src.As4()},
			&unix.SockaddrInet4{Port: 7, Addr: dst.As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, local); err != nil {
		return err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	err = unix.Connect(fd, remote)
	if errors.Is(err, unix.EINPROGRESS) {
		err = connected(fd)
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("connecting from %s: %w", src, err)
	}
	return nil
}

// connected waits for what becomes of a connection that was begun. The runtime's own signals
// interrupt the waiting, and so would they a connect that blocks.
func connected(fd int) error {
	const wait = 5 * time.Second
	for end := time.Now().Add(wait); ; {
		left := time.Until(end)
		if left <= 0 {
			return unix.ETIMEDOUT
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}},
			int(left/time.Millisecond)+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if n > 0 {
			break
		}
	}
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err
	}
	return unix.Errno(code)
}

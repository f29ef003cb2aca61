package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
	"ztbridge/policyroute/policytest"
)

// attackScenes are the states in which a box meets members: as the guard leaves it, with a tunnel,
// and with the ingress as an egress at the same time.
func attackScenes(t *testing.T) map[string]policyroute.State {
	t.Helper()
	both, err := policyroute.Compile(policytest.Dinosaur())
	if err != nil {
		t.Fatal(err)
	}
	return map[string]policyroute.State{"guard": policyroute.Closed([]string{"zt*"}),
		"tunnel": uno(t), "ingress and egress": both}
}

// TestSpoofedSourcesAreNotAnswered sends what a host answers, or tells errors about, from sources
// in the Internet: by main's default route the answers would leave with the sender's content.
func TestSpoofedSourcesAreNotAnswered(t *testing.T) {
	l := newLeakLab(t)
	l.box.sh(t, "ip tuntap add dev tunztbsrv mode tun; ip link set tunztbsrv up")
	for _, neighbour := range []string{"203.0.113.7", "2001:db8::7"} {
		l.box.sh(t, "ip neigh replace "+neighbour+" lladdr "+wanMAC+" dev wanlab0")
	}
	sources := []string{"8.8.8.8", "203.0.113.7", "169.254.7.7"}
	sources6 := []string{"2606:4700::8", "2001:db8::7"}
	// The box's own addresses, its router, and what is nobody's: no answer to them may be seen.
	nobody := []string{"203.0.113.2", "10.147.17.1", "203.0.113.1", "203.0.113.255", "127.0.0.1",
		"0.0.0.0", "0.1.2.3", "224.0.0.1", "240.0.0.1", "255.255.255.255"}
	nobody6 := []string{"2001:db8::2", "fd80:56c2:e21c::1", "2001:db8::1", "::1", "::",
		"::ffff:8.8.8.8", "ff02::1", "ff0e::1", "64:ff9b::808:808", "2002:808:808::1"}
	// Else an error about the address follows when the attack is over.
	l.box.sh(t, "ip neigh replace 10.147.17.77 lladdr 02:00:00:00:00:07 dev ztlab0")
	attack := func(t *testing.T) {
		// Of this attack alone: what is half open answers again later.
		defer unix.Close(l.listen(t, unix.SOCK_STREAM, "", 7777))
		for _, s := range sources {
			l.client.do(func() {
				for _, dst := range []string{"10.147.17.1", "203.0.113.2"} {
					sendRaw(t, ipv4(s, dst, 64, unix.IPPROTO_ICMP, echo(8, marker)))
					sendRaw(t, ipv4(s, dst, 64, unix.IPPROTO_UDP, udp(999, marker)))
					sendRaw(t, ipv4(s, dst, 64, unix.IPPROTO_TCP, tcpSYN(7777)))
					sendRaw(t, ipv4(s, dst, 64, unix.IPPROTO_TCP, tcpSYN(7778)))
				}
				// errors about what is forwarded: its hop limit is used up, or there is no way
				sendRaw(t, ipv4(s, "9.9.9.9", 1, unix.IPPROTO_UDP, udp(999, marker)))
				sendRaw(t, ipv4(s, "10.147.17.77", 64, unix.IPPROTO_UDP, udp(999, marker)))
			})
		}
		for _, s := range sources6 {
			l.client.do(func() {
				for _, dst := range []string{"fd80:56c2:e21c::1", "2001:db8::2"} {
					sendRaw(t, ipv6(s, dst, 64, unix.IPPROTO_ICMPV6, icmp6(s, dst, 128, marker)))
					sendRaw(t, ipv6(s, dst, 64, unix.IPPROTO_UDP, udp6(s, dst, 999, marker)))
				}
				sendRaw(t, ipv6(s, "2606:4700::9", 1, unix.IPPROTO_UDP,
					udp6(s, "2606:4700::9", 999, marker)))
			})
		}
		l.client.do(func() {
			for _, s := range nobody {
				const dst = "10.147.17.1"
				sendRaw(t, ipv4(s, dst, 64, unix.IPPROTO_ICMP, echo(8, marker)))
				sendRaw(t, ipv4(s, "9.9.9.9", 1, unix.IPPROTO_UDP, udp(999, marker)))
			}
			for _, s := range nobody6 {
				const dst = "fd80:56c2:e21c::1"
				sendRaw(t, ipv6(s, dst, 64, unix.IPPROTO_ICMPV6, icmp6(s, dst, 128, marker)))
				sendRaw(t, ipv6(s, "2606:4700::9", 1, unix.IPPROTO_UDP,
					udp6(s, "2606:4700::9", 999, marker)))
			}
		})
	}
	answers := func(t *testing.T) int {
		t.Helper()
		return l.countIf(t, func(frame []byte) bool {
			return isTo(frame, sources, sources6) || bytes.Contains(frame, []byte(marker))
		})
	}
	t.Run("control", func(t *testing.T) {
		l.bring(t, policyroute.State{})
		attack(t)
		if n := answers(t); n < 5 {
			t.Errorf("the WAN saw %d answers: the attack does not work", n)
		}
	})
	for name, state := range attackScenes(t) {
		t.Run(name, func(t *testing.T) {
			l.tunnel(t)
			l.bring(t, state)
			l.box.sh(t, "conntrack -F 2>/dev/null") // connections that are known are not judged
			attack(t)
			n := answers(t)
			t.Logf("answers on the WAN: %d", n)
			if n > 0 {
				t.Errorf("the WAN saw %d answers to members' spoofed sources", n)
			}
			for _, to := range []string{"10.147.17.1", "fd80:56c2:e21c::1", "203.0.113.2"} {
				if out := l.client.sh(t, "ping -c1 -W2 "+to+" || echo dead"); strings.Contains(out,
					"dead") {
					t.Errorf("a member's own ping of %s is not answered", to)
				}
			}
		})
	}
}

// TestAdvertisementsConfigureNothing has a member advertise itself as the box's router.
func TestAdvertisementsConfigureNothing(t *testing.T) {
	l := newLeakLab(t)
	const look = `ip -6 route show; ip -6 addr show dev ztlab0
sysctl net.ipv6.conf.ztlab0.mtu net.ipv6.conf.ztlab0.hop_limit net.ipv6.neigh.ztlab0.retrans_time_ms`
	attack := func(t *testing.T) string {
		t.Helper()
		l.client.do(func() {
			src, dst := "fe80::bad", "ff02::1"
			for _, a := range adverts() {
				sendRaw(t, ipv6(src, dst, 255, unix.IPPROTO_ICMPV6, icmp6Raw(src, dst, a)))
			}
		})
		var out string
		for range 10 { // the kernel takes one in the same breath, or not at all
			out = l.box.sh(t, look)
			if strings.Contains(out, "proto ra") {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		return out
	}
	l.box.sh(t, "ip tuntap add dev tunztbsrv mode tun; ip link set tunztbsrv up")
	l.client.sh(t, "ip -6 addr add fe80::bad/64 dev zt nodad")
	accept := "sysctl -qw net.ipv6.conf.ztlab0.accept_ra=2 net.ipv6.conf.ztlab0.autoconf=1"
	l.box.sh(t, accept)
	if out := attack(t); !strings.Contains(out, "fe80::bad") || !strings.Contains(out,
		"mtu = 1280") || !strings.Contains(out, "hop_limit = 3") {
		t.Fatalf("without us it is not taken either:\n%s", out)
	}
	l.box.sh(t,
		"ip -6 route del default via fe80::bad dev ztlab0; ip -6 route flush proto ra dev ztlab0; ip -6 addr flush dev ztlab0 dynamic")
	reset := `ip -6 route del 2a00:bad::/64 dev ztlab0
sysctl -qw net.ipv6.conf.ztlab0.mtu=1500 net.ipv6.conf.ztlab0.hop_limit=64 \
net.ipv6.neigh.ztlab0.retrans_time_ms=1000`
	clean := l.box.sh(t, reset+"\n"+look)
	if strings.Contains(clean, "proto ra") {
		t.Fatalf("not clean:\n%s", clean)
	}
	for name, state := range attackScenes(t) {
		for layer, fault := range map[string]string{"filter": accept,
			"parameters": "nft flush ruleset"} {
			t.Run(name+", "+layer+" alone", func(t *testing.T) {
				l.tunnel(t)
				l.bring(t, state)
				if name == "guard" {
					// as the guard does after its table
					record := filepath.Join(t.TempDir(), "record.json")
					l.box.do(func() {
						if err := guardSysctls(state, record); err != nil {
							t.Error(err)
						}
					})
				}
				l.box.sh(t, fault)
				if out := attack(t); strings.Contains(out, "bad") || strings.Contains(out,
					"dynamic") || !strings.HasSuffix(out, clean[strings.Index(clean, "net.ipv6"):]) {
					t.Errorf("a member configured the box:\n%s", out)
				}
				l.bring(t, policyroute.State{})
			})
		}
	}
}

// TestAnswersStayInside has the box speak to members whose ingress has gone: from established
// connections, late, and of its own accord.
func TestAnswersStayInside(t *testing.T) {
	l := newLeakLab(t)
	guard := policyroute.Closed([]string{"zt*", "ztlab0"},
		policytest.Prefixes("10.147.17.0/24", "fd80:56c2:e21c::/88")...)
	for _, tt := range []struct{ name, fault string }{
		{"guard", ":"}, {"guard, kept rules alone", "nft flush ruleset"},
		{"filter and rules", ":"}, {"filter alone", flushOurRules + "; " + flushKeptRules},
		{"rules alone", "nft flush ruleset"},
		{"kept rules alone", flushOurRules + "; nft flush ruleset"},
		{"kept rules alone, tables gone too", flushOurTables + "; nft flush ruleset"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l.tunnel(t)
			if strings.HasPrefix(tt.name, "guard") {
				l.bring(t, guard)
			} else {
				l.bring(t, uno(t))
			}
			talk := func() {
				l.box.do(func() {
					for _, to := range []string{"10.147.17.50:4000", "[fd80:56c2:e21c::50]:4000"} {
						trySendUDP(to, marker)
					}
				})
			}
			talk()
			l.box.sh(t, tt.fault+"; ip link set ztlab0 down")
			for range 5 {
				talk()
			}
			if n := l.count(t, marker); n > 0 {
				t.Errorf("the WAN saw %d of the box's packets to members", n)
			}
			l.box.sh(t,
				"ip link set ztlab0 up; ip -6 addr add fd80:56c2:e21c::1/88 dev ztlab0 nodad")
			l.bring(t, policyroute.State{})
		})
	}
	t.Run("control", func(t *testing.T) {
		l.box.sh(t, "ip link set ztlab0 down")
		l.box.do(func() { trySendUDP("10.147.17.50:4000", marker) })
		if n := l.count(t, marker); n == 0 {
			t.Error("without us nothing leaks: the test is blind")
		}
		l.box.sh(t, "ip link set ztlab0 up; ip -6 addr add fd80:56c2:e21c::1/88 dev ztlab0 nodad")
	})
}

// TestIngressInAnother has an ingress become part of another interface, which main's routes and
// addresses then belong to.
func TestIngressInAnother(t *testing.T) {
	for name, made := range map[string]struct{ dev, up, down string }{
		"bridge": {"br9", `ip link add br9 type bridge; ip link set ztlab0 master br9
ip link set br9 up; ip addr flush dev ztlab0; ip addr add 10.147.17.1/24 dev br9
ip -6 addr add fd80:56c2:e21c::1/88 dev br9 nodad; ip link set br9 address 02:00:00:00:00:02`,
			"ip link del br9"},
		"macvlan": {"mv9", `ip link add mv9 link ztlab0 address 02:00:00:00:00:09 type macvlan
ip link set mv9 up; ip addr flush dev ztlab0; ip addr add 10.147.17.1/24 dev mv9
ip -6 addr add fd80:56c2:e21c::1/88 dev mv9 nodad; ip link set ztlab0 address 02:00:00:00:00:0a
ip link set mv9 address 02:00:00:00:00:02`, "ip link del mv9"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLeakLab(t)
			l.box.sh(t, made.up)
			if n := l.leaked(t); n < 100 {
				t.Fatalf("without us the WAN saw %d packets of 100: the control is blind", n)
			}
			l.tunnel(t)
			at := uno(t)
			at.Routes = slices.DeleteFunc(at.Routes,
				func(r policyroute.Route) bool { return r.Dev == "ztlab0" })
			l.bring(t, at)
			if n := l.leaked(t); n > 0 {
				t.Errorf("before it is noticed the WAN saw %d packets", n)
			}
			in := unoIntent()
			in.Ingresses[0].Present, in.Ingresses[0].Prefixes = false, nil
			in.Stacked = []string{made.dev}
			known, err := policyroute.Compile(in)
			if err != nil {
				t.Fatal(err)
			}
			for _, fault := range []string{":", "nft flush ruleset", flushOurRules} {
				l.bring(t, known)
				l.box.sh(t, fault)
				if n := l.leaked(t); n > 0 {
					t.Errorf("after %q the WAN saw %d packets", fault, n)
				}
			}
			var host HostState
			l.box.do(func() { host, _ = l.kernel.HostState(Wanted{}) })
			for _, link := range host.Links {
				if link.Name == "ztlab0" && name == "bridge" && link.Master != made.dev ||
					link.Name == made.dev && name == "macvlan" && link.Parent != "ztlab0" {
					t.Errorf("%s: master %q, parent %q", link.Name, link.Master, link.Parent)
				}
			}
		})
	}
}

// A connection that came from an address nobody knows to be behind the ingress is known by itself.
func TestAnswersOfUnknownMembersStayInside(t *testing.T) {
	l := newLeakLab(t)
	l.client.sh(t, "ip addr add 172.31.5.5/32 dev zt")
	l.box.sh(t, "ip route add 172.31.5.5/32 dev ztlab0")
	l.tunnel(t)
	l.bring(t, uno(t))
	// Bound, it answers by the address that it was asked at; unbound, by that of the way out.
	bound := l.listen(t, unix.SOCK_DGRAM, "10.147.17.1", 5555)
	defer unix.Close(bound)
	free := l.listen(t, unix.SOCK_DGRAM, "", 5556)
	defer unix.Close(free)
	l.client.sh(t, `python3 - <<'E'
import socket
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(("172.31.5.5",6666)); s.sendto(b"hello",("10.147.17.1",5555)); s.sendto(b"hello",("10.147.17.1",5556))
E`)
	buf := make([]byte, 64)
	var from unix.Sockaddr
	for _, server := range []int{bound, free} {
		var err error
		if _, from, err = unix.Recvfrom(server, buf, 0); err != nil {
			t.Fatalf("a member behind a static route is not heard: %v", err)
		}
	}
	l.box.sh(t, "ip link set ztlab0 down")
	_ = unix.Sendto(bound, []byte(marker), 0, from)
	if n := l.count(t, marker); n > 0 {
		t.Errorf("the WAN saw %d answers of a connection", n)
	}
	_ = unix.Sendto(free, []byte(marker), 0, from)
	if n := l.count(t, marker); n != 1 {
		t.Errorf("the WAN saw %d answers: the control is blind", n)
	}
	in := unoIntent()
	in.Ingresses[0].Reached = policytest.Prefixes("172.31.5.5/32")
	reached, err := policyroute.Compile(in)
	if err != nil {
		t.Fatal(err)
	}
	reached.Routes = slices.DeleteFunc(reached.Routes, func(r policyroute.Route) bool {
		return r.Dev == "ztlab0" // it is down
	})
	l.bring(t, reached)
	_ = unix.Sendto(free, []byte(marker), 0, from)
	if n := l.count(t, marker); n > 0 {
		t.Errorf("the WAN saw %d answers", n)
	}
}

// TestAnswersDoNotFollowTheWANsLease has the WAN get an address inside the members' network, as a
// DHCP server can give it: what the box sends on connections with members stays inside.
func TestAnswersDoNotFollowTheWANsLease(t *testing.T) {
	l := newLeakLab(t)
	l.box.sh(t, `ip addr add 10.147.17.99/25 dev wanlab0
ip -6 addr add fd80:56c2:e21c::99/96 dev wanlab0 nodad
for a in 10.147.17.50 fd80:56c2:e21c::50; do ip neigh replace $a lladdr `+wanMAC+` dev wanlab0; done`)
	in := unoIntent()
	in.Ingresses[0].Elsewhere = policytest.Prefixes("10.147.17.0/25", "fd80:56c2:e21c::/96")
	state, err := policyroute.Compile(in)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		state policyroute.State
		leaks int
	}{"control": {policyroute.State{}, 2}, "running": {state, 0}} {
		t.Run(name, func(t *testing.T) {
			l.tunnel(t)
			l.bring(t, tt.state)
			const src6, dst6 = "fd80:56c2:e21c::50", "fd80:56c2:e21c::1"
			l.client.do(func() {
				sendRaw(t, ipv4("10.147.17.50", "10.147.17.1", 64, unix.IPPROTO_ICMP,
					echo(8, marker)),
					ipv6(src6, dst6, 64, unix.IPPROTO_ICMPV6, icmp6(src6, dst6, 128, marker)))
			})
			if n := l.count(t, marker); n != tt.leaks {
				t.Errorf("the WAN saw %d of 2 answers to a member, want %d", n, tt.leaks)
			}
			// What the box begins with a host of its WAN goes there.
			l.box.do(func() {
				trySendUDP("10.147.17.77:4000", "the box's own")
				trySendUDP("10.147.17.50:4000", "the box's own")
			})
		})
	}
}

const (
	flushKeptRules = `for f in -4 -6; do for p in 32700 32701 32702; do while ip $f rule del priority $p 2>/dev/null; do :; done; done; done`
	flushOurTables = "for f in -4 -6; do ip $f route flush table all proto 90; done"
)

const flushOurRules = `for f in -4 -6; do for p in $(ip $f rule | sed -n 's/^\(15...\):.*proto 90/\1/p' | cut -d' ' -f1 | cut -f1); do ip $f rule del priority $p; done; done`

// TestWhatIsNotTheInternetIsRefused has a member send, by the box's own way out, to private
// networks and metadata services, which the WAN would lead to.
func TestWhatIsNotTheInternetIsRefused(t *testing.T) {
	l := newLeakLab(t)
	in := policytest.Exit()
	in.ForceForwarding6, in.Inbound = false, nil // not every kernel has it
	in.Egresses[0].Gateway6 = netip.MustParseAddr("2001:db8::1")
	in.Egresses[0].Closed, in.Egresses[0].Open = policyroute.NotInternet(nil)
	for _, layer := range []string{"both layers", "routes", "filter"} {
		state, err := policyroute.Compile(in)
		if err != nil {
			t.Fatal(err)
		}
		l.bring(t, policyroute.State{})
		l.bring(t, state)
		switch layer {
		case "routes":
			l.box.sh(t, "nft flush ruleset")
		case "filter":
			l.box.sh(t, "for f in -4 -6; do ip $f route flush type unreachable table all; done")
		}
		for to, open := range map[string]bool{
			"10.0.0.7": false, "172.20.0.7": false, "192.168.44.7": false, "100.64.0.7": false,
			"169.254.169.254": false, "192.0.0.192": false, "198.18.0.7": false,
			"240.0.0.7": false, "9.9.9.9": true, "192.0.0.9": true, "192.88.99.1": true,
			"fd00:c1::a9fe:a9fe": false, "fd20:ce::254": false, "fd00:42::42": false,
			"fd00:a9fe:a9fe::1": false, "fec0::7": false, "64:ff9b::a9fe:a9fe": false,
			"2002:a9fe:a9fe::1": false, "2001:2::7": false, "100::7": false,
			"64:ff9b::808:808": true, "2606:4700::9": true, "2001:20::7": true,
			"2001:1::1": true,
		} {
			l.client.do(func() {
				trySendUDP(netip.AddrPortFrom(netip.MustParseAddr(to), 4000).String(), marker)
			})
			if n := l.count(t, marker); n > 0 != open {
				t.Errorf("%s, %s: the WAN saw %d packets, open is %v", layer, to, n, open)
			}
		}
	}
}

// listen opens a socket of the box; reading from it gives up after a while.
func (l *leakLab) listen(t *testing.T, kind int, at string, port int) int {
	t.Helper()
	var fd int
	l.box.do(func() {
		var err error
		if fd, err = unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0); err == nil {
			sa := unix.SockaddrInet4{Port: port}
			if at != "" {
				sa.Addr = netip.MustParseAddr(at).As4()
			}
			err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
				unix.Bind(fd, &sa))
		}
		if err == nil && kind == unix.SOCK_STREAM {
			err = unix.Listen(fd, 8)
		}
		if err == nil {
			err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO,
				&unix.Timeval{Sec: 5})
		}
		if err != nil {
			t.Error(err)
		}
	})
	return fd
}

// fromBox counts what the WAN saw from the box to one of the addresses.
func (l *leakLab) fromBox(t *testing.T, lists ...[]string) int {
	t.Helper()
	return l.countIf(t, func(frame []byte) bool { return isTo(frame, lists...) })
}

// isTo reports whether a frame is to one of the addresses.
func isTo(frame []byte, lists ...[]string) bool {
	dst := destination(frame)
	return slices.ContainsFunc(slices.Concat(lists...),
		func(s string) bool { return dst == netip.MustParseAddr(s) })
}

func destination(frame []byte) netip.Addr {
	var a netip.Addr
	switch {
	case len(frame) >= 34 && binary.BigEndian.Uint16(frame[12:]) == unix.ETH_P_IP:
		a, _ = netip.AddrFromSlice(frame[30:34])
	case len(frame) >= 54 && binary.BigEndian.Uint16(frame[12:]) == unix.ETH_P_IPV6:
		a, _ = netip.AddrFromSlice(frame[38:54])
	}
	return a
}

// trySendUDP sends; that it cannot is as good.
func trySendUDP(to, text string) {
	ap := netip.MustParseAddrPort(to)
	var sa unix.Sockaddr = &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}
	family := unix.AF_INET6
	if ap.Addr().Is4() {
		sa, family = &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}, unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	_ = unix.Sendto(fd, []byte(text), 0, sa)
}

// sendRaw puts packets on the member's link, to whatever the box's end takes.
func sendRaw(t *testing.T, packets ...[]byte) {
	sendRawBy(t, "zt", packets...)
}

// sendRawBy uses one socket for all: the kernel takes milliseconds to close one.
func sendRawBy(t *testing.T, iface string, packets ...[]byte) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Error(err)
		return
	}
	defer unix.Close(fd)
	index, err := ifindex(iface)
	if err != nil {
		t.Error(err)
		return
	}
	for _, packet := range packets {
		proto := uint16(unix.ETH_P_IP)
		switch packet[0] >> 4 {
		case 6:
			proto = unix.ETH_P_IPV6
		case 0:
			proto = unix.ETH_P_ARP
		}
		// To everybody on the link: a veth delivers it, whatever the address of the other end is.
		sa := &unix.SockaddrLinklayer{Protocol: proto<<8 | proto>>8, Ifindex: index, Halen: 6}
		copy(sa.Addr[:], boxMAC)
		if packet[0]>>4 == 6 && packet[24] == 0xff {
			copy(sa.Addr[:], "\x33\x33\x00\x00\x00\x01")
		}
		if err := unix.Sendto(fd, packet, 0, sa); err != nil {
			t.Errorf("sending: %v", err)
		}
	}
}

func ipv4(src, dst string, ttl byte, proto byte, body []byte) []byte {
	h := make([]byte, 20, 20+len(body))
	h[0], h[8], h[9] = 0x45, ttl, proto
	binary.BigEndian.PutUint16(h[2:], uint16(20+len(body)))
	s, d := netip.MustParseAddr(src).As4(), netip.MustParseAddr(dst).As4()
	copy(h[12:], s[:])
	copy(h[16:], d[:])
	binary.BigEndian.PutUint16(h[10:], checksum(h))
	if proto == unix.IPPROTO_TCP {
		pseudo := append(append(append([]byte{}, h[12:20]...), 0, proto),
			byte(len(body)>>8), byte(len(body)))
		binary.BigEndian.PutUint16(body[16:], checksum(append(pseudo, body...)))
	}
	return append(h, body...)
}

func ipv6(src, dst string, hops, proto byte, body []byte) []byte {
	h := make([]byte, 40, 40+len(body))
	h[0], h[6], h[7] = 0x60, proto, hops
	binary.BigEndian.PutUint16(h[4:], uint16(len(body)))
	s, d := netip.MustParseAddr(src).As16(), netip.MustParseAddr(dst).As16()
	copy(h[8:], s[:])
	copy(h[24:], d[:])
	return append(h, body...)
}

func echo(kind byte, text string) []byte {
	b := append([]byte{kind, 0, 0, 0, 0, 1, 0, 1}, text...)
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return b
}

func udp(port uint16, text string) []byte {
	b := make([]byte, 8, 8+len(text))
	binary.BigEndian.PutUint16(b, 4321)
	binary.BigEndian.PutUint16(b[2:], port)
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(text)))
	return append(b, text...)
}

func tcpSYN(port uint16) []byte {
	b := make([]byte, 20)
	binary.BigEndian.PutUint16(b, 4321)
	binary.BigEndian.PutUint16(b[2:], port)
	b[12], b[13], b[14] = 5<<4, 0x02, 0xff
	return b
}

func udp6(src, dst string, port uint16, text string) []byte {
	b := udp(port, text)
	binary.BigEndian.PutUint16(b[6:], checksum(append(pseudo6(src, dst, unix.IPPROTO_UDP, len(b)),
		b...)))
	return b
}

func icmp6(src, dst string, kind byte, text string) []byte {
	return icmp6Raw(src, dst, append([]byte{kind, 0, 0, 0, 0, 1, 0, 1}, text...))
}

func icmp6Raw(src, dst string, b []byte) []byte {
	binary.BigEndian.PutUint16(b[2:],
		checksum(append(pseudo6(src, dst, unix.IPPROTO_ICMPV6, len(b)), b...)))
	return b
}

func pseudo6(src, dst string, proto byte, size int) []byte {
	s, d := netip.MustParseAddr(src).As16(), netip.MustParseAddr(dst).As16()
	return append(append(append([]byte{}, s[:]...), d[:]...), 0, 0, byte(size>>8), byte(size), 0, 0,
		0, proto)
}

// adverts are router advertisements of all that a member might configure: by one of everything, and
// by each alone.
func adverts() [][]byte {
	const header = 16
	all := advert()
	all[4] = 0 // no hop limit: that of another holds
	only := func(options ...byte) []byte {
		return append([]byte{134, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, options...)
	}
	onLink, autonomous := only(all[header:]...), only(all[header:]...)
	onLink[header+3], autonomous[header+3] = 0x80, 0x40
	timers := only()
	timers[4], timers[10], timers[14] = 3, 1, 1 // hop limit, reachable time, retransmission
	return [][]byte{onLink, autonomous, timers,
		only(24, 2, 0, 0x08, 0, 0, 0x0e, 0x10, 0xfd, 0, 0, 0xba, 0xd0, 0, 0, 0), // a route
		only(25, 3, 0, 0, 0, 0, 0x0e, 0x10, 0xfd, 0xba, 0xd0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
			1), // a resolver
		only(5, 1, 0, 0, 0, 0, 5, 0), // an MTU of 1280
		all[:header:header], all,     // last, since any of the others ends a router's time
	}
}

// advert is a router advertisement with a lifetime, high preference and an autonomous prefix.
func advert() []byte {
	b := []byte{134, 0, 0, 0, 64, 0x08, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0}
	option := []byte{3, 4, 64, 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 0x0e, 0x10, 0, 0, 0, 0}
	prefix := netip.MustParseAddr("2a00:bad::").As16()
	return append(append(b, option...), prefix[:]...)
}

func checksum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

func ifindex(name string) (int, error) {
	var index int
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr)
		index = int(ifr.Uint32())
	}
	if err != nil {
		return 0, fmt.Errorf("index of %s: %w", name, err)
	}
	return index, nil
}

// boxMAC is the address of the box's end of a member's link.
const boxMAC = "\x02\x00\x00\x00\x00\x02"

// TestStackedLinksAreRecognised makes each kind of link that this kernel knows on an ingress, or
// the ingress a port of it, and looks whether it is known for one. What such a link does to
// packets, TestIngressInAnother shows for two of them.
func TestStackedLinksAreRecognised(t *testing.T) {
	for kind, made := range map[string]struct {
		master bool
		make   string
	}{
		"bridge": {true, "ip link add up9 type bridge && ip link set ztlab0 master up9"},
		"bond": {true,
			"ip link add up9 type bond && ip link set ztlab0 down && ip link set ztlab0 master up9"},
		"team": {true,
			"ip link add up9 type team && ip link set ztlab0 down && ip link set ztlab0 master up9"},
		"vrf":     {true, "ip link add up9 type vrf table 77 && ip link set ztlab0 master up9"},
		"vlan":    {false, "ip link add link ztlab0 name up9 type vlan id 7"},
		"macvlan": {false, "ip link add link ztlab0 name up9 type macvlan"},
		"macvtap": {false, "ip link add link ztlab0 name up9 type macvtap"},
		"ipvlan":  {false, "ip link add link ztlab0 name up9 type ipvlan"},
		"ipvtap":  {false, "ip link add link ztlab0 name up9 type ipvtap"},
		"macsec":  {false, "ip link add link ztlab0 name up9 type macsec"},
	} {
		t.Run(kind, func(t *testing.T) {
			l := newLeakLab(t)
			if out := l.box.sh(t, "("+made.make+") 2>&1 || echo cannot"); strings.Contains(out,
				"cannot") {
				t.Skipf("SKIPPED: this kernel makes no %s: %s", kind, out)
			}
			var host HostState
			l.box.do(func() {
				var err error
				if host, err = l.kernel.HostState(Wanted{}); err != nil {
					t.Error(err)
				}
			})
			for _, link := range host.Links {
				if made.master && link.Name == "ztlab0" && link.Master != "up9" ||
					!made.master && link.Name == "up9" && link.Parent != "ztlab0" {
					t.Errorf("%s: master %q, parent %q", link.Name, link.Master, link.Parent)
				}
			}
		})
	}
}

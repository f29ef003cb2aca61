package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
	"ztbridge/policyroute/policytest"
)

// session is a TCP connection with a service of the box, as one of SSH.
type session struct{ box, client int }

// connect opens one from a host to an address of the box.
func (l *leakLab) connect(t *testing.T, from *thread, to string) session {
	t.Helper()
	family, sa := sockaddr(to)
	var server int
	s := session{-1, -1}
	l.box.do(func() {
		// Of any port: that of a closed listener is in use for as long as a child that is being
		// started beside this has it.
		at := unix.Sockaddr(&unix.SockaddrInet6{})
		if family == unix.AF_INET {
			at = &unix.SockaddrInet4{}
		}
		var err error
		server, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if family == unix.AF_INET6 {
			err = errors.Join(err, unix.SetsockoptInt(server, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY,
				1))
		}
		if err = errors.Join(err, unix.Bind(server, at), unix.Listen(server, 4)); err != nil {
			t.Error(err)
			return
		}
		switch own, err := unix.Getsockname(server); a := own.(type) {
		case *unix.SockaddrInet4:
			sa.(*unix.SockaddrInet4).Port = a.Port
		case *unix.SockaddrInet6:
			sa.(*unix.SockaddrInet6).Port = a.Port
		default:
			t.Error(err)
		}
	})
	defer unix.Close(server)
	from.do(func() {
		var err error
		s.client, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		limit := unix.Timeval{Sec: 20}
		err = errors.Join(err,
			unix.SetsockoptTimeval(s.client, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit),
			unix.SetsockoptTimeval(s.client, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit),
			unix.Connect(s.client, sa))
		if err != nil {
			t.Errorf("connecting to %s: %v", to, err)
		}
	})
	if !t.Failed() {
		var err error
		if s.box, _, err = unix.Accept(server); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() { _, _ = unix.Close(s.box), unix.Close(s.client) })
	if t.Failed() {
		t.FailNow()
	}
	return s
}

func sockaddr(to string) (int, unix.Sockaddr) {
	if strings.Contains(to, ":") {
		return unix.AF_INET6, &unix.SockaddrInet6{Addr: netip.MustParseAddr(to).As16()}
	}
	return unix.AF_INET, &unix.SockaddrInet4{Addr: netip.MustParseAddr(to).As4()}
}

// say has the box send a line.
func (s session) say(t *testing.T, text string) {
	t.Helper()
	if _, err := unix.Write(s.box, []byte(text+"\n")); err != nil {
		t.Errorf("the box sending %q: %v", text, err)
	}
}

// hears waits until the other end has the line.
func (s session) hears(t *testing.T, text string) {
	t.Helper()
	var all []byte
	buf := make([]byte, 4096)
	for !strings.Contains(string(all), text+"\n") {
		n, err := unix.Read(s.client, buf)
		if err != nil || n == 0 {
			t.Errorf("waiting for %q: %v", text, err)
			return
		}
		all = append(all, buf[:n]...)
	}
}

// TestSessionsWithTheBox keeps sessions of a member with the box, and those of a WAN neighbour,
// while layers are missing: they go on. While the ingress is away, nothing of a member's is on the
// WAN, and when it returns the session goes on. Meanwhile the WAN gets another address.
func TestSessionsWithTheBox(t *testing.T) {
	const both = "nft flush ruleset; " + flushOurRules
	var turn sync.Mutex // the library of nftables numbers all sets by one variable
	bring := func(t *testing.T, l *leakLab) {
		turn.Lock()
		defer turn.Unlock()
		l.bring(t, uno(t))
	}
	for _, fault := range []string{":", "nft flush ruleset", flushOurRules, flushKeptRules, both,
		flushOurTables + "; nft flush ruleset"} {
		t.Run(fmt.Sprintf("%.40s", fault), func(t *testing.T) {
			t.Parallel()
			l := newLeakLab(t)
			l.tunnel(t)
			bring(t, l)
			l.wan.sh(t, "ip -6 route add default via 2001:db8::2; ip route add default via 203.0.113.2")
			sessions := map[string]session{}
			for _, to := range []string{"10.147.17.1", "fd80:56c2:e21c::1", "203.0.113.2",
				"2001:db8::2"} {
				sessions["member to "+to] = l.connect(t, l.client, to)
			}
			host := []session{l.connect(t, l.wan, "203.0.113.2"), l.connect(t, l.wan, "2001:db8::2")}
			l.box.sh(t, fault)
			for _, s := range sessions {
				s.say(t, marker)
				s.hears(t, marker)
			}
			if n := l.count(t, marker); n > 0 {
				t.Errorf("the WAN saw %d packets", n)
			}
			for _, s := range host {
				s.say(t, "the host's own")
				s.hears(t, "the host's own")
			}
			l.box.sh(t, "ip link set ztlab0 down")
			for _, s := range sessions {
				s.say(t, marker)
			}
			l.box.sh(t, `ip addr add 203.0.113.3/24 dev wanlab0; ip route replace default via 203.0.113.1 src 203.0.113.3
ip link set wanlab0 down; ip link set wanlab0 up; ip addr replace 2001:db8::2/64 dev wanlab0 nodad
ip -6 route replace default via 2001:db8::1; ip route replace default via 203.0.113.1
ip neigh replace 203.0.113.1 lladdr `+wanMAC+` dev wanlab0; ip neigh replace 2001:db8::1 lladdr `+
				wanMAC+` dev wanlab0`)
			l.box.sh(t, untilLinksRunOf("wanlab0"))
			time.Sleep(1500 * time.Millisecond) // it is sent again, a few times
			if n := l.count(t, marker); n > 0 {
				t.Errorf("without the ingress the WAN saw %d packets", n)
			}
			l.box.sh(t, "ip link set ztlab0 up; ip -6 addr add fd80:56c2:e21c::1/88 dev ztlab0 nodad")
			bring(t, l)
			for name, s := range sessions {
				s.hears(t, marker)
				if t.Failed() {
					t.Fatalf("%s did not go on", name)
				}
			}
			for _, s := range host {
				s.say(t, "still the host's own")
				s.hears(t, "still the host's own")
			}
			if n := l.count(t, marker); n > 0 {
				t.Errorf("at the end the WAN saw %d packets", n)
			}
		})
	}
	t.Run("control", func(t *testing.T) {
		l := newLeakLab(t)
		s := l.connect(t, l.client, "10.147.17.1")
		l.box.sh(t, "ip addr add 10.147.17.1/32 dev lo; ip link set ztlab0 down")
		s.say(t, marker)
		if n := l.count(t, marker); n == 0 {
			t.Error("without us nothing leaks: the test is blind")
		}
	})
}

func untilLinksRunOf(name string) string {
	return "while ip -o link show dev " + name + " | grep -qv 'state UP'; do sleep 0.02; done"
}

// TestSpoofedSourcesOfConnections has a member, and a client of the endpoint, send as a host of the
// WAN that the box is in conversation with: the answers would leave by the WAN.
func TestSpoofedSourcesOfConnections(t *testing.T) {
	l := newEndpointLab(t)
	l.box.sh(t, "ip link set wanlab0 address 02:00:00:00:00:02")
	const host, host6, box, box6 = "203.0.113.1", "2001:db8::1", "203.0.113.2", "2001:db8::2"
	asks := func(text string) [][]byte {
		return [][]byte{ipv4(host, box, 64, unix.IPPROTO_ICMP, echo(8, text)),
			ipv6(host6, box6, 64, unix.IPPROTO_ICMPV6, icmp6(host6, box6, 128, text))}
	}
	both, err := policyroute.Compile(policytest.Dinosaur())
	if err != nil {
		t.Fatal(err)
	}
	for name, state := range map[string]policyroute.State{"control": {}, "tunnel": duo(t),
		"guard": policyroute.Closed([]string{"zt*", "tunztbsrv"}), "ingress and egress": both} {
		t.Run(name, func(t *testing.T) {
			l.tunnel(t)
			l.box.sh(t, endpointUp)
			l.bring(t, state)
			l.wan.do(func() { sendRawBy(t, "wan", asks("the host's own")...) })
			own := l.count(t, "the host's own")
			for range 3 {
				l.client.do(func() { sendRaw(t, asks(marker)...) })
				for _, p := range asks(marker) {
					l.inject(t, p)
				}
			}
			n := l.count(t, marker)
			t.Logf("the WAN saw %d of the host's own packets, %d of members' answers", own, n)
			if own != 4 || (n > 0) != (name == "control") {
				t.Errorf("the WAN saw %d of the host's own packets, want 4, and %d of members' answers",
					own, n)
			}
		})
	}
}

// TestLoopbackIsTheBoxsOwn asks a service of the box that listens on 127.0.0.1 alone, where another
// program has switched route_localnet on.
func TestLoopbackIsTheBoxsOwn(t *testing.T) {
	l := newEndpointLab(t)
	l.box.sh(t, "sysctl -qw net.ipv4.conf.all.route_localnet=1")
	service := l.listen(t, unix.SOCK_DGRAM, "127.0.0.1", 9993)
	defer unix.Close(service)
	for name, state := range map[string]policyroute.State{"control": {}, "tunnel": duo(t),
		"guard": policyroute.Closed([]string{"zt*", "tunztbsrv"})} {
		t.Run(name, func(t *testing.T) {
			l.tunnel(t)
			l.box.sh(t, endpointUp)
			l.bring(t, state)
			ask := func(src string) []byte {
				return ipv4(src, "127.0.0.1", 64, unix.IPPROTO_UDP, udp(9993, marker))
			}
			l.client.do(func() { sendRaw(t, ask("10.147.17.50")) })
			l.inject(t, ask("10.9.0.2"))
			l.box.do(func() { sendUDP(t, "127.0.0.1:9993", "the box's own") })
			buf, heard := make([]byte, 64), 0
			for {
				n, _, err := unix.Recvfrom(service, buf, 0)
				if err != nil {
					t.Fatalf("the box's own question does not arrive: %v", err)
				}
				if string(buf[:n]) != marker {
					break
				}
				heard++
			}
			if (heard > 0) != (name == "control") {
				t.Errorf("the service heard %d questions of clients", heard)
			}
		})
	}
}

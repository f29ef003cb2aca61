package kernel

import (
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
	"ztbridge/policyroute/policytest"
)

// endpointLab is a leakLab whose clients enter by the endpoint's TUN device, which the test holds
// in place of openvpn: what a client sends, whatever openvpn would say to it, is written there.
type endpointLab struct {
	*leakLab
	fd int
}

func newEndpointLab(t *testing.T) *endpointLab {
	l := &endpointLab{leakLab: newLeakLab(t)}
	l.fd = l.openTUN(t, "tunztbsrv")
	for _, neighbour := range []string{"203.0.113.7", "2001:db8::7"} {
		l.box.sh(t, "ip neigh replace "+neighbour+" lladdr "+wanMAC+" dev wanlab0")
	}
	if t.Failed() {
		t.FailNow()
	}
	return l
}

// openTUN makes a TUN device of the box and returns what openvpn would hold of it.
func (l *leakLab) openTUN(t *testing.T, name string) (fd int) {
	l.box.sh(t, "ip tuntap add dev "+name+" mode tun; ip link set "+name+" up")
	l.box.do(func() {
		var err error
		if fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK,
			0); err != nil {
			t.Error(err)
			return
		}
		request, err := unix.NewIfreq(name)
		if err == nil {
			request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
		}
		if err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// inject sends a packet as a client.
func (l *endpointLab) inject(t *testing.T, packet []byte) {
	t.Helper()
	if _, err := unix.Write(l.fd, packet); err != nil && !errors.Is(err, unix.EIO) { // it is down
		t.Errorf("writing to the device: %v", err)
	}
}

// answered reports whether the client gets a packet with the text before long.
func (l *endpointLab) answered(text string) bool {
	buf := make([]byte, 2048)
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		n, err := unix.Read(l.fd, buf)
		if err == nil && strings.Contains(string(buf[:n]), text) {
			return true
		}
		if errors.Is(err, unix.EAGAIN) {
			time.Sleep(5 * time.Millisecond)
		}
	}
	return false
}

func duo(t *testing.T) policyroute.State {
	t.Helper()
	in := policytest.Duo()
	in.Egresses = in.Egresses[:1]
	in.Policies[1].Egress = []string{"provider"}
	s, err := policyroute.Compile(in)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const endpointUp = `ip link set tunztbsrv up; ip addr replace 10.9.0.1/24 dev tunztbsrv
ip -6 addr replace fd09::1/64 dev tunztbsrv nodad`

// TestEndpointClientsSpoofInVain is TestSpoofedSourcesAreNotAnswered for clients of the endpoint.
func TestEndpointClientsSpoofInVain(t *testing.T) {
	l := newEndpointLab(t)
	// The last of each is a member's, which no client of the endpoint has.
	sources := []string{"8.8.8.8", "203.0.113.7", "169.254.7.7", "10.147.17.50"}
	sources6 := []string{"2606:4700::8", "2001:db8::7", "fd80:56c2:e21c::50"}
	attack := func(t *testing.T) {
		for _, s := range sources {
			for _, dst := range []string{"10.9.0.1", "203.0.113.2", "10.147.17.1"} {
				l.inject(t, ipv4(s, dst, 64, unix.IPPROTO_ICMP, echo(8, marker)))
				l.inject(t, ipv4(s, dst, 64, unix.IPPROTO_UDP, udp(999, marker)))
				l.inject(t, ipv4(s, dst, 64, unix.IPPROTO_TCP, tcpSYN(7778)))
			}
			l.inject(t, ipv4(s, "9.9.9.9", 1, unix.IPPROTO_UDP, udp(999, marker)))
		}
		for _, s := range sources6 {
			for _, dst := range []string{"fd09::1", "2001:db8::2", "fd80:56c2:e21c::1"} {
				l.inject(t, ipv6(s, dst, 64, unix.IPPROTO_ICMPV6, icmp6(s, dst, 128, marker)))
				l.inject(t, ipv6(s, dst, 64, unix.IPPROTO_UDP, udp6(s, dst, 999, marker)))
			}
			l.inject(t, ipv6(s, "2606:4700::9", 1, unix.IPPROTO_UDP,
				udp6(s, "2606:4700::9", 999, marker)))
		}
	}
	t.Run("control", func(t *testing.T) {
		l.bring(t, policyroute.State{})
		l.box.sh(t, endpointUp)
		attack(t)
		if n := l.fromBox(t, sources, sources6); n < 5 {
			t.Errorf("the WAN saw %d answers: the attack does not work", n)
		}
		l.box.sh(t, "ip addr flush dev tunztbsrv")
	})
	t.Run("endpoint", func(t *testing.T) {
		l.tunnel(t)
		l.bring(t, duo(t))
		l.box.sh(t, "conntrack -F 2>/dev/null")
		attack(t)
		n := l.fromBox(t, sources, sources6)
		t.Logf("answers on the WAN: %d", n)
		if n > 0 {
			t.Errorf("the WAN saw %d answers to spoofed sources", n)
		}
		l.inject(t, ipv4("10.9.0.2", "10.9.0.1", 64, unix.IPPROTO_ICMP,
			echo(8, "a client's own 4")))
		l.inject(t, ipv6("fd09::2", "fd09::1", 64, unix.IPPROTO_ICMPV6,
			icmp6("fd09::2", "fd09::1", 128, "a client's own 6")))
		for _, text := range []string{"a client's own 4", "a client's own 6"} {
			if !l.answered(text) {
				t.Errorf("%s ping is not answered\n%s", text, l.box.sh(t,
					"ip addr show dev tunztbsrv"))
			}
		}
	})
}

// TestEndpointClientsConfigureNothing is TestAdvertisementsConfigureNothing for clients of the
// endpoint.
func TestEndpointClientsConfigureNothing(t *testing.T) {
	l := newEndpointLab(t)
	const accept = "sysctl -qw net.ipv6.conf.tunztbsrv.accept_ra=2 net.ipv6.conf.tunztbsrv.autoconf=1"
	attack := func() string {
		src, dst := "fe80::bad", "ff02::1"
		l.inject(t, ipv6(src, dst, 255, unix.IPPROTO_ICMPV6, icmp6Raw(src, dst, advert())))
		var out string
		for range 10 { // the kernel takes one in the same breath, or not at all
			out = l.box.sh(t, "ip -6 route show; ip -6 addr show dev tunztbsrv")
			if strings.Contains(out, "proto ra") {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		return out
	}
	l.box.sh(t, endpointUp+"; "+accept)
	if out := attack(); !strings.Contains(out, "fe80::bad") {
		t.Fatalf("without us it is not taken either:\n%s", out)
	}
	l.box.sh(t,
		"ip -6 route del default via fe80::bad dev tunztbsrv; ip -6 route flush proto ra dev tunztbsrv; ip -6 addr flush dev tunztbsrv dynamic")
	for layer, fault := range map[string]string{"filter": accept,
		"parameters": "nft flush ruleset"} {
		l.tunnel(t)
		l.bring(t, duo(t))
		l.box.sh(t, fault)
		if out := attack(); strings.Contains(out, "fe80::bad") || strings.Contains(out, "dynamic") {
			t.Errorf("%s alone: a client configured the box:\n%s", layer, out)
		}
		l.bring(t, policyroute.State{})
	}
}

// TestAnswersToEndpointClientsStayInside is TestAnswersStayInside for clients of the endpoint whose
// device is down or gone, as while openvpn is started again.
func TestAnswersToEndpointClientsStayInside(t *testing.T) {
	l := newEndpointLab(t)
	talk := func() {
		l.box.do(func() {
			for _, to := range []string{"10.9.0.2:4000", "[fd09::2]:4000"} {
				trySendUDP(to, marker)
			}
		})
	}
	for _, layer := range []string{":", flushOurRules, "nft flush ruleset",
		flushOurRules + "; " + flushKeptRules, flushOurRules + "; nft flush ruleset",
		flushOurTables + "; nft flush ruleset"} {
		l.tunnel(t)
		l.bring(t, duo(t))
		talk()
		l.box.sh(t, layer+"; ip link set tunztbsrv down")
		for range 5 {
			talk()
		}
		if n := l.count(t, marker); n > 0 {
			t.Errorf("after %q the WAN saw %d of the box's packets to clients", layer, n)
		}
		l.bring(t, policyroute.State{})
	}
	l.box.sh(t, "ip link set tunztbsrv down")
	talk()
	if n := l.count(t, marker); n == 0 {
		t.Error("without us nothing leaks: the test is blind")
	}
}

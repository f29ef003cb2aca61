package kernel

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
	"ztbridge/policyroute/policytest"
)

// leakLab is
//
//	client ──ztlab0── box ──wanlab0── wan, with a capture
//	                   │
//	                tunztb0: a TUN that nobody reads, the egress
//
// The box forwards of its own, and its main table leads everything to the WAN: what nothing of ours
// holds back leaks.
type leakLab struct {
	client, box, wan *thread
	kernel           *Kernel
	capture          int
	fences           int
}

const (
	marker = "a client's content"
	wanMAC = "02:00:00:00:00:01" // known, so that no packet waits for an address to be resolved
)

func newLeakLab(t *testing.T) *leakLab {
	needs(t, "ip", "nft", "iptables", "nsenter")
	l := &leakLab{client: newThread(t), box: newThread(t), wan: newThread(t)}
	record := filepath.Join(t.TempDir(), "record.json")
	l.client.sh(t, "ip link set lo up")
	l.wan.sh(t, "ip link set lo up")
	l.box.sh(t, `
ip link set lo up
ip link add ztlab0 address 02:00:00:00:00:02 type veth peer name zt netns `+l.client.path+`
ip link add wanlab0 type veth peer name wan address `+wanMAC+` netns `+l.wan.path+`
ip addr add 10.147.17.1/24 dev ztlab0; ip -6 addr add fd80:56c2:e21c::1/88 dev ztlab0 nodad; ip link set ztlab0 up
ip addr add 203.0.113.2/24 dev wanlab0; ip -6 addr add 2001:db8::2/64 dev wanlab0 nodad; ip link set wanlab0 up
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1`)
	l.client.sh(t, `
ip addr add 10.147.17.50/24 dev zt; ip -6 addr add fd80:56c2:e21c::50/88 dev zt nodad; ip link set zt up
ip route add default via 10.147.17.1; ip -6 route add default via fd80:56c2:e21c::1
ip neigh replace 10.147.17.1 lladdr 02:00:00:00:00:02 dev zt
ip neigh replace fd80:56c2:e21c::1 lladdr 02:00:00:00:00:02 dev zt`)
	l.wan.sh(t, `
ip addr add 203.0.113.1/24 dev wan; ip -6 addr add 2001:db8::1/64 dev wan nodad; ip link set wan up`)
	l.box.sh(t, `
ip route add default via 203.0.113.1; ip -6 route add default via 2001:db8::1
ip neigh replace 203.0.113.1 lladdr `+wanMAC+` dev wanlab0; ip neigh replace 2001:db8::1 lladdr `+
		wanMAC+` dev wanlab0`)
	for _, host := range []*thread{l.client, l.box, l.wan} {
		host.sh(t, untilLinksRun)
	}
	l.box.do(func() { l.kernel = open(t, record) })
	l.wan.do(func() { l.capture = openCapture(t, "wan") })
	t.Cleanup(func() { unix.Close(l.capture) })
	if t.Failed() {
		t.FailNow()
	}
	return l
}

// tunnel makes the TUN again.
func (l *leakLab) tunnel(t *testing.T) {
	l.box.sh(t,
		"ip link del tunztb0 2>/dev/null || :; ip tuntap add dev tunztb0 mode tun; ip link set tunztb0 up")
}

func (l *leakLab) bring(t *testing.T, want policyroute.State) {
	t.Helper()
	l.box.do(func() {
		have, err := l.kernel.Observe()
		if err == nil {
			err = l.kernel.Apply(context.Background(), policyroute.Diff(have, want))
		}
		if err != nil {
			t.Error(err)
		}
	})
}

// leaked sends a client's packets and returns how many of them the WAN saw.
func (l *leakLab) leaked(t *testing.T) int {
	t.Helper()
	l.client.do(func() {
		for range 25 {
			if t.Failed() {
				return
			}
			sendUDP(t, "8.8.8.8:4000", marker)
			sendUDP(t, "8.8.8.8:53", marker)
			sendUDP(t, "[2606:4700::1111]:4000", marker)
			sendUDP(t, "[2606:4700::1111]:53", marker)
		}
	})
	return l.count(t, marker)
}

// count returns how many packets with the text the WAN saw until now.
func (l *leakLab) count(t *testing.T, text string) int {
	t.Helper()
	return l.countIf(t, func(frame []byte) bool { return bytes.Contains(frame, []byte(text)) })
}

// countIf returns how many frames that match the WAN saw until now.
func (l *leakLab) countIf(t *testing.T, match func(frame []byte) bool) int {
	t.Helper()
	// Numbered, because the WAN's answer quotes it and comes when this count is over.
	l.fences++
	fence := fmt.Sprintf("everything before has passed, %d times.", l.fences)
	// Sending to a veth delivers in the same breath; what then comes from the box comes later.
	l.box.do(func() { sendUDP(t, "203.0.113.1:9", fence) })
	count := 0
	buf := make([]byte, 2048)
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		n, err := unix.Read(l.capture, buf)
		switch {
		case err == unix.EAGAIN || err == unix.EINTR:
		case err != nil:
			t.Fatalf("reading the capture: %v", err)
		case bytes.Contains(buf[:n], []byte(fence)):
			return count
		case match(buf[:n]):
			count++
		}
	}
	t.Fatal("the capture does not see the box's own packet")
	return 0
}

// openCapture returns a socket that gets every packet of the interface, in both directions.
func openCapture(t *testing.T, iface string) int {
	const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all)
	if err != nil {
		t.Errorf("opening a capture: %v", err)
		return -1
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO,
		&unix.Timeval{Usec: 100_000}); err != nil {
		t.Error(err)
	}
	// Nobody reads while packets are sent.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20); err != nil {
		t.Error(err)
	}
	return fd
}

// sendUDP sends from the calling thread's namespace. That there is no way is no error: it is the
// point.
func sendUDP(t *testing.T, to, text string) {
	ap := netip.MustParseAddrPort(to)
	var sa unix.Sockaddr = &unix.SockaddrInet4{Port: int(ap.Port())}
	family := unix.AF_INET
	if ap.Addr().Is4() {
		sa.(*unix.SockaddrInet4).Addr = ap.Addr().As4()
	} else {
		sa, family = &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()},
			unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Error(err)
		return
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, []byte(text), 0, sa); err != nil {
		t.Errorf("sending to %s: %v", to, err)
	}
}

// unoIntent is the scene with the tunnel alone as egress.
func unoIntent() policyroute.Intent {
	in := policytest.Uno()
	in.Egresses = in.Egresses[:1]
	in.Policies[0].Egress, in.Policies[0].Use = []string{"provider"}, "provider"
	return in
}

func uno(t *testing.T) policyroute.State {
	t.Helper()
	s, err := policyroute.Compile(unoIntent())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLeaks(t *testing.T) {
	l := newLeakLab(t)
	const (
		device = policyroute.LayerDevice
		table  = policyroute.LayerTable
		rule   = policyroute.LayerRule
		filter = policyroute.LayerFilter

		flushRules = flushOurRules
		flushKept  = `for f in -4 -6; do while ip $f rule del priority 32700 2>/dev/null; do :; done; done`
		deleteTun  = "ip link del tunztb0"
		tunDown    = "ip link set tunztb0 down"
		flushNft   = "nft flush ruleset"
		halfRoutes = "ip route replace 0.0.0.0/1 via 203.0.113.1; ip route replace 128.0.0.0/1 via 203.0.113.1"
	)
	full := uno(t)
	live := slices.IndexFunc(full.Routes,
		func(r policyroute.Route) bool { return r.Family == policyroute.V4 && r.Dev == "tunztb0" })
	deleteDefault := policyroute.DelRoute{Route: full.Routes[live]}.String()
	tests := []struct {
		name  string
		state policyroute.State
		fault string
		leaks bool
	}{
		{"nothing of ours", policyroute.State{}, ":", true},
		{"device alone", full.Without(table, rule, filter), ":", false},
		{"table alone", full.Without(device, rule, filter), deleteTun, false},
		{"rule alone", full.Without(device, table, filter), deleteTun, false},
		{"filter alone", policyroute.State{Nft: full.Nft}, deleteTun, false},
		{"no layer", full.Without(device, table, rule, filter), deleteTun, true},
		{"guard", policyroute.Closed([]string{"zt*"}), ":", false},
		{"guard, ruleset flushed", policyroute.Closed([]string{"zt*", "ztlab0"}), flushNft, false},
		{"guard, rules deleted", policyroute.Closed([]string{"zt*", "ztlab0"}), flushKept, false},
		{"guard, every layer removed", policyroute.Closed([]string{"zt*", "ztlab0"}),
			flushNft + "; " + flushKept, true},
		{"all", full, ":", false},
		{"all, TUN deleted", full, deleteTun, false},
		{"all, TUN down", full, tunDown, false},
		{"all, ruleset flushed", full, flushNft, false},
		{"all, ruleset flushed and TUN deleted", full, flushNft + "; " + deleteTun, false},
		{"all, our rules deleted", full, flushRules, false},
		{"all, our rules deleted and TUN down", full, flushRules + "; " + tunDown, false},
		{"all, default route deleted", full, deleteDefault + "; " + flushNft, false},
		{"all, foreign half defaults", full, halfRoutes + "; " + deleteTun, false},
		{"rules deleted and ruleset flushed", full, flushRules + "; " + flushNft, false},
		{"ruleset flushed and rules deleted", full, flushNft + "; " + flushRules, false},
		{"kept rules and rules deleted", full, flushKept + "; " + flushRules, false},
		{"kept rules deleted and ruleset flushed", full, flushKept + "; " + flushNft, false},
		{"ruleset flushed and kept rules deleted", full, flushNft + "; " + flushKept, false},
		{"every layer removed", full, flushRules + "; " + flushKept + "; " + flushNft, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l.tunnel(t)
			l.bring(t, tt.state)
			l.box.sh(t, tt.fault)
			switch n := l.leaked(t); {
			case tt.leaks && n < 100:
				t.Errorf(
					"the WAN saw %d packets of 100: the capture is blind or the control does not leak", n)
			case !tt.leaks && n > 0:
				t.Errorf("the WAN saw %d packets of a client", n)
			}
		})
	}
}

// While a plan is being carried out, from nothing to all and back to closed, packets are sent all
// the time.
func TestNothingLeaksWhileAPlanRuns(t *testing.T) {
	l := newLeakLab(t)
	full, closed := uno(t), policyroute.Closed([]string{"ztlab0"})
	l.tunnel(t)
	l.bring(t, closed)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				l.client.do(func() {
					sendUDP(t, "8.8.8.8:4000", marker)
					sendUDP(t,
						"[2606:4700::1111]:53", marker)
				})
			}
		}
	})
	for range 5 {
		l.bring(t, full)
		l.bring(t, closed)
	}
	close(stop)
	wg.Wait()
	if n := l.count(t, marker); n > 0 {
		t.Errorf("the WAN saw %d packets of a client", n)
	}
}

// What somebody keeps out of conntrack is neither steered nor translated: were it let out, a
// stranger would see the client's address.
func TestUntrackedPacketsDoNotLeak(t *testing.T) {
	l := newLeakLab(t)
	in := policytest.Exit()
	in.ForceForwarding6 = false // not every kernel has it
	in.Egresses[0].Gateway6 = netip.MustParseAddr("2001:db8::1")
	full, err := policyroute.Compile(in)
	if err != nil {
		t.Fatal(err)
	}
	l.box.sh(t,
		`for i in iptables ip6tables; do $i -w -t raw -A PREROUTING -i ztlab0 -p udp --dport 53 -j CT --notrack; done`)
	l.bring(t, full)
	for dport, leaks := range map[string]bool{"53": false, "4000": true} {
		l.client.do(func() {
			for range 25 {
				sendUDP(t, "8.8.8.8:"+dport, marker)
				sendUDP(t, "[2606:4700::1111]:"+dport, marker)
			}
		})
		if n := l.count(t, marker); leaks != (n > 0) {
			t.Errorf("to port %s: the WAN saw %d packets of 50", dport, n)
		}
	}
}

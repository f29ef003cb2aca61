package kernel

import (
	"bytes"
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

// TestNeighboursGetNoRouter has a host of the WAN send to another network of a box that is no
// router: a `wan` egress has the kernel forward what enters by the WAN.
func TestNeighboursGetNoRouter(t *testing.T) {
	l, lan := newLeakLab(t), newThread(t)
	l.box.sh(t, `ip link add lan9 type veth peer name lan netns `+lan.path+`
ip addr add 192.168.9.1/24 dev lan9; ip -6 addr add fd09:9::1/64 dev lan9 nodad; ip link set lan9 up
for a in 192.168.9.9 fd09:9::9; do ip neigh replace $a lladdr 02:00:00:00:00:09 dev lan9; done
ip link set wanlab0 address 02:00:00:00:00:02`)
	lan.sh(t, "ip link set lan up")
	l.box.sh(t, untilLinksRun)
	both := []policyroute.Edge{{Iface: "wanlab0", Family: policyroute.V4},
		{Iface: "wanlab0", Family: policyroute.V6}}
	for _, tt := range []struct {
		name, host string // what the host forwards without us
		edges      []policyroute.Edge
		want       int
	}{
		{"control", "0", nil, 3}, {"no router", "0", both, 0}, {"a router", "1", nil, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l.bring(t, policyroute.State{})
			l.box.sh(t, "sysctl -qw net.ipv4.ip_forward="+tt.host+" net.ipv6.conf.all.forwarding="+
				tt.host)
			in := policytest.Exit()
			in.ForceForwarding6, in.Inbound, in.Edges = false, nil, tt.edges
			// The WAN may have got addresses of the members' network.
			in.Ingresses[0].Elsewhere = policytest.Prefixes("10.147.17.128/25")
			state, err := policyroute.Compile(in)
			if err != nil {
				t.Fatal(err)
			}
			l.bring(t, state)
			var host HostState
			l.box.do(func() { host, err = l.kernel.HostState(Wanted{}) })
			if err != nil {
				t.Error(err)
			}
			for _, link := range host.Links {
				if want := tt.host == "1"; link.Name == "wanlab0" && (link.Forwards4 != want ||
					link.Forwards6 != want) {
					t.Errorf("the host forwards IPv4 %v, IPv6 %v of its own, want %v",
						link.Forwards4, link.Forwards6, want)
				}
			}
			var capture int
			lan.do(func() { capture = openCapture(t, "lan") })
			defer unix.Close(capture)
			l.wan.do(func() {
				sendRawBy(t, "wan",
					ipv4("203.0.113.1", "192.168.9.9", 64, unix.IPPROTO_UDP, udp(4000, marker)),
					ipv4("10.147.17.200", "192.168.9.9", 64, unix.IPPROTO_UDP,
						udp(4000, marker)),
					ipv6("2001:db8::1", "fd09:9::9", 64, unix.IPPROTO_UDP,
						udp6("2001:db8::1", "fd09:9::9", 4000, marker)))
			})
			l.box.do(func() { sendUDP(t, "192.168.9.9:9", "the fence") })
			got, buf := 0, make([]byte, 2048)
			for range 100 {
				n, _ := unix.Read(capture, buf)
				if n > 0 && bytes.Contains(buf[:n], []byte("the fence")) {
					break
				}
				if n > 0 && bytes.Contains(buf[:n], []byte(marker)) {
					got++
				}
			}
			if got != tt.want {
				t.Errorf("the other network saw %d packets of 3, want %d", got, tt.want)
			}
		})
	}
}

// TestSolicitationsLeaveRoom has a member ask who the box is from hundreds of addresses: the kernel
// would keep each as a neighbour. It has one table for all links.
func TestSolicitationsLeaveRoom(t *testing.T) {
	l := newLeakLab(t)
	const dst, asked = "fd80:56c2:e21c::1", 400
	target := netip.MustParseAddr(dst).As16()
	var questions [][]byte
	for i := range asked {
		src := fmt.Sprintf("fe80::77:%x", i)
		body := append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, target[:]...)
		body = append(body, 1, 1, 2, 0, 0, 0, 0, 7) // and its hardware address
		questions = append(questions,
			ipv6(src, dst, 255, unix.IPPROTO_ICMPV6, icmp6Raw(src, dst, body)))
	}
	for name, state := range map[string]policyroute.State{"control": {}, "running": uno(t)} {
		t.Run(name, func(t *testing.T) {
			l.tunnel(t)
			l.bring(t, state)
			l.box.sh(t, "ip -6 neigh flush dev ztlab0")
			began := time.Now()
			l.client.do(func() { sendRaw(t, questions...) })
			took := time.Since(began)
			kept := strings.Count(l.box.sh(t, "ip -6 neigh show dev ztlab0"), "fe80::77:")
			most := int(policyroute.SolicitRate * (3 + took.Seconds()))
			t.Logf("%d of %d are kept, sent in %s", kept, asked, took)
			if name == "control" {
				most = asked
				if kept < asked/2 {
					t.Errorf("without us %d are kept: the test is blind", kept)
				}
			}
			if kept > most {
				t.Errorf("%d neighbours are kept of one member, want %d at most", kept, most)
			}
			if name == "running" {
				l.client.sh(t, "ping -c1 -W5 "+dst)
			}
		})
	}
}

// arpRequest asks who has an address, from a member's hardware address.
func arpRequest(from, who string) []byte {
	p := []byte{0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 7}
	f, w := netip.MustParseAddr(from).As4(), netip.MustParseAddr(who).As4()
	p = append(append(p, f[:]...), 0, 0, 0, 0, 0, 0)
	return append(p, w[:]...)
}

// TestARPTellsNothing has a member ask, by ARP, for addresses of the box's other links, and from
// hundreds of addresses that are not behind the ingress: the kernel would keep each.
func TestARPTellsNothing(t *testing.T) {
	l := newLeakLab(t)
	const asked, own, member = 300, "10.147.17.1", "10.147.17.50"
	l.box.sh(t, "ip addr add 10.8.0.6/32 dev wanlab0") // as of a tunnel
	var questions [][]byte
	for i := range asked {
		questions = append(questions, arpRequest(fmt.Sprintf("8.8.%d.%d", i/250, 1+i%250), own))
	}
	for _, who := range []string{"203.0.113.2", "10.8.0.6", own} { // the last one is the fence
		questions = append(questions, arpRequest(member, who))
	}
	closed := policyroute.Closed([]string{"zt*"})
	for name, tt := range map[string]struct {
		state policyroute.State
		kept  int
		told  string
	}{
		"control": {policyroute.State{}, asked, "203.0.113.2 10.8.0.6 " + own},
		"guard":   {closed, 0, own}, "running": {uno(t), 0, own},
	} {
		t.Run(name, func(t *testing.T) {
			l.tunnel(t)
			l.box.sh(t, `sysctl -qw net.ipv4.conf.ztlab0.arp_ignore=0 net.ipv4.conf.ztlab0.arp_filter=0`)
			l.bring(t, tt.state)
			if name == "guard" {
				record := filepath.Join(t.TempDir(), "record.json")
				l.box.do(func() {
					if err := guardSysctls(closed, record); err != nil {
						t.Error(err)
					}
				})
			}
			l.box.sh(t, "ip -4 neigh flush dev ztlab0")
			var capture int
			l.client.do(func() {
				capture = openCapture(t, "zt")
				sendRaw(t, questions...)
			})
			defer unix.Close(capture)
			var told []string
			buf := make([]byte, 2048)
			for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline) &&
				!slices.Contains(told, own); {
				n, _ := unix.Read(capture, buf)
				if n < 42 || !bytes.Equal(buf[12:14], []byte{8, 6}) || buf[21] != 2 {
					continue
				}
				to, _ := netip.AddrFromSlice(buf[38:42])
				if from, _ := netip.AddrFromSlice(buf[28:32]); to.String() == member {
					told = append(told, from.String())
				}
			}
			if got := strings.Join(told, " "); got != tt.told {
				t.Errorf("the box tells of %q, want %q", got, tt.told)
			}
			kept := strings.Count(l.box.sh(t, "ip -4 neigh show dev ztlab0"), "8.8.")
			t.Logf("%d of %d are kept", kept, asked)
			if kept != tt.kept {
				t.Errorf("%d of %d neighbours are kept, want %d", kept, asked, tt.kept)
			}
		})
	}
}

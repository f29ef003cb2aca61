package kernel

import (
	"bytes"
	"testing"

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
		{"control", "0", nil, 2}, {"no router", "0", both, 0}, {"a router", "1", nil, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l.bring(t, policyroute.State{})
			l.box.sh(t, "sysctl -qw net.ipv4.ip_forward="+tt.host+" net.ipv6.conf.all.forwarding="+
				tt.host)
			in := policytest.Exit()
			in.ForceForwarding6, in.Inbound, in.Edges = false, nil, tt.edges
			state, err := policyroute.Compile(in)
			if err != nil {
				t.Fatal(err)
			}
			l.bring(t, state)
			var host HostState
			l.box.do(func() { host, err = l.kernel.HostState() })
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
				t.Errorf("the other network saw %d packets of 2, want %d", got, tt.want)
			}
		})
	}
}

package kernel

import (
	"encoding/binary"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
	"ztbridge/policyroute/policytest"
)

// A client whose egress is a member of its own network would be told to go to that member by
// itself, past its policy.
func TestClientsAreNotRedirected(t *testing.T) {
	l := newLeakLab(t)
	in := policytest.Dinosaur()
	in.Ingresses, in.Egresses = in.Ingresses[:1], in.Egresses[1:]
	in.Egresses[0].IPv6, in.Egresses[0].Gateway6, in.Egresses[0].DNS = true,
		netip.MustParseAddr("fe80::2"), nil
	in.Policies = []policyroute.Policy{{Name: "policy[0]", Egress: []string{"home"}, Use: "home"}}
	full, err := policyroute.Compile(in)
	if err != nil {
		t.Fatal(err)
	}
	l.box.sh(t,
		`ip neigh replace 10.147.17.2 lladdr 02:00:00:00:00:02 dev ztlab0; ip neigh replace fe80::2 lladdr 02:00:00:00:00:02 dev ztlab0`)
	l.bring(t, full)
	for _, tt := range []struct {
		name string
		undo string
		want bool // of IPv6
	}{
		{"kept from it", ":", false},
		{"control", "nft flush chain inet ztb redirects", true},
	} {
		l.box.sh(t, tt.undo)
		for proto, type_ := range map[uint16]byte{unix.ETH_P_IP: 5, unix.ETH_P_IPV6: 137} {
			var told bool
			l.client.do(func() { told = l.redirected(t, proto, type_) })
			if want := tt.want && proto == unix.ETH_P_IPV6; told != want {
				t.Errorf("%s: redirected by %#04x: %v, want %v", tt.name, proto, told, want)
			}
		}
	}
}

// redirected sends packets and says whether their sender is told of a shorter way.
func (l *leakLab) redirected(t *testing.T, proto uint16, icmpType byte) bool {
	capture := openCapture(t, "zt")
	defer unix.Close(capture)
	for range 5 {
		sendUDP(t, map[uint16]string{unix.ETH_P_IP: "8.8.8.8:4000",
			unix.ETH_P_IPV6: "[2606:4700::1111]:4000"}[proto], marker)
	}
	// behind the headers of Ethernet and IP
	at := map[uint16]int{unix.ETH_P_IP: 14 + 20, unix.ETH_P_IPV6: 14 + 40}[proto]
	buf := make([]byte, 2048)
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); {
		n, err := unix.Read(capture, buf)
		icmp := n > 14+20 && (buf[14+9] == unix.IPPROTO_ICMP || buf[14+6] == unix.IPPROTO_ICMPV6)
		if err == nil && n > at && binary.BigEndian.Uint16(buf[12:]) == proto && icmp &&
			buf[at] == icmpType {
			return true
		}
	}
	return false
}

// What a bridge switches is seen by netfilter where br_netfilter is loaded, and is none of the
// box's business.
func TestBridgedPacketsPass(t *testing.T) {
	needs(t, "ip", "nft", "iptables", "nsenter")
	a, b, box := newThread(t), newThread(t), newThread(t)
	a.sh(t, "ip link set lo up")
	b.sh(t, "ip link set lo up")
	box.sh(t, `
ip link set lo up
ip link add br-lan type bridge; ip addr add 192.168.50.1/24 dev br-lan; ip link set br-lan up
ip link add porta type veth peer name eth netns `+a.path+`; ip link set porta master br-lan up
ip link add portb type veth peer name eth netns `+b.path+`; ip link set portb master br-lan up`)
	a.sh(t,
		`ip addr add 192.168.50.2/24 dev eth; ip link set eth address 02:00:00:00:00:0a up; ip neigh replace 192.168.50.3 lladdr 02:00:00:00:00:0b dev eth`)
	b.sh(t, `ip addr add 192.168.50.3/24 dev eth; ip link set eth address 02:00:00:00:00:0b up`)
	if t.Failed() {
		t.FailNow()
	}
	box.sh(t, untilLinksRun)
	if !exists("net/bridge/bridge-nf-call-iptables") {
		t.Skip("this kernel has not loaded br_netfilter")
	}
	var k *Kernel
	record := filepath.Join(t.TempDir(), "record.json")
	box.do(func() { k = open(t, record) })
	box.sh(t, "sysctl -qw net.bridge.bridge-nf-call-iptables=1")
	l := &leakLab{client: a, box: box, wan: b, kernel: k}
	var host HostState
	box.do(func() { host, _ = k.HostState(Wanted{}) })
	for _, link := range host.Links {
		if link.Bridge != (link.Name == "br-lan") {
			t.Errorf("%s is a bridge: %v", link.Name, link.Bridge)
		}
	}
	in := policytest.Uno()
	in.Egresses, in.Policies, in.Links6 = nil, nil, nil
	for _, switches := range []bool{true, false} {
		in.Ingresses = []policyroute.Ingress{{Name: "lan", Iface: "br-lan", Present: true,
			Switches: switches, Prefixes: policytest.Prefixes("192.168.50.0/24")}}
		state, err := policyroute.Compile(in)
		if err != nil {
			t.Fatal(err)
		}
		l.bring(t, state)
		arrived := false
		b.do(func() {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err == nil {
				err = unix.Bind(fd, &unix.SockaddrInet4{Port: 4000})
			}
			if err == nil {
				err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO,
					&unix.Timeval{Sec: 1})
			}
			if err != nil {
				t.Error(err)
				return
			}
			defer unix.Close(fd)
			a.do(func() { sendUDP(t, "192.168.50.3:4000", marker) })
			n, _ := unix.Read(fd, make([]byte, 100))
			arrived = n > 0
		})
		if arrived != switches {
			t.Errorf("taken for a bridge: %v; host B hears host A: %v", switches, arrived)
		}
	}
}

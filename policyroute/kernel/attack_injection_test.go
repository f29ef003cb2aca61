package kernel

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
	"ztbridge/policyroute/policytest"
)

// replies are what a host of the Internet would answer to a client's port, by both IP versions.
func replies(port uint16, to4, to6, text string) [][]byte {
	const from4, from6 = "9.9.9.9", "2606:4700::9"
	b4, b6 := udp(port, text), udp(port, text)
	for _, b := range [][]byte{b4, b6} {
		binary.BigEndian.PutUint16(b, 4000)
	}
	out := [][]byte{ipv4(from4, to4, 64, unix.IPPROTO_UDP, b4)}
	if to6 != "" {
		binary.BigEndian.PutUint16(b6[6:],
			checksum(append(pseudo6(from6, to6, unix.IPPROTO_UDP, len(b6)), b6...)))
		out = append(out, ipv6(from6, to6, 64, unix.IPPROTO_UDP, b6))
	}
	return out
}

const withoutEntrance = "nft flush chain inet ztb entrance"

// TestRepliesComeByTheTunnel has a host of the WAN, and a member of a network that is an egress as
// well, answer in place of the Internet what a client sent by a tunnel.
func TestRepliesComeByTheTunnel(t *testing.T) {
	l := newLeakLab(t)
	fd := l.openTUN(t, "tunztb0")
	l.box.sh(t, "ip link set wanlab0 address 02:00:00:00:00:02")
	in := unoIntent()
	in.Egresses = append(in.Egresses, exitIntent().Egresses[0], policytest.Dinosaur().Egresses[1])
	state, err := policyroute.Compile(in)
	if err != nil {
		t.Fatal(err)
	}
	for name, fault := range map[string]string{"control": withoutEntrance, "running": ":"} {
		t.Run(name, func(t *testing.T) {
			l.bring(t, state)
			l.box.sh(t, fault)
			var capture int
			l.client.do(func() { capture = openCapture(t, "zt") })
			defer unix.Close(capture)
			// The ping has the box know the client: nothing waits for that later.
			l.client.sh(t, `ping -c1 10.147.17.1 && ping -c1 fd80:56c2:e21c::1
python3 - <<'E'
import socket
for here, to in ("10.147.17.50","9.9.9.9"),("fd80:56c2:e21c::50","2606:4700::9"):
    s=socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET,socket.SOCK_DGRAM)
    s.bind((here,5555)); s.sendto(b"hello",(to,4000))
E`)
			forged := replies(5555, "10.8.0.6", "fd08::6", "forged")
			l.wan.do(func() { sendRawBy(t, "wan", forged...) })
			l.client.do(func() { sendRaw(t, forged...) })
			for _, p := range replies(5555, "10.8.0.6", "fd08::6", "the Internet's") {
				if _, err := unix.Write(fd, p); err != nil {
					t.Error(err)
				}
			}
			got, true4, true6 := 0, false, false
			buf := make([]byte, 2048)
			for range 1000 {
				n, err := unix.Read(capture, buf)
				if err != nil {
					continue
				}
				frame := string(buf[:n])
				if isTo(buf[:n], []string{"10.147.17.50", "fd80:56c2:e21c::50"}) &&
					strings.Contains(frame, "forged") {
					got++
				}
				if strings.Contains(frame, "the Internet's") {
					true4, true6 = true4 || buf[12] == 8, true6 || buf[12] == 0x86
				}
				if true4 && true6 {
					break
				}
			}
			if !true4 || !true6 {
				t.Errorf("the tunnel's own replies arrive: IPv4 %v, IPv6 %v", true4, true6)
			}
			if want := map[string]int{"control": 4}[name]; got != want {
				t.Errorf("the client got %d forged replies of 4, want %d", got, want)
			}
		})
	}
}

// TestRepliesComeByThePeer is the same of what a client of the endpoint sent by a peer.
func TestRepliesComeByThePeer(t *testing.T) {
	l := newEndpointLab(t)
	l.box.sh(t, `ip link set wanlab0 address 02:00:00:00:00:02
ip neigh replace 10.147.17.2 lladdr 02:00:00:00:00:22 dev ztlab0`)
	in := policytest.Dinosaur()
	in.Egresses = append(in.Egresses[1:], exitIntent().Egresses[0])
	in.Policies = in.Policies[:1]
	state, err := policyroute.Compile(in)
	if err != nil {
		t.Fatal(err)
	}
	for name, fault := range map[string]string{"control": withoutEntrance, "running": ":"} {
		t.Run(name, func(t *testing.T) {
			l.bring(t, state)
			l.box.sh(t, endpointUp+"; "+fault)
			hello := udp(4000, "hello")
			l.inject(t, ipv4("10.9.0.2", "9.9.9.9", 64, unix.IPPROTO_UDP, hello))
			l.wan.do(func() {
				sendRawBy(t, "wan", replies(4321, "10.147.17.1", "", "forged "+name)...)
			})
			l.client.do(func() {
				sendRaw(t, replies(4321, "10.147.17.1", "", "the Internet's "+name)...)
			})
			got := l.firstOf(t, "forged "+name, "the Internet's "+name)
			if forged := strings.HasPrefix(got, "forged"); forged != (name == "control") {
				t.Errorf("the first reply that the client gets is %q", got)
			}
		})
	}
}

// firstOf returns the text that the client gets a packet with first.
func (l *endpointLab) firstOf(t *testing.T, texts ...string) string {
	t.Helper()
	buf := make([]byte, 2048)
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		n, err := unix.Read(l.fd, buf)
		if errors.Is(err, unix.EAGAIN) {
			time.Sleep(5 * time.Millisecond)
		}
		for _, text := range texts {
			if err == nil && strings.Contains(string(buf[:n]), text) {
				return text
			}
		}
	}
	t.Errorf("none of %q arrives", texts)
	return ""
}

// TestClientsTakeNoPortOfTheBox has a member send by the WAN from the port of a service of the box,
// or of any program of the host: translated to that port, what its correspondent sends to the
// service would reach the member.
func TestClientsTakeNoPortOfTheBox(t *testing.T) {
	l := newLeakLab(t)
	l.box.sh(t, "ip link set wanlab0 address 02:00:00:00:00:02")
	for _, port := range []uint16{1194, 51820} {
		t.Run(strconv.Itoa(int(port)), func(t *testing.T) { l.takePort(t, port) })
	}
}

func (l *leakLab) takePort(t *testing.T, port uint16) {
	in := exitIntent()
	before, err := policyroute.Compile(in)
	if err != nil {
		t.Fatal(err)
	}
	service := l.listen(t, unix.SOCK_DGRAM, "", int(port))
	defer unix.Close(service)
	in.Listeners = []policyroute.Listener{{Proto: "udp", Port: 1194}}
	l.box.do(func() {
		l.kernel.ports = nil // as at the daemon's start
		host, err := l.kernel.HostState(Wanted{Services: true})
		if in.Services = host.Services; err != nil {
			t.Error(err)
		}
	})
	state, err := policyroute.Compile(in)
	if err != nil {
		t.Fatal(err)
	}
	taken := Flows{Ports: []Port{{"udp", port}}, Clients: in.Ingresses[0].Prefixes}
	const plain = `nft flush chain inet ztb translate
nft add rule inet ztb translate oifname wanlab0 masquerade`
	for _, tt := range []struct {
		name  string
		state policyroute.State
		fault string
		sent  int // of the member's packet
		cut   int
		heard bool
	}{
		{"control", state, plain + "; nft flush chain inet ztb translated", 1, 0, false},
		{"another port", state, ":", 1, 0, true},
		{"this port by chance", state, plain, 0, 0, true},
		{"this port before the service was there", before, ":", 1, 1, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l.bring(t, policyroute.State{})
			l.bring(t, tt.state)
			l.box.sh(t, tt.fault+"; conntrack -F 2>/dev/null")
			shadow := udp(4321, "the member's")
			binary.BigEndian.PutUint16(shadow, port)
			l.client.do(func() {
				sendRaw(t, ipv4("10.147.17.50", "198.51.100.7", 64, unix.IPPROTO_UDP, shadow))
			})
			if n := l.count(t, "the member's"); n != tt.sent {
				t.Errorf("the WAN saw %d packets of the member, want %d", n, tt.sent)
			}
			if tt.cut > 0 {
				l.box.do(func() {
					if n, err := l.kernel.CutFlows(t.Context(), taken); n != tt.cut || err != nil {
						t.Errorf("cut %d flows, want %d: %v", n, tt.cut, err)
					}
				})
			}
			l.wan.do(func() {
				sendRawBy(t, "wan", ipv4("198.51.100.7", "203.0.113.2", 64, unix.IPPROTO_UDP,
					udp(port, "for the service")))
			})
			l.box.do(func() { sendUDP(t, "203.0.113.2:"+strconv.Itoa(int(port)), "the fence") })
			buf := make([]byte, 64)
			n, _, err := unix.Recvfrom(service, buf, 0)
			if err != nil {
				t.Fatal(err)
			}
			if heard := string(buf[:n]) == "for the service"; heard != tt.heard {
				t.Errorf("the service hears %q first", buf[:n])
			} else if heard {
				_, _, _ = unix.Recvfrom(service, buf, 0) // the fence
			}
		})
	}
}

package kernel

import (
	"net"
	"slices"
	"testing"
	"time"

	"ztbridge/policyroute"
)

// Services are what strangers can ask. A UDP socket that opens later may be that of a question.
func TestServices(t *testing.T) {
	needs(t, "ip")
	inNamespace(t, func() {
		sh(t, "ip link set lo up; ip addr add 192.0.2.1/24 dev lo")
		udp := func(addr string) *net.UDPConn {
			c, err := net.ListenPacket("udp", addr)
			if err != nil {
				t.Fatal(err)
			}
			return c.(*net.UDPConn)
		}
		defer udp("192.0.2.1:51820").Close()
		defer udp("[::]:51821").Close()
		defer udp("127.0.0.53:53").Close()
		defer udp("[::1]:323").Close()
		for _, addr := range []string{"192.0.2.1:22", "[::]:443", "127.0.0.1:25", "[::1]:631"} {
			l, err := net.Listen("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
		}
		asks, err := net.Dial("udp", "192.0.2.1:53")
		if err != nil {
			t.Fatal(err)
		}
		defer asks.Close()
		var k Kernel
		now := time.Now()
		want := []policyroute.Listener{{Proto: "tcp", Port: 22}, {Proto: "tcp", Port: 443},
			{Proto: "udp", Port: 51820}, {Proto: "udp", Port: 51821}}
		if got := k.services(now); !slices.Equal(got, want) {
			t.Errorf("at the start: %v, want %v", got, want)
		}
		defer udp("0.0.0.0:51822").Close()
		if got := k.services(now); !slices.Equal(got, want) {
			t.Errorf("a new socket: %v, want %v", got, want)
		}
		want = append(want, policyroute.Listener{Proto: "udp", Port: 51822})
		if got := k.services(now.Add(settled)); !slices.Equal(got, want) {
			t.Errorf("a socket that stays: %v, want %v", got, want)
		}
	})
}

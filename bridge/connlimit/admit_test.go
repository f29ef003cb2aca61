package connlimit

import (
	"net"
	"net/netip"
	"testing"
)

func TestAdmit(t *testing.T) {
	inner := pipes{make(chan net.Conn)}
	good := netip.MustParseAddr("10.1.2.3")
	l := Admit(inner, func(_, remote netip.Addr) bool { return remote == good })
	send := func(ip string) net.Conn {
		far, near := net.Pipe()
		inner.next <- from{near, &net.TCPAddr{IP: net.ParseIP(ip), Zone: "eth0"}}
		return far
	}
	refused := make(chan net.Conn, 1)
	go func() {
		refused <- send("203.0.113.7")
		send("::ffff:10.1.2.3")
		inner.Close()
	}()
	conn, err := l.Accept()
	if err != nil || AddrOf(conn.RemoteAddr()) != good {
		t.Errorf("accepted %v, %v", conn, err)
	}
	if _, err := (<-refused).Read(make([]byte, 1)); err == nil {
		t.Error("who is not admitted is answered")
	}
	if _, err := l.Accept(); err == nil {
		t.Error("a closed listener accepts")
	}
}

package sockopt

import (
	"net"
	"syscall"
	"testing"
	"time"
)

// A connection is as old as its handshake, however long it waited to be accepted, and whatever has
// come on it meanwhile.
func TestOpened(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Skipf("SKIPPED: no %s on this machine: %v", address, err)
		}
		defer l.Close()
		before := time.Now()
		far, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer far.Close()
		after := time.Now()
		for range 5 {
			time.Sleep(60 * time.Millisecond)
			if _, err := far.Write([]byte("GET / HTTP/1.1\r\n")); err != nil {
				t.Fatal(err)
			}
		}
		near, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer near.Close()
		opened, err := Opened(near.(syscall.Conn))
		if err != nil {
			t.Fatal(err)
		}
		if opened.After(after) || opened.Before(before.Add(-200*time.Millisecond)) {
			t.Errorf("%s: opened %v, dialled between %v and %v", address, opened, before, after)
		}
	}
}

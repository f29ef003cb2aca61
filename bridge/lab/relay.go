package lab

import (
	"context"
	"fmt"
	"io"
	"net"

	"ztbridge/policyroute/netlab"
)

// Relay lets a program of this process's own namespace, such as a browser, connect by TCP as a host
// of the lab does: what connects to the returned address on the loopback gets to the given one. The
// caller must call stop, after which nobody can connect any more.
func Relay(from *netlab.Namespace, to string) (address string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("relaying to %s: %w", to, err)
	}
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			go relay(near, from, to)
		}
	}()
	return l.Addr().String(), func() { _ = l.Close() }, nil
}

// relay carries one connection both ways. A far end that cannot be reached ends it.
func relay(near net.Conn, from *netlab.Namespace, to string) {
	defer near.Close()
	far, err := from.Dial(context.Background(), "tcp", to)
	if err != nil {
		return
	}
	defer far.Close()
	go func() {
		_, _ = io.Copy(far, near)
		_ = far.Close()
	}()
	_, _ = io.Copy(near, far)
}

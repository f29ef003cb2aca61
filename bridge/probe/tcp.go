package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"ztbridge/bridge/sockopt"
)

// tcpPort is where targets are asked by TCP. A host that refuses has answered as well.
const tcpPort = 443

// connect opens a connection to all targets at once, by the path of the echoes. It returns how long
// the first answer took. The connection is reset at once. The box itself is not asked.
func connect(ctx context.Context, by path, targets []netip.Addr,
	timeout time.Duration) (time.Duration, error) {
	if targets = elsewhere(targets); len(targets) == 0 {
		return 0, ErrNoTarget
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	began := time.Now()
	dialer := net.Dialer{
		Control: sockopt.Control(sockopt.Mark(by.fwmark), sockopt.Device(by.name()))}
	answers := make(chan error, len(targets))
	for _, t := range targets {
		go func() { answers <- dial(ctx, &dialer, netip.AddrPortFrom(t, tcpPort)) }()
	}
	err := error(nil)
	for range targets {
		e := <-answers
		if e == nil {
			return max(time.Since(began), 1), nil
		}
		err = e
	}
	return 0, err
}

func dial(ctx context.Context, dialer *net.Dialer, to netip.AddrPort) error {
	conn, err := dialer.DialContext(ctx, "tcp", to.String())
	if errors.Is(err, unix.ECONNREFUSED) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("connecting to %s: %w: %w", to, ErrNoAnswer, err)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // a reset: nothing waits for anything
	}
	_ = conn.Close()
	return nil
}

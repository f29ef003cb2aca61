package sockopt

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// Option sets one option of a socket.
type Option func(fd int) error

// Control returns what net.Dialer and net.ListenConfig call Control: it sets the options in their
// order, and ends with the first that fails.
func Control(options ...Option) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			for _, set := range options {
				if failed = set(int(fd)); failed != nil {
					return
				}
			}
		})
		if err != nil {
			return fmt.Errorf("reaching the socket: %w", err)
		}
		return failed
	}
}

// Mark has a policy rule route what the socket sends (SO_MARK, socket(7)); 0 sets nothing. It needs
// CAP_NET_ADMIN.
func Mark(mark uint32) Option {
	return func(fd int) error {
		if mark == 0 {
			return nil
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)); err != nil {
			return fmt.Errorf("marking the socket: %w", err)
		}
		return nil
	}
}

// Device limits the socket to an interface: it sends and receives by no other (SO_BINDTODEVICE,
// socket(7)).
func Device(name string) Option {
	return func(fd int) error {
		if err := unix.BindToDevice(fd, name); err != nil {
			return fmt.Errorf("binding the socket to %s: %w", name, err)
		}
		return nil
	}
}

// FreeBind6 lets the socket use an IPv6 address that the host does not have (IPV6_FREEBIND,
// ipv6(7)).
func FreeBind6(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_FREEBIND, 1); err != nil {
		return fmt.Errorf("letting the socket use any address: %w", err)
	}
	return nil
}

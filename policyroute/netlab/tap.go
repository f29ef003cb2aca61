package netlab

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Tap connects a virtual machine to the segment in place of a host's link, whose port must be free.
// It has the same name, so that captures of the host capture the machine. The file is the machine's
// end, for the program that runs it. The port goes when the last copy of the file is closed.
func (s *Segment) Tap(ns *Namespace, iface string) (*os.File, error) {
	port := s.Port(ns, iface)
	// With the header that tells of unfinished checksums and of segments to be cut: veth leaves
	// both to the receiver.
	return s.NS.tap(port, unix.IFF_VNET_HDR,
		fmt.Sprintf("link set %s master %s up", port, s.Bridge))
}

// Taps replaces a link, which must exist, by two tap devices of the same names, addresses and
// routes. The caller carries the frames between the files, and must close both before it closes the
// namespaces; closing takes the devices away.
func (l *Link) Taps() (a, b *os.File, err error) {
	if err := l.Delete(); err != nil {
		return nil, nil, err
	}
	if a, err = l.a.tap(); err != nil {
		return nil, nil, err
	}
	if b, err = l.b.tap(); err != nil {
		return nil, nil, errors.Join(err, a.Close())
	}
	return a, b, nil
}

// tap makes this end of the link a tap device.
func (e end) tap() (*os.File, error) {
	address := fmt.Sprintf("link set %s address %s", e.iface.Name, e.mac())
	return e.ns.tap(e.iface.Name, 0, append([]string{address}, e.commands()...)...)
}

// tap makes a tap device in the namespace and sets it up by commands of ip. It goes when the file
// is closed.
func (n *Namespace) tap(name string, flags uint16, commands ...string) (f *os.File, err error) {
	err = n.Do(func() error {
		f, err = openTap(name, flags)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("making tap %s: %w", name, err)
	}
	if err := n.IP(commands...); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// openTap makes a tap device in the namespace of the calling thread, with more flags if wanted.
func openTap(name string, flags uint16) (*os.File, error) {
	// Not blocking, so that closing ends what reads.
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	req, err := unix.NewIfreq(name)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	// Only now: a descriptor without a device cannot be waited for.
	return os.NewFile(uintptr(fd), name), nil
}

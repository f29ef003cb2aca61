package netlab

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Tap plugs a virtual machine into the segment in place of a host's link, whose port must be free: it has the same name,
// so that what watches the host watches the machine. The file is the machine's end, for the program that runs it. The
// port goes when the last copy of the file is closed.
func (s *Segment) Tap(ns *Namespace, iface string) (*os.File, error) {
	port := s.Port(ns, iface)
	var tap *os.File
	err := s.NS.Do(func() (err error) {
		tap, err = openTap(port)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("making tap %s: %w", port, err)
	}
	if err := s.NS.IP(fmt.Sprintf("link set %s master %s up", port, s.Bridge)); err != nil {
		return nil, errors.Join(err, tap.Close())
	}
	return tap, nil
}

// openTap makes a tap device in the namespace of the calling thread.
func openTap(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	// With the header that tells of unfinished checksums and of segments to be cut: veth leaves both to the receiver.
	req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

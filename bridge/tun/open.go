package tun

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Open opens the existing TUN device name for reading and writing IP packets, one a call. Closing
// the file ends a read that waits, and leaves a persistent device where it is. A device that a
// program has open already is ErrBusy.
func Open(name string) (*os.File, error) {
	if err := checkName(name); err != nil {
		return nil, fmt.Errorf("opening TUN device %q: %w", name, err)
	}
	// Not blocking, so that the runtime waits for packets, and Close is heard.
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", device, err)
	}
	if err := bindTo(fd, name); err != nil {
		_ = unix.Close(fd)
		if errors.Is(err, unix.EBUSY) {
			err = ErrBusy
		}
		return nil, fmt.Errorf("opening TUN device %q: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// bindTo makes the descriptor that of the device.
func bindTo(fd int, name string) error {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	return unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
}

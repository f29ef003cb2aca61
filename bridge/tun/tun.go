package tun

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/songgao/water"
	"golang.org/x/sys/unix"
)

// ErrBusy is returned when a program has the device open.
var ErrBusy = errors.New("the TUN device is in use")

// device is where the kernel's driver is opened, by water too.
const device = "/dev/net/tun"

// opening keeps the descriptors of this package apart from one another: see open.
var opening sync.Mutex

// Ensure makes the TUN device name in the current network namespace, persistent, and gives it to
// uid and gid, both of which a process needs in order to open it. It is idempotent. A device that a
// program has open at the moment is left as it is, which is no error. The link is not set up.
func Ensure(name string, uid, gid int) error {
	if err := checkName(name); err != nil {
		return fmt.Errorf("making TUN device %q: %w", name, err)
	}
	err := open(water.PlatformSpecificParams{
		Name:        name,
		Persist:     true,
		Permissions: &water.DevicePermissions{Owner: uint(uid), Group: uint(gid)},
	})
	if err != nil && !errors.Is(err, ErrBusy) {
		return fmt.Errorf("making TUN device %q: %w", name, err)
	}
	return nil
}

// Remove removes a TUN device. One that does not exist is no error; one that is in use is ErrBusy.
func Remove(name string) error {
	if err := checkName(name); err != nil {
		return fmt.Errorf("removing TUN device %q: %w", name, err)
	}
	if _, err := net.InterfaceByName(name); err != nil {
		return nil
	}
	// Opened without persistence, the device goes away at close.
	if err := open(water.PlatformSpecificParams{Name: name}); err != nil {
		return fmt.Errorf("removing TUN device %q: %w", name, err)
	}
	return nil
}

// checkName refuses what the kernel would cut (water cuts silently) or expand.
func checkName(name string) error {
	if name == "" || len(name) >= unix.IFNAMSIZ || name == "." || name == ".." ||
		strings.ContainsAny(name, "/:% \t\n") {
		return fmt.Errorf("not an interface name of at most %d characters", unix.IFNAMSIZ-1)
	}
	return nil
}

// open opens a device by water and closes it again, which is all that changes a persistent one.
// Water opens without O_CLOEXEC, and a child that inherited the descriptor would keep the device
// busy: so no child may be forked meanwhile (that is what ForkLock is for). And it loses its
// descriptor when it fails.
func open(params water.PlatformSpecificParams) error {
	opening.Lock()
	defer opening.Unlock()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	before, err := descriptors()
	if err != nil {
		return err
	}
	iface, err := water.New(water.Config{DeviceType: water.TUN, PlatformSpecificParams: params})
	if err != nil {
		closeLost(before)
		if errors.Is(err, unix.EBUSY) {
			return ErrBusy
		}
		return err
	}
	return iface.Close()
}

// descriptors returns this process's open descriptors of the driver.
func descriptors() (map[int]bool, error) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	found := map[int]bool{}
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name()))
		if err != nil || target != device {
			continue
		}
		if fd, err := strconv.Atoi(e.Name()); err == nil {
			found[fd] = true
		}
	}
	return found, nil
}

func closeLost(before map[int]bool) {
	now, err := descriptors()
	if err != nil {
		return
	}
	for fd := range now {
		if !before[fd] {
			_ = unix.Close(fd)
		}
	}
}

// Node returns the path of a device node by which uid can open TUN devices: the system's own where
// everybody may open it, as on most systems, else one that is made in dir and belongs to uid alone.
// dir must not be writable by others.
func Node(dir string, uid int) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil {
		return "", fmt.Errorf("looking for %s: %w (is the kernel module tun loaded?)", device, err)
	}
	if uid == 0 || st.Mode&0o006 == 0o006 || int(st.Uid) == uid && st.Mode&0o600 == 0o600 {
		return device, nil
	}
	path := filepath.Join(dir, "tun")
	if err := makeNode(path, uid, st.Rdev); err != nil {
		return "", fmt.Errorf("making a device node for uid %d: %w", uid, err)
	}
	return path, nil
}

func makeNode(path string, uid int, rdev uint64) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err == nil {
		if st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == rdev && int(st.Uid) == uid &&
			st.Mode&0o777 == 0o600 {
			return nil
		}
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &fs); err != nil {
		return err
	}
	if fs.Flags&unix.ST_NODEV != 0 {
		return fmt.Errorf("%s is mounted nodev; make %s readable and writable for all (chmod 666)",
			filepath.Dir(path), device)
	}
	switch err := unix.Mknod(path, unix.S_IFCHR|0o600, int(rdev)); {
	case errors.Is(err, unix.EPERM): // as a service may not
		return fmt.Errorf("%w; make %s readable and writable for all: chmod 666 %[2]s", err, device)
	case err != nil:
		return err
	}
	if err := os.Lchown(path, uid, -1); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

package netlab

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// errGoexit is the outcome of a function that left by runtime.Goexit (t.FailNow, for one).
var errGoexit = errors.New("function did not return")

// onOwnThread runs fn on an operating system thread that dies with it. The thread is locked and
// never unlocked: once it has changed its namespaces it must not run anybody else's goroutines.
func onOwnThread(fn func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != os.Getpid() {
			fn()
			return
		}
		// The first thread of a process cannot end, and its namespaces are what /proc/self shows.
		// Another thread must do the work.
		defer runtime.UnlockOSThread()
		done := make(chan struct{})
		onOwnThread(func() {
			defer close(done)
			fn()
		})
		<-done
	}()
}

// enter moves the calling thread into the namespace's network and mounts. The working directory is
// kept, which setns would reset to the root.
func (n *Namespace) enter() error {
	dir, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("reading the working directory: %w", err)
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unsharing the file system attributes: %w", err)
	}
	if err := unix.Setns(int(n.netFile.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering network namespace %s: %w", n.Name, err)
	}
	if err := unix.Setns(int(n.mntFile.Fd()), unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("entering the mounts of %s: %w", n.Name, err)
	}
	if err := unix.Chdir(dir); err != nil {
		return fmt.Errorf("returning to %s: %w", dir, err)
	}
	return nil
}

// Do runs fn in the namespace, on a thread of its own, and returns its error. Sockets that fn opens
// belong to the namespace forever; goroutines that it starts do not run there. Do not call t.Fatal
// in it.
func (n *Namespace) Do(fn func() error) error {
	done := make(chan error, 1)
	onOwnThread(func() {
		err := errGoexit
		defer func() { done <- err }()
		if err = n.enter(); err == nil {
			err = errGoexit
			err = fn()
		}
	})
	return <-done
}

// serve is the thread that owns the namespace's mounts and is the parent of its processes. The
// kernel kills them when this thread dies, so that none outlives a lab that crashed.
func (n *Namespace) serve(ready chan<- error) {
	err := n.privateMounts()
	ready <- err
	if err != nil {
		return
	}
	for fn := range n.requests {
		fn()
	}
}

// privateMounts gives the calling thread the namespace's network and a mount namespace of its own.
// /sys there shows that network, as with `ip netns exec`.
func (n *Namespace) privateMounts() error {
	if err := unix.Setns(int(n.netFile.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering network namespace %s: %w", n.Name, err)
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unsharing the mounts: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("making the mounts private: %w", err)
	}
	if err := unix.Mount(n.Name, "/sys", "sysfs", 0, ""); err != nil {
		return fmt.Errorf("mounting /sys: %w", err)
	}
	if err := OpenTUN(); err != nil {
		return err
	}
	f, err := os.Open("/proc/thread-self/ns/mnt")
	if err != nil {
		return fmt.Errorf("opening the mount namespace: %w", err)
	}
	n.mntFile = f
	return nil
}

// OpenTUN lets every user open the TUN driver, in the mount namespace of the calling thread, which
// must not be the machine's. udev does so, but not every machine has it. Idempotent.
func OpenTUN() error {
	const dir, node = "/dev/net", "/dev/net/tun"
	info, err := os.Stat(node)
	if err != nil || info.Mode().Perm() == 0o666 {
		return nil // whoever needs it says that it is missing
	}
	const flags = unix.MS_NOSUID | unix.MS_NOEXEC
	if err := unix.Mount("tmpfs", dir, "tmpfs", flags, "mode=755"); err != nil {
		return fmt.Errorf("mounting %s: %w", dir, err)
	}
	const major, minor = 10, 200 // Documentation/admin-guide/devices.txt
	if err := unix.Mknod(node, unix.S_IFCHR|0o666, int(unix.Mkdev(major, minor))); err != nil {
		return fmt.Errorf("making %s: %w", node, err)
	}
	if err := os.Chmod(node, 0o666); err != nil { // whatever the umask
		return fmt.Errorf("opening %s to all: %w", node, err)
	}
	return nil
}

// onOwner runs fn on the owner thread and waits for it. fn must be short.
func (n *Namespace) onOwner(fn func() error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return fmt.Errorf("using namespace %s: %w", n.Name, os.ErrClosed)
	}
	done := make(chan error, 1)
	n.requests <- func() { done <- fn() }
	return <-done
}

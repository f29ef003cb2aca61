package tun

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inNamespace runs the calling test again in a process of its own, in a network namespace of its
// own, and returns true there. Go moves goroutines between threads, and a namespace belongs to a
// thread; a whole process in the namespace has no such trouble.
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv("ZTB_TEST_NS") == t.Name() {
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, to make a network namespace and TUN devices")
	}
	if _, err := os.Stat(device); err != nil {
		t.Skipf("SKIPPED: needs %s: %v", device, err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), "ZTB_TEST_NS="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET,
		Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	t.Logf("in its namespace:\n%s", out)
	if err != nil {
		t.Fatal(err)
	}
	return false
}

// user is an unprivileged identity that owns nothing here.
const user = 65533

// attach opens a TUN device as user would, by the node, and returns its errno text.
func attach(t *testing.T, node, name string) string {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestAttachHelper$")
	cmd.Env = append(os.Environ(), "ZTB_ATTACH="+node+" "+name)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(strings.SplitN(string(out), "\n", 2)[0])
}

func TestAttachHelper(t *testing.T) {
	node, name, ok := strings.Cut(os.Getenv("ZTB_ATTACH"), " ")
	if !ok {
		t.Skip("runs only as the unprivileged helper of other tests")
	}
	_, err := hold(node, name)
	fmt.Println(err)
}

// hold attaches to a device as openvpn does and keeps it.
func hold(node, name string) (*os.File, error) {
	fd, err := unix.Open(node, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), node)
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	return f, unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
}

func TestDevice(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	const name = "tunztb-fifteen1" // 15 characters, all that a name may have
	dir := t.TempDir()
	// The test's own two directories are made 0700 by some versions of Go; those above belong to
	// the machine.
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	node, err := Node(dir, user)
	if err != nil {
		t.Skipf("SKIPPED: no device node can be made here: %v", err)
	}
	for range 2 { // idempotent
		if err := Ensure(name, user, user); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := net.InterfaceByName(name); err != nil {
		t.Fatalf("the device is not persistent: %v", err)
	}
	if got := attach(t, node, name); got != "<nil>" {
		t.Errorf("its owner cannot attach: %s", got)
	}
	if err := Ensure("tunztb-other", user+1, user+1); err != nil {
		t.Fatal(err)
	}
	if got := attach(t, node, "tunztb-other"); got != unix.EPERM.Error() {
		t.Errorf("a stranger attached to another's device: %s", got)
	}
	if got := attach(t, node, "tunztb-new"); got != unix.EPERM.Error() {
		t.Errorf("the user made a device of its own: %s", got)
	}

	holder, err := hold(device, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := Ensure(name, user, user); err != nil {
		t.Errorf("a device in use is no error: %v", err)
	}
	if err := Remove(name); !errors.Is(err, ErrBusy) {
		t.Errorf("removing a device in use: %v, want ErrBusy", err)
	}
	holder.Close()
	for range 2 {
		if err := Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := net.InterfaceByName(name); err == nil {
		t.Error("the device is still there")
	}
}

func TestNoDescriptorIsLost(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	if err := Ensure("tunztb0", user, user); err != nil {
		t.Fatal(err)
	}
	holder, err := hold(device, "tunztb0")
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	for range 50 {
		_ = Ensure("tunztb0", user, user) // busy: water fails and loses its descriptor
		_ = Ensure("lo", user, user)      // not a TUN device
	}
	open, err := descriptors()
	if err != nil {
		t.Fatal(err)
	}
	if len(open) != 1 {
		t.Errorf("%d descriptors of %s are open, want the holder's alone", len(open), device)
	}
}

func TestNameIsNotCut(t *testing.T) {
	for _, name := range []string{"", "sixteen-letters1", "a/b", "a b", "tun%d", ".."} {
		if err := Ensure(name, user, user); err == nil {
			t.Errorf("%q was taken for a name", name)
		}
	}
}

func TestNodeReplacesAWrongOne(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, to make a device node")
	}
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil {
		t.Skipf("SKIPPED: needs %s: %v", device, err)
	}
	path := filepath.Join(t.TempDir(), "tun")
	target := filepath.Join(t.TempDir(), "target")
	if err := os.WriteFile(target, []byte("untouched"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	if err := makeNode(path, user, st.Rdev); err != nil {
		t.Skipf("SKIPPED: no device node can be made here: %v", err)
	}
	var got unix.Stat_t
	if err := unix.Lstat(path, &got); err != nil {
		t.Fatal(err)
	}
	if got.Rdev != st.Rdev || got.Uid != user || got.Mode&0o777 != 0o600 {
		t.Errorf("the node has device %x, owner %d, mode %o", got.Rdev, got.Uid, got.Mode)
	}
	info, err := os.Stat(target)
	if err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("what the symbolic link named was changed: %v", err)
	}
	if data, _ := os.ReadFile(target); !bytes.Equal(data, []byte("untouched")) {
		t.Error("what the symbolic link named was overwritten")
	}
}

package netlab

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	netnsDir   = "/run/netns"
	namePrefix = "ztb-"
)

// Namespace is a host of the lab. It is a named network namespace (visible to `ip netns`) with
// mounts of its own and the processes that were started in it. Its methods may be called
// concurrently.
type Namespace struct {
	Name  string // ztb-<pid>-<random>-<label>
	Label string // "box"

	dir      string // holds the files that are mounted over the host's
	netFile  *os.File
	mntFile  *os.File
	requests chan func()

	mu        sync.Mutex
	closed    bool
	files     map[string]string // path → file mounted over it
	processes []*Process
}

// NewNamespace makes an empty host: only loopback, up; no forwarding; addresses are usable at once
// (no duplicate address detection). The caller owns it and must Close it.
func NewNamespace(label string) (*Namespace, error) {
	n := &Namespace{
		Name:     fmt.Sprintf("%s%d-%s-%s", namePrefix, os.Getpid(), rand.Text()[:8], label),
		Label:    label,
		requests: make(chan func()),
		files:    make(map[string]string),
	}
	if err := run("ip", "netns", "add", n.Name); err != nil {
		return nil, fmt.Errorf("adding namespace %s: %w", n.Name, err)
	}
	if err := n.open(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *Namespace) open() error {
	var err error
	if n.dir, err = os.MkdirTemp("", n.Name+"-"); err != nil {
		return fmt.Errorf("making a directory: %w", err)
	}
	if n.netFile, err = os.Open(filepath.Join(netnsDir, n.Name)); err != nil {
		return fmt.Errorf("opening namespace %s: %w", n.Name, err)
	}
	ready := make(chan error, 1)
	onOwnThread(func() { n.serve(ready) })
	if err := <-ready; err != nil {
		return err
	}
	if err := n.IP("link set lo up"); err != nil {
		return err
	}
	return n.Sysctl(
		"net/ipv4/ip_forward=0",
		"net/ipv4/conf/all/rp_filter=0", "net/ipv4/conf/default/rp_filter=0",
		"net/ipv6/conf/all/accept_dad=0", "net/ipv6/conf/default/accept_dad=0",
	)
}

// Close kills every process in the namespace, whoever started it, and deletes the namespace. It is
// safe to call it twice.
func (n *Namespace) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	close(n.requests)
	processes := slices.Clone(n.processes)
	n.mu.Unlock()

	for _, p := range processes {
		p.Kill()
	}
	errs := []error{killAll(n.Name)}
	for _, f := range []*os.File{n.netFile, n.mntFile} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	errs = append(errs, run("ip", "netns", "del", n.Name), os.RemoveAll(n.dir))
	return errors.Join(errs...)
}

// IP runs commands of ip(8) in the namespace as one batch: `n.IP("link set eth0 up")`. It stops at
// the first that fails.
func (n *Namespace) IP(commands ...string) error {
	return n.script(strings.Join(commands, "\n")+"\n", "ip", "-n", n.Name, "-batch", "-")
}

// Nft applies a script of nft(8) in the namespace, as one transaction.
func (n *Namespace) Nft(script string) error {
	return n.script(script, "ip", "netns", "exec", n.Name, "nft", "-f", "-")
}

func (n *Namespace) script(script, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(script)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s in %s: %w: %s\n%s", name, n.Label, err,
			strings.TrimSpace(string(out)), script)
	}
	return nil
}

// Sysctl writes kernel parameters, "net/ipv4/ip_forward=1". A parameter that does not exist is an
// error.
func (n *Namespace) Sysctl(settings ...string) error {
	return n.Do(func() error {
		for _, s := range settings {
			key, value, _ := strings.Cut(s, "=")
			if err := os.WriteFile(filepath.Join("/proc/sys", key), []byte(value),
				0o644); err != nil {
				return fmt.Errorf("setting %s in %s: %w", s, n.Label, err)
			}
		}
		return nil
	})
}

// SetFile makes path, which must exist on this machine, show content to everything that runs in the
// namespace: /etc/resolv.conf, /etc/hosts. Calling it again replaces the content.
func (n *Namespace) SetFile(path, content string) error {
	n.mu.Lock()
	file, mounted := n.files[path]
	if !mounted {
		file = filepath.Join(n.dir, strings.ReplaceAll(strings.Trim(path, "/"), "/", "_"))
		n.files[path] = file
	}
	n.mu.Unlock()
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		return fmt.Errorf("writing %s for %s: %w", path, n.Label, err)
	}
	if mounted {
		return nil
	}
	return n.onOwner(func() error {
		if err := unix.Mount(file, path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mounting over %s in %s: %w", path, n.Label, err)
		}
		return nil
	})
}

// SetResolvers writes the namespace's /etc/resolv.conf.
func (n *Namespace) SetResolvers(addrs ...string) error {
	var b strings.Builder
	for _, a := range addrs {
		fmt.Fprintf(&b, "nameserver %s\n", a)
	}
	b.WriteString("options timeout:1 attempts:2\n")
	return n.SetFile("/etc/resolv.conf", b.String())
}

// Dial connects from the namespace. The address must be numeric.
func (n *Namespace) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = n.Do(func() error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens for TCP in the namespace. Close frees the port.
func (n *Namespace) Listen(network, address string) (l net.Listener, err error) {
	err = n.Do(func() error {
		l, err = net.Listen(network, address)
		return err
	})
	if tcp, ok := l.(*net.TCPListener); ok {
		l = listener{tcp}
	}
	return l, err
}

// listener stops listening before it is closed. A process that is just being started has a copy of
// each socket until it executes its program, and would keep the port taken until then.
type listener struct{ *net.TCPListener }

func (l listener) Close() error {
	raw, err := l.SyscallConn()
	if err != nil {
		return errors.Join(err, l.TCPListener.Close())
	}
	var stopped error
	err = raw.Control(func(fd uintptr) { stopped = unix.Shutdown(int(fd), unix.SHUT_RD) })
	return errors.Join(err, stopped, l.TCPListener.Close())
}

// ListenPacket opens a datagram socket in the namespace.
func (n *Namespace) ListenPacket(network, address string) (c net.PacketConn, err error) {
	err = n.Do(func() error {
		c, err = net.ListenPacket(network, address)
		return err
	})
	return c, err
}

// TempDir makes a directory for a lab's files, which Sweep removes once this process is gone. It
// is open to programs that drop root. The caller removes it.
func TempDir(label string) (string, error) {
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-%s-", namePrefix, os.Getpid(), label))
	if err != nil {
		return "", fmt.Errorf("making a directory: %w", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", errors.Join(fmt.Errorf("opening a directory: %w", err), os.RemoveAll(dir))
	}
	return dir, nil
}

// Sweep deletes what labs of processes that no longer exist left behind.
func Sweep() error {
	entries, err := os.ReadDir(netnsDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listing namespaces: %w", err)
	}
	var errs []error
	for _, e := range entries {
		rest, ours := strings.CutPrefix(e.Name(), namePrefix)
		owner, _, _ := strings.Cut(rest, "-")
		pid, err := strconv.Atoi(owner)
		if !ours || err != nil || unix.Kill(pid, 0) != unix.ESRCH {
			continue
		}
		errs = append(errs, sweep(e.Name(), namePrefix+owner+"-*"))
	}
	return errors.Join(errs...)
}

// sweep deletes one namespace and the temporary files of its lab.
func sweep(name, files string) error {
	err := errors.Join(killAll(name), run("ip", "netns", "del", name))
	if _, gone := os.Stat(filepath.Join(netnsDir, name)); errors.Is(gone, os.ErrNotExist) {
		err = nil // another lab may have been faster
	}
	leftovers, globErr := filepath.Glob(filepath.Join(os.TempDir(), files))
	err = errors.Join(err, globErr)
	for _, dir := range leftovers {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// killAll kills the processes in the named network namespace and waits until they are gone. A
// living process would keep the namespace, its links and its sockets.
func killAll(name string) error {
	link, err := namespaceLink(name)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		pids, err := processesIn(link)
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL) // it may be gone already
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("killing the processes in %s: %v still there", name, pids)
		}
	}
}

// Pids returns the processes in the namespace that run a program, whoever started them.
func (n *Namespace) Pids(program string) ([]int, error) {
	link, err := namespaceLink(n.Name)
	if err != nil {
		return nil, err
	}
	all, err := processesIn(link)
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, pid := range all {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err == nil && strings.TrimSpace(string(name)) == program {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// namespaceLink returns what /proc/<pid>/ns/net of the processes in a namespace points to.
func namespaceLink(name string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(netnsDir, name), &st); err != nil {
		return "", fmt.Errorf("reading namespace %s: %w", name, err)
	}
	return fmt.Sprintf("net:[%d]", st.Ino), nil
}

func processesIn(link string) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		// A zombie has no namespaces any more: its link cannot be read.
		if at, err := os.Readlink(filepath.Join("/proc", e.Name(), "ns/net")); err == nil &&
			at == link {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// run executes a program in the caller's namespace.
func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err,
			strings.TrimSpace(string(out)))
	}
	return nil
}

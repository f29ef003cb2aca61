package client

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ztbridge/bridge/openvpn/ovpntest"
	"ztbridge/bridge/openvpn/process"
	"ztbridge/bridge/openvpn/profile"
)

// The lab: this test's process in a network namespace of its own, and a provider in another.
//
//	┌─ test process, openvpn client ─┐      ┌─ provider ──────────────┐
//	│  tunztb0           wan0        │ veth │  prov0        tun0      │
//	│  (session)         192.0.2.1 ──┼──────┼─ 192.0.2.2    10.77.0.1 │
//	└────────────────────────────────┘      └─────────────────────────┘
const (
	labUser    = 61234 // unprivileged, and nobody on this machine
	boxAddr    = "192.0.2.1"
	serverAddr = "192.0.2.2"
	labDevice  = "tunztb0"
	labTimeout = 60 * time.Second // for what takes a second on an idle machine
)

// inNamespace runs the calling test again in a process of its own with a network namespace of its
// own, and returns true there. (Go moves goroutines between threads, and a namespace belongs to a
// thread.)
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv("ZTB_TEST_NS") == t.Name() {
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, to make network namespaces")
	}
	for _, program := range []string{"openvpn", "ip", "nsenter", "unshare", "ping"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("SKIPPED: needs %s on the PATH", program)
		}
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skipf("SKIPPED: needs /dev/net/tun: %v", err)
	}
	t.Parallel() // namespaces do not meet, and what happens in them is mostly waiting
	cmd := exec.Command("/proc/self/exe", "-test.run="+onlyTest(t), "-test.v", "-test.count=1",
		fmt.Sprintf("-test.short=%v", testing.Short()), "-test.timeout=10m")
	cmd.Env = append(os.Environ(), "ZTB_TEST_NS="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET,
		Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil:
		t.Fatalf("in its namespace: %v\n%s", err, out)
	case strings.Contains(string(out), "SKIPPED"):
		t.Skipf("%s", out)
	case testing.Verbose():
		t.Logf("in its namespace:\n%s", out)
	}
	return false
}

// onlyTest returns a pattern that matches this test or subtest alone.
func onlyTest(t *testing.T) string {
	var parts []string
	for part := range strings.SplitSeq(t.Name(), "/") {
		parts = append(parts, "^"+regexp.QuoteMeta(part)+"$")
	}
	return strings.Join(parts, "/")
}

type lab struct {
	t     *testing.T
	dir   string
	pause *process.Process // keeps the provider's namespace
	pki   *ovpntest.PKI
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, dir: t.TempDir(), pki: ovpntest.NewPKI(t)}
	// The test's own two directories; those above belong to the machine.
	for _, d := range []string{filepath.Dir(l.dir), l.dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	l.pause = l.spawn(func(string) {}, "unshare", "-n", "sleep", "3600")
	t.Cleanup(l.pause.Kill)
	l.awaitNamespace()
	l.sh("ip link set lo up")
	l.sh(fmt.Sprintf("ip link add wan0 type veth peer name prov0 netns %d", l.pause.PID()))
	l.sh("ip addr add " + boxAddr + "/24 dev wan0")
	l.sh("ip link set wan0 up")
	l.provider("ip link set lo up")
	l.provider("ip addr add " + serverAddr + "/24 dev prov0")
	l.provider("ip link set prov0 up")
	return l
}

// spawn starts a program of the lab. (Not by exec.Command with Pdeathsig: that kills it when the
// thread that started it ends, and the package under test ends threads.)
func (l *lab) spawn(output func(string), program string, args ...string) *process.Process {
	l.t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		l.t.Fatal(err)
	}
	p, err := process.Start(process.Spec{Path: path, Args: args, Output: output})
	if err != nil {
		l.t.Fatal(err)
	}
	return p
}

// awaitNamespace waits until unshare has done its work.
func (l *lab) awaitNamespace() {
	l.t.Helper()
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		l.t.Fatal(err)
	}
	for deadline := time.Now().Add(labTimeout); time.Now().Before(deadline); time.Sleep(
		5 * time.Millisecond) {
		if got, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", l.pause.PID())); err == nil &&
			got != own {
			return
		}
		select {
		case <-l.pause.Done():
			l.t.Skipf("SKIPPED: no network namespace can be made here: %v", l.pause.Err())
		default:
		}
	}
	l.t.Fatal("the provider's namespace does not appear")
}

// sh runs a command in the test's namespace.
func (l *lab) sh(command string) string {
	l.t.Helper()
	out, err := exec.Command("sh", "-c", command).CombinedOutput()
	if err != nil {
		l.t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

// provider runs a command in the provider's namespace.
func (l *lab) provider(command string) string {
	return l.sh(fmt.Sprintf("nsenter -t %d -n %s", l.pause.PID(), command))
}

// cryptV2 makes keys of tls-crypt-v2: the server's file, and what a client's profile holds.
func (l *lab) cryptV2() (serverFile, client string) {
	l.t.Helper()
	serverFile = filepath.Join(l.dir, "v2-server.key")
	clientFile := filepath.Join(l.dir, "v2-client.key")
	for _, args := range [][]string{{"--genkey", "tls-crypt-v2-server", serverFile},
		{"--tls-crypt-v2", serverFile, "--genkey", "tls-crypt-v2-client", clientFile}} {
		if out, err := exec.Command("openvpn", args...).CombinedOutput(); err != nil {
			l.t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	text, err := os.ReadFile(clientFile)
	if err != nil {
		l.t.Fatal(err)
	}
	return serverFile, string(text)
}

// server is an openvpn server of the provider.
type server struct {
	l    *lab
	proc *process.Process
	args []string

	mu  sync.Mutex
	log []string
}

// serve starts a server with the lab's usual configuration and the lines given, and waits until it
// serves.
func (l *lab) serve(proto string, lines ...string) *server {
	l.t.Helper()
	config := []string{
		"dev tun", "proto " +
			proto, "port 1194", "topology subnet", "server 10.77.0.0 255.255.255.0",
		"dh none", "verb 4", "persist-tun", "persist-key", "duplicate-cn",
		ovpntest.Inline("ca", l.pki.CA.PEM), ovpntest.Inline("cert", l.pki.Server.PEM), ovpntest.Inline("key",
			l.pki.Server.Key),
	}
	if !strings.Contains(strings.Join(lines, "\n"), "keepalive") {
		lines = append(lines, "keepalive 10 60")
	}
	config = append(config, lines...)
	path := filepath.Join(l.dir, fmt.Sprintf("server-%d.conf", time.Now().UnixNano()))
	if err := os.WriteFile(path, []byte(strings.Join(config, "\n")+"\n"), 0o600); err != nil {
		l.t.Fatal(err)
	}
	s := &server{l: l, args: []string{"-t", fmt.Sprint(l.pause.PID()), "-n", "openvpn", "--config",
		path, "--suppress-timestamps"}}
	s.start()
	l.t.Cleanup(func() { s.kill() })
	return s
}

func (s *server) start() {
	s.l.t.Helper()
	ready := make(chan struct{}, 1)
	s.proc = s.l.spawn(func(line string) {
		s.mu.Lock()
		s.log = append(s.log, line)
		s.mu.Unlock()
		if strings.Contains(line, "Initialization Sequence Completed") {
			ready <- struct{}{}
		}
	}, "nsenter", s.args...)
	select {
	case <-ready:
	case <-s.proc.Done():
		s.l.t.Fatalf("the server does not start:\n%s", s.tail())
	case <-time.After(labTimeout):
		s.l.t.Fatalf("the server does not get ready:\n%s", s.tail())
	}
}

func (s *server) tail() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.log[max(0, len(s.log)-40):], "\n")
}

func (s *server) kill() { s.proc.Kill() }

// client is a tunnel under test with what it reported.
type client struct {
	*Tunnel
	l       *lab
	cancel  context.CancelFunc
	done    chan error
	changed chan struct{}
}

// profile writes a provider's profile for the lab's server.
func (l *lab) profile(lines ...string) string {
	base := []string{
		"client", "dev tun", "nobind", "remote-cert-tls server",
		ovpntest.Inline("ca", l.pki.CA.PEM), ovpntest.Inline("cert", l.pki.Client.PEM), ovpntest.Inline("key",
			l.pki.Client.Key),
	}
	return strings.Join(append(base, lines...), "\n") + "\n"
}

// dial starts a tunnel with a profile. adjust may change its configuration.
func (l *lab) dial(text string, adjust func(*Config)) *client {
	l.t.Helper()
	p, _, err := profile.Parse([]byte(text), "lab.ovpn", profile.Options{})
	if err != nil {
		l.t.Fatal(err)
	}
	c := &client{l: l, done: make(chan error, 1), changed: make(chan struct{}, 1)}
	cfg := Config{
		Name: "lab", Profile: p, Device: labDevice, EnsureDevice: l.ensureDevice,
		UID: labUser, GID: labUser,
		RuntimeDir: filepath.Join(l.dir, "run"), StateDir: filepath.Join(l.dir, "state"),
		Log: slog.New(slog.DiscardHandler),
		Notify: func() {
			select {
			case c.changed <- struct{}{}:
			default:
			}
		},
	}
	if adjust != nil {
		adjust(&cfg)
	}
	if c.Tunnel, err = New(cfg); err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	go func() { c.done <- c.Run(ctx) }()
	l.t.Cleanup(c.stop)
	return c
}

// ensureDevice makes the persistent device as the daemon does, with the tools of iproute2.
func (l *lab) ensureDevice() (string, error) {
	node := filepath.Join(l.dir, "tun-node")
	script := fmt.Sprintf(
		`ip link show %[1]s >/dev/null 2>&1 || ip tuntap add dev %[1]s mode tun user %[2]d group %[4]d
		[ -e %[3]s ] || { mknod -m 600 %[3]s c 10 200 && chown %[2]d %[3]s; }`, labDevice, labUser,
		node, process.DeviceGroup(labDevice))
	out, err := exec.Command("sh", "-c", script).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return node, nil
}

func (c *client) stop() {
	c.cancel()
	select {
	case err := <-c.done:
		if err != nil {
			c.l.t.Errorf("Run: %v", err)
		}
		c.done <- nil
	case <-time.After(labTimeout):
		c.l.t.Error("Run does not end")
	}
}

// await waits until the status satisfies want, and returns it.
func (c *client) await(what string, want func(Status) bool) Status {
	c.l.t.Helper()
	deadline := time.After(labTimeout)
	for {
		s := c.Status()
		if want(s) {
			return s
		}
		select {
		case <-c.changed:
		case <-time.After(100 * time.Millisecond): // byte counters change nothing
		case <-deadline:
			c.l.t.Fatalf("waiting for %s: the tunnel is %+v\n%s", what, s, c.logText())
		}
	}
}

func (c *client) awaitState(want State) Status {
	c.l.t.Helper()
	return c.await(string(want), func(s Status) bool { return s.State == want })
}

// awaitGeneration waits until the tunnel has come up for the n-th time.
func (c *client) awaitGeneration(n uint64) Status {
	c.l.t.Helper()
	return c.await(fmt.Sprintf("generation %d", n),
		func(s Status) bool { return s.State == StateUp && s.Generation >= n })
}

func (c *client) logText() string {
	var b strings.Builder
	for _, l := range c.Log() {
		fmt.Fprintf(&b, "%s %s (+%d)\n", l.Flags, l.Text, l.Repeats)
	}
	return b.String()
}

// ping checks that packets pass through the tunnel, with the session's address.
func (c *client) ping() {
	c.l.t.Helper()
	s := c.Status()
	c.l.sh(fmt.Sprintf(
		"ip addr flush dev %[1]s; ip addr add %[2]s dev %[1]s; ip link set %[1]s up mtu %[3]d",
		labDevice, s.Session.Addrs[0], s.Session.MTU))
	gw := s.Session.Addrs[0].Masked().Addr().Next()
	c.l.sh(fmt.Sprintf("ping -c 1 -W 1 %[1]s || ping -c 3 -i 0.3 -W 5 %[1]s", gw))
}

func prefixes(list ...string) func() []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return func() []netip.Prefix { return out }
}

package management

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	ovpn "github.com/mysteriumnetwork/go-openvpn/openvpn/management"
)

const waitTimeout = 20 * time.Second

var quiet = slog.New(slog.DiscardHandler)

// peer plays openvpn: it answers each line by a function.
func peer(t *testing.T, answer func(line string) string) *Conn {
	t.Helper()
	ours, theirs := net.Pipe()
	go func() {
		sc := bufio.NewScanner(theirs)
		for sc.Scan() {
			if _, err := fmt.Fprint(theirs, answer(sc.Text())); err != nil {
				return
			}
		}
	}()
	c := newConn(ours, quiet)
	t.Cleanup(func() { c.Close(); _ = theirs.Close() })
	return c
}

// serve runs Serve beside the test.
func serve(t *testing.T, c *Conn, m ...ovpn.Middleware) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { done <- c.Serve(ctx, m...) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(waitTimeout):
			t.Error("Serve does not end")
		}
	})
	return done
}

// TestConcurrentCommands is what the transport of go-openvpn got wrong: with commands from many
// goroutines, each must get its own answer.
func TestConcurrentCommands(t *testing.T) {
	c := peer(t, func(line string) string {
		return ">LOG:1,I,noise between the answers\nSUCCESS: " + line + "\n>BYTECOUNT:1,2\n"
	})
	serve(t, c)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			for j := range 50 {
				want := fmt.Sprintf("echo %d-%d addr=[fe80::1]:1194", i, j)
				if got, err := c.SingleLineCommand("%s", want); err != nil || got != want {
					t.Errorf("got %q, %v; want %q", got, err, want)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestReplies(t *testing.T) {
	c := peer(t, func(line string) string {
		switch line {
		case "status":
			return "OpenVPN STATISTICS\nTUN/TAP read bytes,0\nEND\n"
		case "state on all":
			return "SUCCESS: real-time state notification set to ON\n1,WAIT,,\nEND\n"
		case "bad":
			return "ERROR: unknown command: with colons\n"
		}
		return "SUCCESS: \n"
	})
	serve(t, c)
	if _, lines, err := c.MultiLineCommand("status"); err != nil || len(lines) != 2 ||
		lines[0] != "OpenVPN STATISTICS" {
		t.Errorf("status: %q, %v", lines, err)
	}
	if text, lines, err := c.MultiLineCommand("state on all"); err != nil || len(lines) != 1 ||
		text == "" {
		t.Errorf("state: %q, %q, %v", text, lines, err)
	}
	var refused *CommandError
	if _, err := c.SingleLineCommand("bad"); !errors.As(err, &refused) ||
		refused.Text != "unknown command: with colons" {
		t.Errorf("a refused command: %v", err)
	}
	if _, _, err := c.MultiLineCommand("bad"); !errors.As(err, &refused) {
		t.Errorf("a refused command: %v", err)
	}
	if text, err := c.SingleLineCommand("fine"); err != nil || text != "" {
		t.Errorf("after errors: %q, %v", text, err)
	}
}

func TestInjectionIsRefused(t *testing.T) {
	c := peer(t, func(string) string { t.Error("something was sent"); return "SUCCESS: \n" })
	serve(t, c)
	for _, s := range []string{"a\nsignal SIGTERM", "a\rb", "a\x00b"} {
		if _, err := c.SingleLineCommand("password %s %s", Quote("Auth"), Quote(s)); !errors.Is(err,
			ErrInjection) {
			t.Errorf("%q: %v", s, err)
		}
		if _, err := c.Block("client-auth 1 2", []string{s}); !errors.Is(err, ErrInjection) {
			t.Errorf("block with %q: %v", s, err)
		}
	}
	if _, err := c.Block("client-auth 1 2", []string{"END"}); !errors.Is(err, ErrInjection) {
		t.Errorf("block with END: %v", err)
	}
}

func TestBlock(t *testing.T) {
	var mu sync.Mutex
	var got []string
	c := peer(t, func(line string) string {
		mu.Lock()
		defer mu.Unlock()
		if got = append(got, line); line != "END" {
			return ""
		}
		return "SUCCESS: client-auth command succeeded\n"
	})
	serve(t, c)
	if _, err := c.Block("client-auth 1 2",
		[]string{"ifconfig-push 10.0.0.2 255.255.255.0"}); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if want := "client-auth 1 2|ifconfig-push 10.0.0.2 255.255.255.0|END"; strings.Join(got,
		"|") != want {
		t.Errorf("sent %q", got)
	}
}

// TestSilentPeer: a peer that does not answer costs the deadline once, and the connection.
func TestSilentPeer(t *testing.T) {
	if testing.Short() {
		t.Skip("takes the deadline of 5 s")
	}
	c := peer(t, func(string) string { return "" })
	serve(t, c)
	if _, err := c.SingleLineCommand("pid"); !errors.Is(err, ErrDeadline) {
		t.Errorf("first: %v", err)
	}
	if _, err := c.SingleLineCommand("pid"); !errors.Is(err, ErrClosed) {
		t.Errorf("second: %v", err)
	}
}

// recorder is a Middleware that keeps what it sees.
type recorder struct {
	start func(ovpn.CommandWriter) error
	lines chan string
	gate  chan struct{} // when not nil, each line waits for it
	ended chan struct{}
}

func (r *recorder) Start(w ovpn.CommandWriter) error {
	if r.start != nil {
		return r.start(w)
	}
	return nil
}
func (r *recorder) Stop(ovpn.CommandWriter) error { close(r.ended); return nil }
func (r *recorder) ConsumeLine(line string) (bool, error) {
	if r.gate != nil {
		<-r.gate
	}
	r.lines <- line
	return true, nil
}

// TestFloodOfLogLines: a deleted TUN device makes openvpn say 340,000 lines a second. They must
// neither pile up nor hold up what matters.
func TestFloodOfLogLines(t *testing.T) {
	ours, theirs := net.Pipe()
	c := newConn(ours, quiet)
	r := &recorder{lines: make(chan string, 4*queueLength), gate: make(chan struct{}),
		ended: make(chan struct{})}
	serve(t, c, r)
	const flood = 20 * queueLength
	for range flood {
		if _, err := fmt.Fprint(theirs,
			">LOG:1,N,read from TUN/TAP: File descriptor in bad state\n"); err != nil {
			t.Fatal(err)
		}
	}
	close(r.gate)
	if _, err := fmt.Fprint(theirs, ">HOLD:Waiting for hold release:0\n"); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(waitTimeout)
	for {
		select {
		case line := <-r.lines:
			if !strings.HasPrefix(line, ">HOLD") {
				continue
			}
			if c.dropped.Load() == 0 {
				t.Error("no line was dropped, so all were kept")
			}
			_ = theirs.Close()
			<-r.ended
			return
		case <-deadline:
			t.Fatal("the event behind the flood does not arrive")
		}
	}
}

func TestMiddlewareThatFailsToStart(t *testing.T) {
	c := peer(t, func(string) string { return "ERROR: no\n" })
	r := &recorder{ended: make(chan struct{}), start: func(w ovpn.CommandWriter) error {
		_, err := w.SingleLineCommand("state on")
		return err
	}}
	err := c.Serve(context.Background(), r)
	var refused *CommandError
	if !errors.As(err, &refused) {
		t.Errorf("Serve: %v", err)
	}
	select {
	case <-c.Done():
	default:
		t.Error("the connection stays open")
	}
}

// TestStranger: nobody but the user that openvpn runs as gets as far as the password.
func TestStranger(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, to connect as other users")
	}
	const user, other = 61234, 61235
	dir := filepath.Join(t.TempDir(), "mgmt")
	// The test's own two directories; those above belong to the machine.
	for _, d := range []string{filepath.Dir(filepath.Dir(dir)), filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := PrivateDir(dir, user); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "socket")
	l, err := Listen(path, user, user, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the socket has mode %v, %v", info.Mode(), err)
	}

	accepted := make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.Background(), waitTimeout)
	defer cancel()
	go func() {
		c, err := l.Accept(ctx, 0)
		if err == nil {
			c.Close()
		}
		accepted <- err
	}()
	if out := dialAs(t, other, path); !strings.Contains(out, "permission denied") {
		t.Errorf("another user: %s", out)
	}
	if out := dialAs(t, 0, path); !strings.Contains(out, "closed") {
		t.Errorf("root is not whom we wait for: %s", out)
	}
	select {
	case err := <-accepted:
		t.Fatalf("a stranger was let in: %v", err)
	default:
	}
	if out := dialAs(t, user, path); strings.Contains(out, "denied") {
		t.Errorf("openvpn's user: %s", out)
	}
	if err := <-accepted; err != nil {
		t.Error(err)
	}

	// Not the process that we started, though the same user.
	go func() {
		_, err := l.Accept(ctx, 1)
		accepted <- err
	}()
	dialAs(t, user, path)
	cancel()
	if err := <-accepted; !errors.Is(err, context.Canceled) {
		t.Errorf("another process of the same user: %v", err)
	}
}

// dialAs connects as another user and returns how it went.
func dialAs(t *testing.T, uid uint32, path string) string {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestDialHelper$", "-test.v")
	cmd.Env = append(os.Environ(), "ZTB_DIAL="+path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func TestDialHelper(t *testing.T) {
	path := os.Getenv("ZTB_DIAL")
	if path == "" {
		t.Skip("runs only as the helper of TestStranger")
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = c.SetDeadline(time.Now().Add(waitTimeout))
	if _, err := c.Read(make([]byte, 1)); err != nil {
		fmt.Println("closed:", err)
	}
}

func TestSocketPathTooLong(t *testing.T) {
	_, err := Listen("/tmp/"+strings.Repeat("x", 200), 0, 0, quiet)
	if err == nil || !strings.Contains(err.Error(), "longer than the 107 bytes") {
		t.Errorf("%v", err)
	}
}

// TestPrivateDirLeavesOthers: a directory that somebody else made keeps its mode, and is not used.
func TestPrivateDirLeavesOthers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run", "mgmt")
	for range 2 { // the second finds that of the first
		if err := PrivateDir(dir, os.Getegid()); err != nil {
			t.Fatal(err)
		}
	}
	const foreign = 0o755
	if err := os.Chmod(dir, foreign); err != nil {
		t.Fatal(err)
	}
	if err := PrivateDir(dir, os.Getegid()); err == nil {
		t.Error("a directory of mode 0755 is taken for ours")
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != foreign {
		t.Errorf("the mode became %v (%v)", info.Mode(), err)
	}
}

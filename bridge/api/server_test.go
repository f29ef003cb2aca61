package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ztbridge/bridge/health"
)

// deadline is far beyond anything that a slow machine needs.
const deadline = 30 * time.Second

// daemon is a backend that remembers what it was asked.
type daemon struct {
	mu      sync.Mutex
	status  Status
	asked   []string
	fail    error
	changes chan struct{}
}

func (d *daemon) Status() Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.status
}

func (d *daemon) Explain(addr netip.Addr) (Explanation, error) {
	return Explanation{Address: addr, Rule: "policy[0]", Egress: "provider"}, d.fail
}

func (d *daemon) Plan(context.Context) (string, error)       { return "ip rule add\n", d.fail }
func (d *daemon) Changes(context.Context) <-chan struct{}    { return d.changes }
func (d *daemon) Reset(context.Context) error                { return d.ask("reset") }
func (d *daemon) Reload(context.Context) error               { return d.ask("reload") }
func (d *daemon) ForgetReload(context.Context) error         { return d.ask("forget reload") }
func (d *daemon) Use(_ context.Context, egress string) error { return d.ask("use " + egress) }

func (d *daemon) ask(what string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, what)
	return d.fail
}

func start(t *testing.T, d *daemon) (*Conn, string) {
	t.Helper()
	d.changes = make(chan struct{}, 1)
	path := filepath.Join(t.TempDir(), SocketName)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- NewServer(d, slog.New(slog.DiscardHandler)).Run(ctx, path) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("server: %v", err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
	await(t, func() bool { _, err := os.Lstat(path); return err == nil })
	return Dial(path), path
}

func await(t *testing.T, what func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !what(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not happen in time")
		}
	}
}

func TestRequests(t *testing.T) {
	d := &daemon{status: degraded()}
	conn, _ := start(t, d)
	ctx := t.Context()
	status, err := conn.Status(ctx)
	if diff := cmp.Diff(degraded().Filled(), status,
		cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); err != nil || diff != "" {
		t.Errorf("status: %v (-want +got):\n%s", err, diff)
	}
	explanation, err := conn.Explain(ctx, netip.MustParseAddr("fd00::1%eth0"))
	if err != nil || explanation.Egress != "provider" ||
		explanation.Address != netip.MustParseAddr("fd00::1%eth0") {
		t.Errorf("explain: %+v, %v", explanation, err)
	}
	if plan, err := conn.Plan(ctx); err != nil || plan != "ip rule add\n" {
		t.Errorf("plan: %q, %v", plan, err)
	}
	for _, err := range []error{conn.Use(ctx, "a b/c"), conn.Reset(ctx), conn.Reload(ctx)} {
		if err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff([]string{"use a b/c", "reset", "reload"}, d.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

func TestErrorsCrossTheSocket(t *testing.T) {
	d := &daemon{fail: &HintedError{fmt.Errorf("choosing egress: %w", ErrNotFound),
		"see `ztbridge egress list`"}}
	conn, _ := start(t, d)
	err := conn.Use(t.Context(), "nowhere")
	if !errors.Is(err, ErrNotFound) || err.Error() != "choosing egress: not found" ||
		Hint(err) != "see `ztbridge egress list`" {
		t.Errorf("got %v, hint %q", err, Hint(err))
	}
	d.fail = errors.New("line 3 is wrong")
	if err := conn.Reload(t.Context()); err == nil || errors.Is(err, ErrNotFound) ||
		err.Error() != "line 3 is wrong" {
		t.Errorf("got %v", err)
	}
}

func TestBadRequests(t *testing.T) {
	handler := NewServer(&daemon{}, slog.New(slog.DiscardHandler)).Handler()
	for _, c := range []struct {
		method, path, body string
		code               int
	}{
		{"GET", "/v1/status?of=nobody", "", 400},
		{"POST", "/v1/status", "", 405},
		{"GET", "/v1/reload", "", 405},
		{"GET", "/v2/status", "", 404},
		{"POST", "/v1/egress/use", "{}", 400},
		{"POST", "/v1/egress/use", `{"egress":"a","force":true}`, 400},
		{"POST", "/v1/egress/use", `{"egress":"` + strings.Repeat("a", maxBody) + `"}`, 400},
	} {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequest(c.method, c.path, strings.NewReader(c.body)))
		if answer.Code != c.code {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, answer.Code, c.code)
		}
	}
}

func TestWatch(t *testing.T) {
	d := &daemon{status: Status{Summary: "first"}}
	conn, _ := start(t, d)
	enough := errors.New("seen enough")
	var seen []string
	err := conn.Watch(t.Context(), func(s Status) error {
		seen = append(seen, s.Summary)
		if s.Summary == "second" {
			return enough
		}
		d.mu.Lock()
		d.status.Summary = "second"
		d.mu.Unlock()
		select {
		case d.changes <- struct{}{}:
		default:
		}
		return nil
	})
	if !errors.Is(err, enough) || seen[0] != "first" {
		t.Errorf("saw %v, %v", seen, err)
	}
}

// Watching ends without an error when the person stops it, and says so when the daemon goes.
func TestWatchEnds(t *testing.T) {
	d := &daemon{changes: make(chan struct{}, 1)}
	path := filepath.Join(t.TempDir(), SocketName)
	serving, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- NewServer(d, slog.New(slog.DiscardHandler)).Run(serving, path) }()
	await(t, func() bool { _, err := os.Lstat(path); return err == nil })

	watching, cancel := context.WithCancel(t.Context())
	if err := Dial(path).Watch(watching, func(Status) error { cancel(); return nil }); err != nil {
		t.Errorf("stopped by the person: %v", err)
	}
	if err := Dial(path).Watch(t.Context(),
		func(Status) error { stop(); return nil }); !errors.Is(err, ErrNotRunning) {
		t.Errorf("the daemon ended: %v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestNotRunning(t *testing.T) {
	path := filepath.Join(t.TempDir(), SocketName)
	check := func(what string) {
		t.Helper()
		_, err := Dial(path).Status(t.Context())
		if !errors.Is(err, ErrNotRunning) ||
			!strings.Contains(Hint(err), "systemctl start ztbridge") {
			t.Errorf("%s: %v", what, err)
		}
	}
	check("no socket")
	leftBehind(t, path)
	check("a socket that nobody listens on")
}

// leftBehind makes the socket of a daemon that was killed.
func leftBehind(t *testing.T, path string) {
	t.Helper()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAnotherVersion(t *testing.T) {
	path := filepath.Join(t.TempDir(), SocketName)
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	stranger := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: deadline}
	go func() { _ = stranger.Serve(listener) }()
	defer stranger.Close()
	_, err = Dial(path).Status(t.Context())
	if err == nil || !strings.Contains(Hint(err), "another version") {
		t.Errorf("got %v, hint %q", err, Hint(err))
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Requests are waited for as long as the daemon may take for them.
func TestTimeouts(t *testing.T) {
	c := Dial("none")
	var left time.Duration
	c.http.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		at, _ := r.Context().Deadline()
		left = time.Until(at)
		return nil, errors.ErrUnsupported
	})
	if _, err := c.Status(t.Context()); err == nil || left > Timeout || left < Timeout/2 {
		t.Errorf("status: %v, within %v", err, left)
	}
	if _, err := c.NotifyTest(t.Context(), ""); err == nil || left > TestTimeout ||
		left < TestTimeout/2 {
		t.Errorf("test messages: %v, within %v", err, left)
	}
}

func TestSocketMode(t *testing.T) {
	_, path := start(t, &daemon{})
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	want := os.FileMode(0o600)
	if _, err := user.LookupGroup(Group); err == nil && os.Geteuid() == 0 {
		want = 0o660
	}
	if info.Mode().Perm() != want {
		t.Errorf("mode %o, want %o", info.Mode().Perm(), want)
	}
}

func TestSocketOfDeadDaemonIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), SocketName)
	leftBehind(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- NewServer(&daemon{}, slog.New(slog.DiscardHandler)).Run(ctx, path) }()
	await(t, func() bool { _, err := Dial(path).Status(ctx); return err == nil })

	second := NewServer(&daemon{}, slog.New(slog.DiscardHandler)).Run(ctx, path)
	if second == nil || !strings.Contains(second.Error(), "another ztbridge is running") {
		t.Errorf("two daemons on one socket: %v", second)
	}
	if _, err := Dial(path).Status(ctx); err != nil {
		t.Errorf("the second daemon disturbed the first: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestNothingIsLeftAfterManyRequests(t *testing.T) {
	conn, _ := start(t, &daemon{status: degraded()})
	before := runtime.NumGoroutine()
	for range 100 {
		if _, err := conn.Status(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	await(t, func() bool { return runtime.NumGoroutine() <= before+2 })
}

// The kernel takes any bytes for an interface's name, and Prometheus none but UTF-8.
func TestMetricsOfOddNames(t *testing.T) {
	s := Status{Conditions: []Condition{{Code: health.PathBlocked, Severity: health.Error,
		Subject: "odd\xff"}}}
	answer := httptest.NewRecorder()
	NewServer(&daemon{status: s}, slog.New(slog.DiscardHandler)).Handler().
		ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	if answer.Code != 200 || !strings.Contains(answer.Body.String(), "subject=\"odd\ufffd\"") {
		t.Errorf("%d: %s", answer.Code, answer.Body)
	}
}

func TestMetrics(t *testing.T) {
	answer := httptest.NewRecorder()
	NewServer(&daemon{status: degraded()}, slog.New(slog.DiscardHandler)).Handler().
		ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	if answer.Code != 200 {
		t.Fatalf("%d: %s", answer.Code, answer.Body)
	}
	golden(t, "metrics.txt", answer.Body.String())
}

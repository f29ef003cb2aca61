package main

import (
	"archive/zip"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"ztbridge/bridge/api"
)

// The scripts run the program as a person does. fakedaemon stands for the daemon's side of the
// socket, so that the person's side is tested without root.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"ztbridge":   func() { os.Exit(run()) },
		"fakedaemon": func() { os.Exit(fakeDaemon()) },
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Condition: func(name string) (bool, error) {
			if name != "root" {
				return false, fmt.Errorf("there is no condition %q", name)
			}
			return os.Geteuid() == 0, nil
		},
		Setup: func(env *testscript.Env) error {
			for name, dir := range map[string]string{"ZTBRIDGE_STATE_DIR": "state",
				"ZTBRIDGE_RUNTIME_DIR": "run"} {
				env.Setenv(name, filepath.Join(env.WorkDir, dir))
			}
			env.Setenv("ZTBRIDGE_CONFIG", filepath.Join(env.WorkDir, "ztbridge.yaml"))
			// A program with the race detector waits for a second as it ends, unless told so.
			env.Setenv("GORACE", os.Getenv("GORACE"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"await": await,
			"unzipped": unzipped, "absent": absent},
	})
}

// unzipped unpacks an archive into a directory.
func unzipped(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: unzipped FILE DIRECTORY")
	}
	z, err := zip.OpenReader(ts.MkAbs(args[0]))
	ts.Check(err)
	defer z.Close()
	ts.Check(os.CopyFS(ts.MkAbs(args[1]), z))
}

// absent looks for a text in all files of a directory.
func absent(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: absent DIRECTORY TEXT")
	}
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(file string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && holds(file, args[1]) {
			err = fmt.Errorf("%s holds %q", file, args[1])
		}
		return err
	}))
}

// await waits until a file exists and contains a text.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: await FILE [TEXT]")
	}
	path, text := ts.MkAbs(args[0]), strings.Join(args[1:], "")
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		if holds(path, text) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%s with %q does not appear", path, text)
		}
	}
}

func holds(path, text string) bool {
	if text == "" {
		_, err := os.Stat(path)
		return err == nil
	}
	data, err := os.ReadFile(path)
	return err == nil && strings.Contains(string(data), text)
}

// box is a backend with two egresses.
type box struct{ chosen string }

func (b *box) Status() api.Status {
	now := time.Now().UTC()
	s := api.Status{
		Version: version(), Time: now, Started: now, State: api.Working,
		Summary: "traffic leaves as configured", Override: b.chosen,
		Egresses: []api.Egress{
			{Name: "provider", Kind: "openvpn", State: "up", Usable: true, Since: now,
				Chosen: b.chosen == "provider"},
			{Name: "backup", Kind: "openvpn", State: "connecting", Since: now,
				Chosen: b.chosen == "backup"},
		},
	}
	if b.chosen == "backup" {
		s.State, s.Summary = api.Degraded, "traffic flows, some of it by a second choice"
	}
	if len(os.Args) > 1 {
		s.Version = os.Args[1]
	}
	return s
}

func (b *box) Explain(addr netip.Addr) (api.Explanation, error) {
	return api.Explanation{Address: addr, Ingress: "home", Rule: "policy[0]", Egress: "provider",
		Steps: []string{"policy[0] matches"}}, nil
}

func (b *box) Plan(context.Context) (string, error) {
	return "ip rule add iif zt0 unreachable\n", nil
}

func (b *box) Changes(context.Context) <-chan struct{} { return make(chan struct{}) }

func (b *box) Use(_ context.Context, egress string) error {
	if egress != "provider" && egress != "backup" {
		return &api.HintedError{Err: fmt.Errorf("choosing egress %q: %w", egress, api.ErrNotFound),
			Hint: "see `ztbridge egress list`"}
	}
	b.chosen = egress
	return nil
}

func (b *box) Reset(context.Context) error  { b.chosen = ""; return nil }
func (b *box) Reload(context.Context) error { return nil }

func (b *box) Series(q api.HistoryQuery) ([]api.Point, error) {
	if q.Kind != "egress" || q.Name != "provider" {
		return nil, api.ErrNotFound
	}
	return []api.Point{{At: past}, {At: past.Add(time.Minute), Minutes: 1, BytesIn: 1 << 20,
		BytesOut: 1 << 10, Up: 1, RTT: 0.02, Loss: 0.01}}, nil
}

func (b *box) PastChanges(api.Span, int) ([]api.PastChange, error) {
	return []api.PastChange{{At: past, Kind: "egress", Name: "provider", What: "up → degraded",
		Cause: "two probes unanswered"}}, nil
}

var past = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func (b *box) ForgetReload(context.Context) error { return nil }

func fakeDaemon() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	dir := os.Getenv("ZTBRIDGE_RUNTIME_DIR")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	server := api.NewServer(&box{}, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err := server.Run(ctx, filepath.Join(dir, api.SocketName)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

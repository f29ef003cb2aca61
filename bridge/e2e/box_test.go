package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

// program is the ztbridge under test, built once.
var program string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "ztbridge-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "ztbridge")
	build := exec.Command("go", "build", "-o", program, "ztbridge/cmd/ztbridge")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "building ztbridge:", err)
		return 1
	}
	code := m.Run()
	if err := measured.report(os.Stdout, os.Getenv("ZTBRIDGE_RESULTS")); err != nil {
		fmt.Fprintln(os.Stderr, "reporting the measurements:", err)
		return 1
	}
	return code
}

// waitTimeout is how long a thing may take that is expected to happen on a loaded machine.
const waitTimeout = 40 * time.Second

// await waits until the condition holds, and fails the test if it never does.
func await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	const poll = 20 * time.Millisecond
	for deadline := time.Now().Add(waitTimeout); !condition(); time.Sleep(poll) {
		if time.Now().After(deadline) {
			t.Fatalf("waiting for %s", what)
		}
	}
}

// box is a host of the lab on which ztbridge is installed.
type box struct {
	t   testing.TB
	ns  *netlab.Namespace
	dir string
	env []string // of ztbridge, beside that of the test
	// verbose has the daemon log details, such as each pass.
	verbose bool
	daemon  *netlab.Process
}

// newBox installs ztbridge on a host: a directory of its own, no process yet.
func newBox(t testing.TB, ns *netlab.Namespace) *box {
	t.Helper()
	dir, err := os.MkdirTemp("", "ztbridge-box-")
	if err != nil {
		t.Fatal(err)
	}
	// openvpn runs as a user of its own and must reach its socket below.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return &box{t: t, ns: ns, dir: dir}
}

// write puts a file beside the configuration.
func (b *box) write(name, content string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(content), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) args(args ...string) []string {
	return append(args, "--config", filepath.Join(b.dir, "ztbridge.yaml"),
		"--state-dir", filepath.Join(b.dir, "state"), "--runtime-dir", filepath.Join(b.dir, "run"))
}

// run executes a command of ztbridge to its end.
func (b *box) run(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), waitTimeout)
	defer cancel()
	return b.ns.Run(ctx, "env", append(append(b.env[:len(b.env):len(b.env)], program),
		b.args(args...)...)...)
}

func (b *box) mustRun(args ...string) string {
	b.t.Helper()
	out, err := b.run(args...)
	if err != nil {
		b.t.Fatalf("ztbridge %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// start starts the daemon and returns at once.
func (b *box) start() {
	b.t.Helper()
	run := []string{"run"}
	if b.verbose {
		run = append(run, "-v")
	}
	// With the umask of the systemd unit.
	command := slices.Concat(asService(b.t), []string{program}, b.args(run...))
	cmd := netlab.Command("sh", append([]string{"-c", `umask 0077; exec "$0" "$@"`}, command...)...)
	// what asks for long tests is no key of the configuration, of which a daemon would warn
	cmd.Env = append(slices.DeleteFunc(cmd.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "ZTBRIDGE_LONG=")
	}), b.env...)
	p, err := b.ns.Start(cmd)
	if err != nil {
		b.t.Fatal(err)
	}
	b.daemon = p
	b.t.Cleanup(func() {
		p.Stop()
		if b.t.Failed() {
			b.t.Logf("log of the daemon, pid %d:\n%s", p.Pid(), p.Log())
		}
	})
}

// asService returns the program with arguments that runs another as the systemd unit does: as a
// user of its own, with the unit's capabilities and no others.
func asService(t testing.TB) []string {
	t.Helper()
	unit, err := os.ReadFile("../../configs/systemd/ztbridge.service")
	if err != nil {
		t.Fatal(err)
	}
	given := regexp.MustCompile(`(?m)^AmbientCapabilities=(.*)$`).FindSubmatch(unit)
	if given == nil {
		t.Fatal("the unit gives no capabilities")
	}
	capabilities := "-all"
	for _, c := range strings.Fields(strings.ToLower(string(given[1]))) {
		capabilities += ",+" + strings.TrimPrefix(c, "cap_")
	}
	return []string{"setpriv", "--reuid=" + serviceUser, "--regid=" + serviceUser, "--clear-groups",
		"--bounding-set=" + capabilities, "--inh-caps=" + capabilities,
		"--ambient-caps=" + capabilities, "--no-new-privs"}
}

// serviceUser is the daemon's user and group, which need no name.
const serviceUser = "61233"

// stop ends the daemon as systemd would, and waits for it.
func (b *box) stop() {
	b.t.Helper()
	if err := b.daemon.Signal(syscall.SIGTERM); err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), waitTimeout)
	defer cancel()
	if err := b.daemon.Wait(ctx); err != nil {
		b.t.Fatalf("daemon ended with %v", err)
	}
}

// status asks the daemon.
func (b *box) status() (api.Status, error) {
	var st api.Status
	out, err := b.run("status", "--json")
	if out == "" {
		return st, err
	}
	return st, json.NewDecoder(bytes.NewBufferString(out)).Decode(&st)
}

// await waits until the daemon's status satisfies the condition.
func (b *box) await(what string, condition func(api.Status) bool) api.Status {
	b.t.Helper()
	deadline := time.Now().Add(waitTimeout)
	for {
		st, err := b.status()
		if err == nil && condition(st) {
			return st
		}
		if time.Now().After(deadline) {
			text, _ := json.MarshalIndent(st, "", "  ")
			b.t.Fatalf("waiting for %s: %v\n%s", what, err, text)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// awaitEgress waits until the first policy uses the egress; "" means that it is refused.
func (b *box) awaitEgress(name string) api.Status {
	b.t.Helper()
	return b.await("egress "+strconv.Quote(name), func(st api.Status) bool {
		return len(st.Policies) > 0 && st.Policies[0].Egress == name
	})
}

// openvpn returns the pid of the tunnel's process.
func (b *box) openvpn(egress string) int {
	b.t.Helper()
	matches, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", b.daemon.Pid()))
	if err != nil {
		b.t.Fatal(err)
	}
	for _, m := range matches {
		children, _ := os.ReadFile(m)
		for _, pid := range strings.Fields(string(children)) {
			cmdline, _ := os.ReadFile("/proc/" + pid + "/cmdline")
			if strings.Contains(string(cmdline), "openvpn") &&
				strings.Contains(string(cmdline), egress) {
				n, _ := strconv.Atoi(pid)
				return n
			}
		}
	}
	return 0
}

// sh runs a shell command on the box.
func (b *box) sh(command string) {
	b.t.Helper()
	if err := b.try(command); err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) try(command string) error {
	ctx, cancel := context.WithTimeout(context.Background(), waitTimeout)
	defer cancel()
	_, err := b.ns.Run(ctx, "sh", "-c", command)
	return err
}

// targetOf is the echo service of a host.
func targetOf(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, lab.EchoPort) }

package kernel

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// thread is an operating system's thread in a network namespace of its own. It is locked and never
// unlocked: the runtime throws it away with its goroutine, since nothing else may ever run there.
type thread struct {
	calls chan func()
	path  string // of the namespace, as seen from outside
}

func newThread(t testing.TB) *thread {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, to make network namespaces")
	}
	th := &thread{calls: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread()
		th.path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		ready <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range th.calls {
			f()
		}
	}()
	if err := <-ready; err != nil {
		t.Fatalf("making a network namespace: %v", err)
	}
	t.Cleanup(func() { close(th.calls) })
	return th
}

// do runs f in the namespace and waits for it. f must not end the test, only mark it as failed.
func (th *thread) do(f func()) {
	done := make(chan struct{})
	th.calls <- func() { defer close(done); f() }
	<-done
}

// sh runs a shell command in the namespace while its thread may be busy.
func (th *thread) sh(t testing.TB, command string) string {
	t.Helper()
	return output(t, exec.Command("nsenter", "--net="+th.path, "sh", "-ec", command))
}

// untilLinksRun waits for the veth links that are up and whose other end is. The kernel drops what
// is sent by a link that has just come up, and adds no multicast route to it, until it has made the
// link's queue: on a busy machine that takes its time.
const untilLinksRun = "while ip -o link show up type veth | grep -qv 'state UP'; do sleep 0.02; done\n"

// inNamespace runs f in a new network namespace.
func inNamespace(t testing.TB, f func()) {
	t.Helper()
	newThread(t).do(f)
}

// needs skips the test when a program is missing.
func needs(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("SKIPPED: needs the program %s", p)
		}
	}
}

// sh runs a shell command in the calling thread's namespace and returns what it printed.
func sh(t testing.TB, command string) string {
	t.Helper()
	return output(t, exec.Command("sh", "-ec", command))
}

func output(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

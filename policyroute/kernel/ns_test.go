package kernel

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// inNamespace runs f in a network namespace of its own. The thread is locked and never unlocked: the
// runtime throws it away with its goroutine, since nothing else may ever run in that namespace.
func inNamespace(t testing.TB, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, to make network namespaces")
	}
	done := make(chan struct{})
	var failed error
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if failed = unix.Unshare(unix.CLONE_NEWNET); failed != nil {
			return
		}
		f()
	}()
	<-done
	if failed != nil {
		t.Fatalf("making a network namespace: %v", failed)
	}
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
	out, err := exec.Command("sh", "-ec", command).CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", command, err, out)
	}
	return strings.TrimSpace(string(out))
}

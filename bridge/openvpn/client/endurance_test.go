package client

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/openvpn/profile"
	"ztbridge/policyroute/netlab"
)

// TestNothingGrows reconnects often, by signal and by new process, and counts what could leak.
func TestNothingGrows(t *testing.T) { growsNothing(t, 8) }

func TestLongNothingGrows(t *testing.T) {
	netlab.Long(t, "200 reconnects")
	growsNothing(t, 200)
}

func growsNothing(t *testing.T, rounds int) {
	t.Helper()
	if !inNamespace(t) {
		return
	}
	l := newLab(t)
	l.serve("udp")
	c := l.dial(l.profile("remote "+serverAddr+" 1194"), nil)
	c.awaitGeneration(1)
	round := func(i int) {
		generation := c.Status().Generation
		if i%2 == 0 {
			c.Reconnect("round")
		} else {
			c.Restart("round")
		}
		c.awaitGeneration(generation + 1)
	}
	for i := range 4 {
		round(i) // pools and pollers reach their size
	}
	files, goroutines, threads := usage(t)
	for i := range rounds {
		round(i)
	}
	deadline := time.Now().Add(labTimeout)
	for {
		f, g, n := usage(t)
		if f <= files && g <= goroutines && n <= threads+4 {
			return
		}
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<16)
			t.Fatalf("after %d rounds: files %d→%d, goroutines %d→%d, threads %d→%d\n%s",
				rounds, files, f, goroutines, g, threads, n, buf[:runtime.Stack(buf, true)])
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func usage(t *testing.T) (files, goroutines, threads int) {
	t.Helper()
	fd, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	task, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(fd), runtime.NumGoroutine(), len(task)
}

// TestWedged stops the process, as a kernel or disk problem would: it answers nothing, and does not
// end.
func TestWedged(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	l := newLab(t)
	l.serve("udp")
	c := l.dial(l.profile("remote "+serverAddr+" 1194"), nil)
	first := c.awaitGeneration(1)
	l.sh(fmt.Sprintf("kill -STOP %d", first.PID))
	c.Reconnect("probes miss")
	if second := c.awaitGeneration(2); second.PID == first.PID {
		t.Error("the process that does not react was kept")
	}
	c.ping()
}

// TestLeftBehind starts a tunnel where an earlier daemon died without a trace and its openvpn lives
// on.
func TestLeftBehind(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	l := newLab(t)
	l.serve("udp")
	text := l.profile("remote " + serverAddr + " 1194")
	c := l.dial(text, nil)
	first := c.awaitGeneration(1)
	// What a crash leaves: the process (here a stand-in with the same command line), and the
	// pidfile.
	c.stop()
	dir := filepath.Join(l.dir, "run", "lab")
	stale := l.spawn(nil, "sh", "-c", "while :; do sleep 1; done",
		filepath.Join(dir, "management"))
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", stale.PID()))
	if err != nil {
		t.Fatal(err)
	}
	start := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))[19]
	if err := os.WriteFile(filepath.Join(dir, "pid"),
		fmt.Appendf(nil, "%d %s\n", stale.PID(), start), 0o600); err != nil {
		t.Fatal(err)
	}
	c = l.dial(text, nil)
	if s := c.awaitGeneration(1); s.PID == first.PID || s.PID == stale.PID() {
		t.Errorf("pid %d", s.PID)
	}
	select {
	case <-stale.Done():
	case <-time.After(labTimeout):
		t.Error("the process of the earlier run lives on")
	}
}

// TestLegacyServer connects to a server as of OpenVPN 2.3: a 64-bit cipher without negotiation, and
// LZO.
func TestLegacyServer(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	if out, err := exec.Command("openssl", "list", "-providers", "-provider",
		"legacy").CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: OpenSSL's legacy provider is not here: %s", out)
	}
	l := newLab(t)
	l.serve("udp", "providers legacy default", "data-ciphers BF-CBC",
		"data-ciphers-fallback BF-CBC", "cipher BF-CBC", "auth SHA1",
		"allow-compression yes", "comp-lzo yes", "tls-version-max 1.2")
	c := l.dial(l.profile("cipher BF-CBC", "comp-lzo", "remote "+serverAddr+" 1194"), nil)
	c.awaitGeneration(1)
	c.ping()
}

// TestNextServer: a server that does not answer is passed over, whatever its protocol, and one that
// comes up but carries nothing is left when the caller says so.
func TestNextServer(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	l := newLab(t)
	l.serve("udp")
	l.serve("tcp-server", "port 443", "dev tun7", "server 10.78.0.0 255.255.255.0")
	c := l.dial(l.profile(
		"remote "+serverAddr+" 81 tcp", "remote "+serverAddr+" 1194 udp", "remote "+serverAddr+
			" 443 tcp"), nil)
	if s := c.awaitGeneration(1); s.Remote.Port != 1194 {
		t.Errorf("connected to %v", s.Remote)
	}
	c.Reconnect("nothing comes through")
	s := c.awaitGeneration(2)
	if s.Remote.Port != 443 || s.Remote.Proto != profile.TCP {
		t.Errorf("after a wish to reconnect within seconds: %v", s.Remote)
	}
	c.ping()
}

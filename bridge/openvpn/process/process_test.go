package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ztbridge/policyroute/netlab"
)

const waitTimeout = 20 * time.Second

// lines collects output.
type lines struct {
	mu      sync.Mutex
	text    []string
	changed chan struct{}
}

func newLines() *lines { return &lines{changed: make(chan struct{}, 100)} }

func (l *lines) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, line)
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

func (l *lines) await(t *testing.T, want string) {
	t.Helper()
	deadline := time.After(waitTimeout)
	for {
		l.mu.Lock()
		all := strings.Join(l.text, "\n")
		l.mu.Unlock()
		if strings.Contains(all, want) {
			return
		}
		select {
		case <-l.changed:
		case <-deadline:
			t.Fatalf("waiting for %q in %q", want, all)
		}
	}
}

func sh(t *testing.T, script string, adjust func(*Spec)) (*Process, *lines) {
	t.Helper()
	out := newLines()
	s := Spec{Path: "/bin/sh", Args: []string{"-c", script}, UID: os.Geteuid(), GID: os.Getegid(),
		Output: out.add}
	if adjust != nil {
		adjust(&s)
	}
	p, err := Start(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p, out
}

func await(t *testing.T, p *Process) error {
	t.Helper()
	select {
	case <-p.Done():
		return p.Err()
	case <-time.After(waitTimeout):
		t.Fatal("the process does not end")
		return nil
	}
}

func TestOutputAndExit(t *testing.T) {
	p, out := sh(t, `cat; echo err >&2; exit 3`, func(s *Spec) { s.Stdin = "one\ntwo" })
	var exit *ExitError
	if err := await(t, p); !errors.As(err, &exit) || exit.Code != 3 || exit.Signal != 0 {
		t.Errorf("ended with %v", err)
	}
	if got := strings.Join(out.text, "|"); got != "one|twoerr" && got != "one|two|err" {
		t.Errorf("output %q", got)
	}
	p, _ = sh(t, "exit 0", nil)
	if err := await(t, p); err != nil {
		t.Errorf("a good end is %v", err)
	}
	if _, err := Start(Spec{Path: "/nonexistent"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a program that is not there: %v", err)
	}
}

func TestStopIsPoliteAndThenNot(t *testing.T) {
	p, out := sh(t, `trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done`, nil)
	out.await(t, "ready")
	p.Stop()
	if p.Err() != nil {
		t.Errorf("ended with %v", p.Err())
	}
	out.await(t, "bye")

	p, out = sh(t, `trap '' TERM; echo ready; while :; do sleep 0.05; done`, nil)
	out.await(t, "ready")
	begin := time.Now()
	p.Stop()
	var exit *ExitError
	if !errors.As(p.Err(), &exit) || exit.Signal != syscall.SIGKILL {
		t.Errorf("ended with %v", p.Err())
	}
	if time.Since(begin) < stopGrace {
		t.Error("it was killed before its time")
	}
}

// Who may not signal every process still ends those that it started as another user.
func TestEndsWithoutTheRightToKill(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, to become another user")
	}
	const uid = 61234
	if os.Getenv("ZTB_NO_KILL") == "" {
		cmd := exec.Command("setpriv", "--bounding-set", "-kill", testBinary(t),
			"-test.run=^TestEndsWithoutTheRightToKill$")
		cmd.Env = append(os.Environ(), "ZTB_NO_KILL=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	other := func(s *Spec) { s.UID, s.GID = uid, uid }
	p, out := sh(t, `trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done`, other)
	out.await(t, "ready")
	if err := syscall.Kill(p.PID(), 0); !errors.Is(err, syscall.EPERM) {
		t.Fatalf("it may be signalled: %v", err)
	}
	p.Stop()
	if p.Err() != nil {
		t.Errorf("ended with %v", p.Err())
	}
	p, out = sh(t, `trap '' TERM; echo ready; while :; do sleep 0.05; done`, other)
	out.await(t, "ready")
	p.Kill()
	var exit *ExitError
	if !errors.As(p.Err(), &exit) || exit.Signal != syscall.SIGKILL {
		t.Errorf("ended with %v", p.Err())
	}
}

func TestUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, to become another user")
	}
	p, out := sh(t, "cat /proc/self/status", func(s *Spec) { s.UID, s.GID = 61234, 61235 })
	if err := await(t, p); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(out.text, "\n") + "\n"
	for _, want := range []string{
		"Uid:\t61234\t61234\t61234\t61234\n", "Gid:\t61235\t61235\t61235\t61235\n",
		"NoNewPrivs:\t1\n",
		"CapInh:\t0000000000000000\n", "CapPrm:\t0000000000000000\n", "CapEff:\t0000000000000000\n",
		"CapAmb:\t0000000000000000\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("without %q:\n%s", want, text)
		}
	}
	// The threads that gave up their privileges are not used again: our other children have theirs.
	for range 20 {
		data, err := exec.Command("cat", "/proc/self/status").Output()
		if err != nil || !strings.Contains(string(data), "NoNewPrivs:\t0\n") {
			t.Fatalf("another child has given up privileges: %v\n%s", err, data)
		}
	}
}

func TestOneCapability(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, to become another user")
	}
	const netBindService = 10 // linux/capability.h
	p, out := sh(t, "cat /proc/self/status",
		func(s *Spec) { s.UID, s.GID, s.Caps = 61234, 61234, []uintptr{netBindService} })
	if err := await(t, p); err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(out.text, "\n"); !strings.Contains(text,
		"CapEff:\t0000000000000400\n") {
		t.Errorf("it should have one capability:\n%s", text)
	}
}

func TestStaleProcess(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	// A loop, so that the shell does not become the command, whose end is near when the shell is
	// killed.
	p, out := sh(t, "echo ready; while :; do sleep 1; done",
		func(s *Spec) { s.PIDFile = pidFile; s.Args = append(s.Args, "the-mark") })
	out.await(t, "ready")
	if ended, err := EndStale(pidFile+"x", "the-mark"); ended || err != nil {
		t.Errorf("without a file: %v, %v", ended, err)
	}
	copied, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	restore := func(data []byte) {
		if err := os.WriteFile(pidFile, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	alive := func() bool {
		select {
		case <-p.Done():
			return false
		default:
			return true
		}
	}
	// Not the same command line, not the same start, not a pidfile: nobody is harmed.
	if ended, err := EndStale(pidFile, "another-mark"); ended || err != nil || !alive() {
		t.Errorf("another command line: %v, %v", ended, err)
	}
	restore(fmt.Appendf(nil, "%d 1\n", p.PID()))
	if ended, err := EndStale(pidFile, "the-mark"); ended || err != nil || !alive() {
		t.Errorf("another start: %v, %v", ended, err)
	}
	for _, bad := range []string{"", "x", "-1 1\n", "1 1\n", "99999999999999999999 1\n"} {
		restore([]byte(bad))
		if ended, err := EndStale(pidFile, "the-mark"); ended || err != nil || !alive() {
			t.Errorf("%q: %v, %v", bad, ended, err)
		}
	}
	restore(copied)
	if ended, err := EndStale(pidFile, "the-mark"); !ended || err != nil {
		t.Fatalf("the very process: %v, %v", ended, err)
	}
	await(t, p)
	if _, err := os.Stat(pidFile); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pidfile stays: %v", err)
	}
}

// TestDeathSignal shows that the program outlives the threads of the Go runtime, but not the
// process.
func TestDeathSignal(t *testing.T) {
	if os.Getenv("ZTB_PARENT") != "" {
		p, err := Start(Spec{Path: "/bin/sleep", Args: []string{"600"}, UID: os.Geteuid(),
			GID: os.Getegid()})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("child %d\n", p.PID())
		select {} // until killed
	}
	out := newLines()
	parent, err := Start(Spec{
		Path: "/usr/bin/env", UID: os.Geteuid(), GID: os.Getegid(), Output: out.add,
		Args: []string{"ZTB_PARENT=1", testBinary(t), "-test.run=^TestDeathSignal$"},
	})
	if err != nil {
		t.Fatal(err)
	}
	out.await(t, "child ")
	var pid int
	out.mu.Lock()
	text := strings.Join(out.text, "\n")
	out.mu.Unlock()
	if _, err := fmt.Sscanf(text[strings.Index(text, "child "):], "child %d", &pid); err != nil {
		t.Fatal(err)
	}
	if _, err := startTime(pid); err != nil {
		t.Fatalf("the child died of itself: %v", err)
	}
	parent.Kill()
	for deadline := time.Now().Add(waitTimeout); ; time.Sleep(5 * time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the child lives on after its parent was killed")
		}
	}
}

func testBinary(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestSandbox: of two programs of one user, neither can see into, signal or trace the other.
func TestSandbox(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, to become another user")
	}
	other, out := sh(t, "echo ready; exec sleep 600", func(s *Spec) { s.UID, s.GID = 61234, 61234 })
	out.await(t, "ready")
	const attack = `cat /proc/PID/environ >/dev/null && echo environ
head -c1 /proc/PID/maps >/dev/null && echo maps
prlimit --pid PID --nofile=64:64 && echo limit
renice -n 19 -p PID >/dev/null && echo nice
taskset -p 1 PID >/dev/null && echo affinity
ulimit -n 64 && echo own
kill -9 PID && echo signal
python3 -c 'import ctypes; exit(ctypes.CDLL(None).ptrace(16, PID, 0, 0) != 0)' && echo trace
ls / >/dev/null && echo root
cat /etc/hostname >/dev/null && echo etc
echo >/dev/shm/ztb-PID && echo memory
rm -f /dev/shm/ztb-PID
cat /etc/ld.so.cache >/dev/null && head -c1 /dev/urandom >/dev/null && echo libraries; true`
	script := strings.ReplaceAll(attack, "PID", fmt.Sprint(other.PID()))
	try := func(box *Sandbox) string {
		p, out := sh(t, script, func(s *Spec) { s.UID, s.GID, s.Sandbox = 61234, 61234, box })
		if err := await(t, p); err != nil {
			t.Fatal(err)
		}
		return strings.Join(out.text, "\n")
	}
	confined := try(&Sandbox{})
	for _, got := range []string{"\nenviron", "\nmaps", "\nsignal", "\ntrace", "\nroot",
		"\nlimit", "\nnice", "\naffinity", "\netc", "\nmemory"} {
		if strings.Contains("\n"+confined, got) {
			t.Errorf("the sandbox lets through:\n%s", confined)
		}
	}
	for _, may := range []string{"\nlibraries", "\nown"} {
		if !strings.Contains("\n"+confined, may) {
			t.Errorf("it cannot do what it may:\n%s", confined)
		}
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", other.PID()))
	if err != nil || !regexp.MustCompile(`Max core file size +0 +0 `).Match(limits) {
		t.Errorf("it may dump its memory: %v\n%s", err, limits)
	}
	// Without the sandbox the same attacks succeed: the test can fail.
	free := "\n" + try(nil)
	for _, got := range []string{"\nenviron", "\nsignal", "\nlimit", "\nnice", "\naffinity",
		"\netc", "\nmemory"} {
		if !strings.Contains(free, got) {
			t.Errorf("without it:%s", free)
		}
	}
}

// TestDevicesAreApart: of two programs of one user, neither opens the other's TUN device while that
// one is away.
func TestDevicesAreApart(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, to become another user")
	}
	if os.Getenv("ZTB_OWN_NETWORK") == "" {
		cmd := exec.Command("unshare", "--net", "--mount", testBinary(t),
			"-test.run=^TestDevicesAreApart$")
		cmd.Env = append(os.Environ(), "ZTB_OWN_NETWORK=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	if err := netlab.OpenTUN(); err != nil {
		t.Fatal(err)
	}
	const uid, device = 61234, "tunztb-own"
	if out, err := exec.Command("ip", "tuntap", "add", "dev", device, "mode", "tun", "user",
		fmt.Sprint(uid), "group", fmt.Sprint(DeviceGroup(device))).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const open = `python3 -c 'import fcntl, struct
fcntl.ioctl(open("/dev/net/tun", "r+b", 0), 0x400454ca, struct.pack("16sH22x", b"tunztb-own", 0x1001))'`
	for of, may := range map[string]bool{device: true, "tunztb-other": false} {
		p, out := sh(t, open, func(s *Spec) {
			s.UID, s.GID, s.Groups = uid, uid, []uint32{uint32(DeviceGroup(of))}
			s.Sandbox = &Sandbox{Write: []string{"/dev/net"}}
		})
		if err := await(t, p); (err == nil) != may {
			t.Errorf("the program of %s opens %s: %v, want %v: %s", of, device, err == nil, may,
				strings.Join(out.text, "\n"))
		}
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if _, err := Find(filepath.Join(dir, "no-such-openvpn")); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("a program that is missing: %v", err)
	}
	mine := filepath.Join(dir, "openvpn")
	if _, err := os.Stat("/usr/sbin/openvpn"); err == nil {
		if got, err := Find(""); err != nil || got != "/usr/sbin/openvpn" {
			t.Errorf("outside the PATH: %q, %v", got, err)
		}
	}
	if err := os.WriteFile(mine, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := Find(""); err != nil || got != mine {
		t.Errorf("on the PATH: %q, %v", got, err)
	}
}

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// here is a machine of directories that a test may change.
func here(t *testing.T) machine {
	t.Helper()
	dir := t.TempDir()
	m := machine{shared: []string{dir + "/tmp/"}, temp: []string{dir + "/tmp"}, etc: dir + "/etc",
		sysctl: dir + "/sys", netns: dir + "/netns"}
	for _, path := range []string{m.shared[0], m.etc, m.sysctl + "/net", m.netns} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for path, text := range map[string]string{m.etc + "/passwd": "root:x:0:0\n",
		m.netns + "/ztb-0-old": "", m.sysctl + "/net/forward": "0\n", m.sysctl + "/net/gone": "1\n"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func TestDifferencesAreNamed(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		want         []string // none: nothing may be said
	}{
		{"nothing", "true", nil},
		{"a file that was changed back", "cp etc/passwd x; echo >>etc/passwd; mv x etc/passwd", nil},
		{"a parameter that appeared", "echo 1 >sys/net/new", nil},
		{"mode of a shared directory", "chmod 1755 tmp", []string{"# modes", "+ ", "/tmp dtrwxr-xr-x"}},
		{"mode of its parent", "chmod 700 .", []string{"# modes", "drwx------"}},
		{"a user", "echo ztbridge:x:1:1 >>etc/passwd", []string{"etc/passwd"}},
		{"a file in /etc", "mkdir etc/ztbridge; : >etc/ztbridge/x", []string{"etc/ztbridge/x"}},
		{"a removed file", "rm etc/passwd", []string{"- ", "etc/passwd"}},
		{"a symbolic link", "ln -s passwd etc/shadow", []string{"etc/shadow", "→ passwd"}},
		{"a parameter", "echo 1 >sys/net/forward",
			[]string{"- net/forward = 0", "+ net/forward = 1"}},
		{"a parameter that went", "rm sys/net/gone", []string{"- net/gone = 1"}},
		{"a namespace", ": >netns/ztb-1-box", []string{"# left behind", "+ ", "ztb-1-box"}},
		{"what a crash left is swept", "rm netns/ztb-0-old", nil},
		{"a forgotten file", "mkdir tmp/ztb-1-lab", []string{"# left behind", "ztb-1-lab"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := here(t)
			_, got, err := run(m, []string{"sh", "-c", "cd " + filepath.Dir(m.etc) + "; " + tt.script})
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range tt.want {
				if !strings.Contains(got, want) {
					t.Errorf("%q is not said:\n%s", want, got)
				}
			}
			if len(tt.want) == 0 && strings.Contains(got, filepath.Dir(m.etc)) {
				t.Errorf("said without a reason:\n%s", got)
			}
		})
	}
}

func TestStatusIsThatOfTheCommand(t *testing.T) {
	for script, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -9 $$": 137} {
		if status, err := execute([]string{"sh", "-c", script}); status != want || err != nil {
			t.Errorf("%s: status %d, %v", script, status, err)
		}
	}
	if _, err := execute([]string{"/nonexistent"}); err == nil {
		t.Error("a command that does not exist is run")
	}
}

// TestProcessThatOutlivesItsCommand: it is named though it left its session and lost its parent.
func TestProcessThatOutlivesItsCommand(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	script := "setsid sh -c 'echo $$ >" + file + "; exec sleep 300' & while ! [ -s " + file + " ]; do :; done"
	if _, err := execute([]string{"sh", "-c", script}); err != nil {
		t.Fatal(err)
	}
	pid := strings.TrimSpace(read(t, file))
	number, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	if got := orphans(time.Now()); !strings.Contains(got, "+ "+pid+" ") {
		t.Errorf("process %s is not named: %q", pid, got)
	}
	if err := unix.Kill(number, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if got := orphans(time.Now().Add(orphansEnd)); got != "" {
		t.Errorf("named though it ended: %q", got)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestServicesThatEndedAreNamed(t *testing.T) {
	cron := process{pid: 7, parent: 1, name: "cron", started: "70"}
	got := state{services: map[process]bool{cron: true}}.compare(state{})
	if !strings.Contains(got, "- 7 cron") {
		t.Errorf("said: %q", got)
	}
}

func TestParseStat(t *testing.T) {
	rest := " 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4321 0 0"
	if p, ok := parseStat("7 (a b) c) S" + rest); !ok ||
		p != (process{pid: 7, parent: 1, name: "a b) c", started: "4321"}) {
		t.Errorf("read %+v, %t", p, ok)
	}
	for _, bad := range []string{"", "7", "7 (x", "7 (x) S 1", "7 (x) Z" + rest, "x (x) S" + rest} {
		if p, ok := parseStat(bad); ok {
			t.Errorf("%q is read as %+v", bad, p)
		}
	}
}

func TestWhatChangesByItselfIsLeftOut(t *testing.T) {
	if got, want := links("2: eth0: <UP> mtu 1500 qdisc fq state UP group default qlen 1000\\    "+
		"link/ether 02:00:00:00:00:01\n"), "2: eth0: <UP> mtu 1500 group default    "+
		"link/ether 02:00:00:00:00:01\n"; got != want {
		t.Errorf("links: %q", got)
	}
	if got, want := addresses("2: eth0    inet 192.0.2.1/24 scope global dynamic eth0\\       "+
		"valid_lft 86sec preferred_lft 80sec\n2: eth0    inet6 2001:db8::1/64 scope global "+
		"temporary dynamic \\       valid_lft 1sec preferred_lft 1sec\n"),
		"2: eth0    inet 192.0.2.1/24 scope global dynamic eth0\n"; got != want {
		t.Errorf("addresses: %q", got)
	}
	for key, want := range map[string]bool{"kernel/random/uuid": true, "fs/file-nr": true,
		"net/ipv4/ip_forward": false, "net/ipv4/tcp_allowed_congestion_control": false,
		"net/netfilter/nf_conntrack_count": true, "net/netfilter/nf_conntrack_max": false} {
		if got := volatile.MatchString(key); got != want {
			t.Errorf("%s is volatile: %t", key, got)
		}
	}
}

// TestMachine looks at this machine twice, in between which nothing of it changes.
func TestMachine(t *testing.T) {
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("SKIPPED: needs the program ip")
	}
	m := theMachine()
	first, err := m.look(t.Context())
	if err != nil {
		t.Skipf("SKIPPED: the machine cannot be read: %v", err)
	}
	if len(first.sysctls) < 100 {
		t.Errorf("%d kernel parameters are read", len(first.sysctls))
	}
	text := first.snapshot.String()
	for _, want := range []string{"/tmp d", "/etc/passwd ", "1: lo: ", "/proc "} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing", want)
		}
	}
}

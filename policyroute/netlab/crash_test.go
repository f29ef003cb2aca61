package netlab

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// crashHelper, set in the environment, makes TestMain build a host with a process in it, tell their
// names and wait to be killed.
const crashHelper = "NETLAB_CRASH_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(crashHelper) == "" {
		os.Exit(m.Run())
	}
	ns, err := NewNamespace("doomed")
	if err == nil {
		_, err = ns.Start(Command("sleep", "300"))
	}
	if err != nil {
		os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
	os.Stdout.WriteString(ns.Name + "\n")
	time.Sleep(time.Minute)
}

// A lab whose process is killed loses its processes at once and its namespaces to the next lab,
// while the labs of living processes are left alone.
func TestCrashedLabIsSwept(t *testing.T) {
	Require(t, Root)
	alive, err := NewNamespace("alive")
	must(t, err)
	defer alive.Close()
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), crashHelper+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	name := strings.TrimSpace(line)
	var link string
	await(t, "the sleeper", func() bool {
		link = linkOf(t, name)
		pids, err := processesIn(link)
		return err == nil && len(pids) == 1
	})
	must(t, Sweep())
	if _, err := os.Stat(filepath.Join(netnsDir, name)); err != nil {
		t.Fatalf("a lab was swept whose process lives: %v", err)
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait() // killed
	await(t, "the sleeper to die with its lab", func() bool {
		pids, err := processesIn(link)
		return err == nil && len(pids) == 0
	})
	must(t, Sweep())
	if _, err := os.Stat(filepath.Join(netnsDir, name)); !os.IsNotExist(err) {
		t.Errorf("the namespace was not swept: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), name+"*")); len(left) > 0 {
		t.Errorf("files were not swept: %v", left)
	}
	if _, err := os.Stat(filepath.Join(netnsDir, alive.Name)); err != nil {
		t.Errorf("a living lab was swept: %v", err)
	}
}

func linkOf(t *testing.T, name string) string {
	t.Helper()
	link, err := namespaceLink(name)
	must(t, err)
	return link
}

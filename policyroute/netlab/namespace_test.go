package netlab

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestProcessesAndMountsAreThoseOfTheNamespace(t *testing.T) {
	Require(t, Root)
	ns, err := NewNamespace("alone")
	must(t, err)
	defer ns.Close()
	must(t, ns.SetFile("/etc/hosts", "192.0.2.1 first\n"))
	must(t, ns.SetFile("/etc/hosts", "192.0.2.2 second\n"))
	out, err := ns.Run(t.Context(), "cat", "/etc/hosts")
	must(t, err)
	if out != "192.0.2.2 second\n" {
		t.Errorf("/etc/hosts is %q", out)
	}
	out, err = ns.Run(t.Context(), "ls", "/sys/class/net")
	must(t, err)
	if strings.TrimSpace(out) != "lo" {
		t.Errorf("/sys/class/net shows %q", out)
	}
	if _, err := ns.Run(t.Context(), "sh", "-c", "echo why >&2; exit 3"); err == nil ||
		!strings.Contains(err.Error(), "why") {
		t.Errorf("error %v, want one that shows the output", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := ns.Run(ctx, "sleep", "60"); err == nil {
		t.Error("a program outlived its context")
	}
}

// A grandchild that left its process group ends with its namespace.
func TestCloseLeavesNoProcess(t *testing.T) {
	Require(t, Root)
	ns, err := NewNamespace("alone")
	must(t, err)
	p, err := ns.Start(Command("setsid", "--fork", "sleep", "300"))
	must(t, err)
	<-p.Done()
	link, err := os.Readlink("/proc/self/ns/net")
	must(t, err)
	var inside string
	must(t, ns.Do(func() (err error) {
		inside, err = os.Readlink("/proc/thread-self/ns/net")
		return err
	}))
	if inside == link {
		t.Fatal("Do ran in the caller's namespace")
	}
	pids, err := processesIn(inside)
	must(t, err)
	if len(pids) != 1 {
		t.Fatalf("processes in the namespace: %v, want the sleeper", pids)
	}
	must(t, ns.Close())
	pids, err = processesIn(inside)
	must(t, err)
	if len(pids) != 0 {
		t.Errorf("still there: %v", pids)
	}
	if _, err := os.Stat(filepath.Join(netnsDir, ns.Name)); !os.IsNotExist(err) {
		t.Errorf("the namespace is still there: %v", err)
	}
	must(t, ns.Close())
}

// Programs that end while the namespace is closed take themselves off the list that is read.
func TestCloseWhileProgramsEnd(t *testing.T) {
	Require(t, Root)
	n, err := NewNamespace("alone")
	must(t, err)
	var running sync.WaitGroup
	for range 10 {
		running.Go(func() {
			if _, err := n.Run(t.Context(), "sleep", "60"); err == nil {
				t.Error("sleep was not killed")
			}
		})
	}
	for len(n.Processes()) < 10 {
		time.Sleep(time.Millisecond)
	}
	must(t, n.Close())
	running.Wait()
}

// A port is free once its listener is closed, although processes are being started meanwhile, each
// of which holds a copy of all sockets for a moment.
func TestClosedPortIsFree(t *testing.T) {
	Require(t, Root)
	ns, err := NewNamespace("alone")
	must(t, err)
	defer ns.Close()
	var starting sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	for range 4 {
		starting.Go(func() {
			for ctx.Err() == nil {
				_ = exec.CommandContext(ctx, "true").Run()
			}
		})
	}
	for range 300 {
		l, err := ns.Listen("tcp", "127.0.0.1:80")
		if err != nil {
			t.Error(err)
			break
		}
		accepting := make(chan struct{})
		go func() {
			defer close(accepting)
			_, _ = l.Accept()
		}()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		<-accepting
	}
	stop()
	starting.Wait()
}

func TestSnapshotShowsWhatChanged(t *testing.T) {
	Require(t, Root)
	ns, err := NewNamespace("alone")
	must(t, err)
	defer ns.Close()
	before, err := ns.Snapshot(t.Context())
	must(t, err)

	must(t, ns.IP("rule add prio 15000 iif lo lookup 23101",
		"route add unreachable default table 23101"))
	must(t,
		ns.Nft("table inet x { chain c { type filter hook forward priority 0; counter drop; }; }"))
	must(t, ns.Sysctl("net/ipv4/conf/lo/forwarding=1"))
	changed, err := ns.Snapshot(t.Context())
	must(t, err)
	diff := changed.Diff(before)
	for _, want := range []string{"+ 15000:", "+ unreachable default table 23101", "+ table inet x",
		"net/ipv4/conf/lo/forwarding = 1"} {
		if !strings.Contains(diff, want) {
			t.Errorf("the difference lacks %q:\n%s", want, diff)
		}
	}
	must(t, ns.IP("rule del prio 15000", "route flush table 23101"))
	must(t, ns.Nft("delete table inet x"))
	must(t, ns.Sysctl("net/ipv4/conf/lo/forwarding=0"))
	after, err := ns.Snapshot(t.Context())
	must(t, err)
	if diff := after.Diff(before); diff != "" {
		t.Errorf("after undoing everything:\n%s", diff)
	}
}

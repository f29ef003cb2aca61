package kernel

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
)

// stub puts shell scripts in the place of iptables: line is what they do when asked to list,
// restore what they do when asked to change something.
func stub(t *testing.T, line, restore string) {
	t.Helper()
	dir := t.TempDir()
	for name, do := range map[string]string{
		"iptables": line, "ip6tables": line, "iptables-restore": restore,
		"ip6tables-restore": restore,
	} {
		real, err := exec.LookPath(name)
		if err != nil {
			t.Skipf("SKIPPED: needs the program %s", name)
		}
		script := "#!/bin/sh\nreal=" + real +
			"\n[ \"$1\" != --version ] || exec $real --version\n" + do + "\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// An iptables that cannot list its table keeps nothing else from being seen, done or taken away,
// and what it has is left alone until it can.
func TestIPTablesThatCannotList(t *testing.T) {
	needs(t, "ip", "nft", "iptables")
	const foreign = "nft 'table ip filter { chain INPUT { type filter hook input priority 0; ct state vmap { established : accept, invalid : drop }; }; }'"
	for _, tt := range []struct {
		name, rules, list string
		families          int
	}{
		{"a table that it cannot print", foreign, "", 1},
		{"no kernel module", ":", "echo 'cannot initialize: do you need to insmod?' >&2; exit 3",
			2},
		{"no lock file", ":", "exit 4", 2},
		{"it does not start", ":", "exit 127", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.list != "" {
				stub(t, tt.list, "exit 2")
			}
			record := filepath.Join(t.TempDir(), "record.json")
			inNamespace(t, func() {
				host(t)
				sh(t, tt.rules)
				k := open(t, record)
				reach(t, k, sample())
				have, err := k.Observe()
				if err != nil || len(have.Unseen) != tt.families || have.Unseen[0].Why == "" {
					t.Errorf("unseen are %q, %v", have.Unseen, err)
				}
				if _, err := k.Restore(context.Background()); err != nil {
					t.Errorf("Restore: %v", err)
				}
				if left := sh(t,
					"ip rule show priority 15010; nft list tables | grep ztb || :"); left != "" {
					t.Errorf("after Restore there is\n%s", left)
				}
			})
		})
	}
}

// An iptables that lists and does not change anything is told of, and everything else is done.
func TestIPTablesThatCannotChange(t *testing.T) {
	needs(t, "ip", "nft", "iptables")
	stub(t, `exec $real "$@"`,
		`echo "iptables-restore: unable to initialize table 'filter'" >&2; exit 2`)
	record := filepath.Join(t.TempDir(), "record.json")
	inNamespace(t, func() {
		host(t)
		k := open(t, record)
		err := k.Apply(context.Background(),
			policyroute.Diff(policyroute.State{Links: sample().Links}, sample()))
		partial, ok := errors.AsType[*PartialError](err)
		if !ok || !errors.Is(err, ErrNoIPTables) ||
			!strings.Contains(err.Error(), "unable to initialize") {
			t.Errorf("Apply: %v, want ErrNoIPTables and what iptables said", err)
		}
		if ok && len(partial.Failed) == 0 {
			t.Error("no operation is named")
		}
		without := sample()
		without.IPTables = nil
		reach(t, k, without)
	})
}

// Chains of ours in a table that iptables cannot list any more are not left behind in silence.
func TestRestoreTellsOfChainsOutOfReach(t *testing.T) {
	needs(t, "ip", "nft", "iptables")
	record := filepath.Join(t.TempDir(), "record.json")
	inNamespace(t, func() {
		host(t)
		k := open(t, record)
		reach(t, k, sample())
		sh(t,
			"nft 'add rule ip filter INPUT ct state vmap { established : accept, invalid : drop }'")
		if _, err := k.Restore(context.Background()); !errors.Is(err, ErrNoIPTables) ||
			!strings.Contains(err.Error(), "ZTB-FORWARD") {
			t.Errorf("Restore: %v, want ErrNoIPTables and the chain's name", err)
		}
		if left := sh(t,
			"ip rule show priority 15010; nft list tables | grep ztb || :"); left != "" {
			t.Errorf("after Restore there is\n%s", left)
		}
		sh(t, "nft flush chain ip filter INPUT")
		if _, err := k.Restore(context.Background()); err != nil {
			t.Errorf("Restore again: %v", err)
		}
		if left := sh(t, "nft list ruleset | grep ZTB || :"); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
	})
}

// legacy puts the legacy variant in the place of iptables, with a lock of its own, and returns what
// holds that lock as another program would, and what releases it.
func legacy(t *testing.T) (hold, release func()) {
	t.Helper()
	needs(t, "ip", "nft", "iptables-legacy", "ip6tables-legacy", "iptables-legacy-restore")
	dir := t.TempDir()
	for _, name := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-restore", "-save"} {
			path, err := exec.LookPath(name + "-legacy" + suffix)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(path, filepath.Join(dir, name+suffix)); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("XTABLES_LOCKFILE", filepath.Join(dir, "lock"))
	lock, err := unix.Open(filepath.Join(dir, "lock"), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC,
		0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(lock) })
	flock := func(how int) {
		if err := unix.Flock(lock, how); err != nil {
			t.Error(err)
		}
	}
	return func() { flock(unix.LOCK_EX) }, func() { flock(unix.LOCK_UN) }
}

// Whoever holds the lock of the legacy variant keeps neither a pass waiting, nor every one that
// follows.
func TestHeldLockDelaysNoPass(t *testing.T) {
	hold, release := legacy(t)
	record := filepath.Join(t.TempDir(), "record.json")
	inNamespace(t, func() {
		host(t)
		k := open(t, record)
		hold()
		for i, most := range []time.Duration{3 * time.Second, time.Second} {
			began := time.Now()
			have, err := k.Observe()
			if err != nil || len(have.Unseen) != 2 {
				t.Errorf("unseen are %q, %v", have.Unseen, err)
			}
			if err := k.Apply(context.Background(), policyroute.Diff(have, sample())); err != nil {
				t.Errorf("Apply: %v", err)
			}
			if took := time.Since(began); took > most {
				t.Errorf("pass %d took %v", i, took)
			}
		}
		began := time.Now() // as when it is taken between the look and the change
		err := k.Apply(context.Background(),
			policyroute.Diff(policyroute.State{Links: sample().Links}, sample()))
		if !errors.Is(err, ErrNoIPTables) {
			t.Errorf("Apply: %v, want ErrNoIPTables", err)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("changing took %v", took)
		}
		release()
		time.Sleep(askAgain)
		reach(t, k, sample())
	})
}

// What the legacy variant made and does not show is not left behind in silence, and a brief lock is
// waited for.
func TestRestoreBesideHeldLock(t *testing.T) {
	hold, release := legacy(t)
	record := filepath.Join(t.TempDir(), "record.json")
	path := os.Getenv("PATH")
	inNamespace(t, func() {
		host(t)
		sh(t, "iptables -S; ip6tables -S")
		reach(t, open(t, record), sample())
		stub(t, "echo 'cannot initialize' >&2; exit 3", "exit 3")
		if _, err := open(t, record).Restore(context.Background()); !errors.Is(err,
			ErrNoIPTables) || !strings.Contains(err.Error(), "ipv6") {
			t.Errorf("Restore: %v, want ErrNoIPTables for both families", err)
		}
		if left := sh(t,
			"ip rule show priority 15010; nft list tables | grep ztb || :"); left != "" {
			t.Errorf("after Restore there is\n%s", left)
		}
		t.Setenv("PATH", path)
		hold()
		defer time.AfterFunc(3*time.Second, release).Stop()
		if _, err := open(t, record).Restore(context.Background()); err != nil {
			t.Errorf("Restore again: %v", err)
		}
		if left := sh(t, "{ iptables-save; ip6tables-save; } | grep ZTB || :"); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
		if _, err := os.Stat(record); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the record is still there: %v", err)
		}
	})
}

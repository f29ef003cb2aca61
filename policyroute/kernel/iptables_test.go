package kernel

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ztbridge/policyroute"
)

// stub puts shell scripts in the place of iptables: line is what they do when asked to list, restore what
// they do when asked to change something.
func stub(t *testing.T, line, restore string) {
	t.Helper()
	dir := t.TempDir()
	for name, do := range map[string]string{
		"iptables": line, "ip6tables": line, "iptables-restore": restore, "ip6tables-restore": restore,
	} {
		real, err := exec.LookPath(name)
		if err != nil {
			t.Skipf("SKIPPED: needs the program %s", name)
		}
		script := "#!/bin/sh\nreal=" + real + "\n[ \"$1\" != --version ] || exec $real --version\n" + do + "\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// An iptables that cannot list its table keeps nothing else from being seen, done or taken away, and what
// it has is left alone until it can.
func TestIPTablesThatCannotList(t *testing.T) {
	needs(t, "ip", "nft", "iptables")
	const foreign = "nft 'table ip filter { chain INPUT { type filter hook input priority 0; ct state vmap { established : accept, invalid : drop }; }; }'"
	for _, tt := range []struct {
		name, rules, list string
		families          int
	}{
		{"a table that it cannot print", foreign, "", 1},
		{"no kernel module", ":", "echo 'cannot initialize: do you need to insmod?' >&2; exit 3", 2},
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
				if left := sh(t, "ip rule show priority 15010; nft list tables | grep ztb || :"); left != "" {
					t.Errorf("after Restore there is\n%s", left)
				}
			})
		})
	}
}

// An iptables that lists and does not change anything is told of, and everything else is done.
func TestIPTablesThatCannotChange(t *testing.T) {
	needs(t, "ip", "nft", "iptables")
	stub(t, `exec $real "$@"`, `echo "iptables-restore: unable to initialize table 'filter'" >&2; exit 2`)
	record := filepath.Join(t.TempDir(), "record.json")
	inNamespace(t, func() {
		host(t)
		k := open(t, record)
		err := k.Apply(context.Background(), policyroute.Diff(policyroute.State{Links: sample().Links}, sample()))
		partial, ok := errors.AsType[*PartialError](err)
		if !ok || !errors.Is(err, ErrNoIPTables) || !strings.Contains(err.Error(), "unable to initialize") {
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
		sh(t, "nft 'add rule ip filter INPUT ct state vmap { established : accept, invalid : drop }'")
		if _, err := k.Restore(context.Background()); !errors.Is(err, ErrNoIPTables) || !strings.Contains(err.Error(), "ZTB-FORWARD") {
			t.Errorf("Restore: %v, want ErrNoIPTables and the chain's name", err)
		}
		if left := sh(t, "ip rule show priority 15010; nft list tables | grep ztb || :"); left != "" {
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

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

// incompatible is a table filter made with nft(8), as in many an /etc/nftables.conf, of which
// iptables says that it cannot be listed.
const incompatible = `nft 'table ip filter {
	chain INPUT { type filter hook input priority 0; ct state vmap { established : accept, related : accept, invalid : drop }; }
	chain FORWARD { type filter hook forward priority 0; }
}'`

// stubIPTables has ztbridge find programs in the place of iptables that do what the shell line
// says.
func (b *box) stubIPTables(line string) {
	b.t.Helper()
	dir := b.t.TempDir()
	for _, name := range []string{"iptables", "ip6tables", "iptables-restore",
		"ip6tables-restore"} {
		must(b.t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+line+"\n"), 0o755))
	}
	b.env = append(b.env, "PATH="+dir+":"+os.Getenv("PATH"))
}

// TestGuardWithoutIPTables closes at boot although iptables is there and does not work, for
// whatever reason.
func TestGuardWithoutIPTables(t *testing.T) {
	t.Parallel()
	netlab.Require(t, netlab.Root, netlab.IPTables)
	for _, host := range []struct{ name, rules, iptables string }{
		{"a table of others that iptables cannot print", incompatible, ""},
		{"no lock file", "",
			`[ "$1" = --version ] && { echo "iptables v1.8.9 (legacy)"; exit 0; }; exit 4`},
		{"it does not even start", "", "exit 4"},
	} {
		t.Run(host.name, func(t *testing.T) {
			top, err := lab.NewLab()
			must(t, err)
			t.Cleanup(func() { must(t, top.Close()) })
			ns, err := top.Host("box")
			must(t, err)
			b := newBox(t, ns)
			b.sh("set -e\n" + host.rules)
			if host.iptables != "" {
				b.stubIPTables(host.iptables)
			}
			b.mustRun("guard")
			out, err := b.ns.Run(t.Context(), "nft", "list", "table", "inet", "ztb")
			if err != nil || !strings.Contains(out,
				`iifname "zt*" counter name "dropped_forward" drop`) {
				t.Errorf("the box is not closed: %v:\n%s", err, out)
			}
		})
	}
}

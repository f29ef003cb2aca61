package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"slices"
	"strings"

	lib "github.com/coreos/go-iptables/iptables"

	"ztbridge/policyroute"
)

// ErrNoIPTables says that the host has no usable iptables. Then no other firewall can have used it
// either, and our table in nftables is enough; the chains are an extra for hosts that have one.
var ErrNoIPTables = errors.New("iptables is not usable here")

const (
	filterTable = "filter"

	// lockSeconds is how long iptables waits for another one to finish, and busyAttempts how often it is
	// run again after that, or after the kernel refused a transaction that another one overtook.
	lockSeconds  = 5
	busyAttempts = 3

	// Exit statuses (iptables/xshared.h).
	exitOther    = 1 // no such chain or rule, among others
	exitUnusable = 3 // the table cannot be had: no kernel support, no IPv6
	exitBusy     = 4
)

// iptables reads our chains through `iptables -S`, and changes them in iptables-restore transactions.
type iptables struct {
	log      *slog.Logger
	families map[policyroute.Family]*family
	// nftables says that the programs are the variant that nftables' generation covers.
	nftables bool
}

// family is iptables or ip6tables.
type family struct {
	lib     *lib.IPTables
	restore string // path of the restore program
}

// find looks for the programs that are not known yet, and says whether there are new ones: another firewall may bring them
// at any time. It runs nothing where there are none.
func (t *iptables) find() (found bool, err error) {
	for f, name := range map[policyroute.Family]string{policyroute.V4: "iptables", policyroute.V6: "ip6tables"} {
		if t.families[f] != nil {
			continue
		}
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		restore, err := exec.LookPath(name + "-restore")
		if err != nil {
			continue
		}
		version, err := exec.Command(path, "--version").Output()
		if err != nil {
			return found, fmt.Errorf("running %s: %w", path, err)
		}
		proto := lib.ProtocolIPv4
		if f == policyroute.V6 {
			proto = lib.ProtocolIPv6
		}
		handle, err := lib.New(lib.IPFamily(proto), lib.Path(path), lib.Timeout(lockSeconds))
		if err != nil {
			return found, fmt.Errorf("preparing %s: %w", path, err)
		}
		t.nftables = t.nftables && bytes.Contains(version, []byte("nf_tables"))
		t.families[f], found = &family{lib: handle, restore: restore}, true
	}
	return found, nil
}

// silent says that changes do not show in nftables' generation: the legacy variant is there.
func (t *iptables) silent() bool { return !t.nftables }

func (t *iptables) usable() bool { return len(t.families) > 0 }

// observe returns our chains of both families.
func (t *iptables) observe() ([]policyroute.Chain, error) {
	var out []policyroute.Chain
	for _, f := range policyroute.Families {
		if t.families[f] == nil {
			continue
		}
		chains, err := t.chains(f)
		if err != nil {
			return nil, err
		}
		out = append(out, chains...)
	}
	return out, nil
}

func (t *iptables) chains(f policyroute.Family) ([]policyroute.Chain, error) {
	present, err := retryBusy(func() ([]string, error) { return t.families[f].lib.ListChains(filterTable) })
	if exitStatus(err) == exitUnusable {
		t.log.Debug("no iptables for a family", "family", f, "error", err)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing %s chains: %w", f, err)
	}
	var out []policyroute.Chain
	for _, c := range []policyroute.Chain{
		{Family: f, Name: policyroute.ChainForward, Parent: "FORWARD"},
		{Family: f, Name: policyroute.ChainInput, Parent: "INPUT"},
	} {
		if !slices.Contains(present, c.Name) {
			continue
		}
		if c.Rules, err = t.rules(f, c.Name); err != nil {
			return nil, err
		}
		parent, err := t.rules(f, c.Parent)
		if err != nil {
			return nil, err
		}
		if len(parent) == 0 || parent[0] != jumpTo(c.Name) || count(parent, jumpTo(c.Name)) != 1 {
			c.Parent = ""
		}
		out = append(out, c)
	}
	return out, nil
}

// rules returns the chain's rules as `iptables -S` prints them, without "-A CHAIN". A chain that is not
// there has none.
func (t *iptables) rules(f policyroute.Family, chain string) ([]string, error) {
	lines, err := retryBusy(func() ([]string, error) { return t.families[f].lib.List(filterTable, chain) })
	if exitStatus(err) == exitOther {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing %s chain %s: %w", f, chain, err)
	}
	var out []string
	for _, line := range lines {
		if rule, ok := strings.CutPrefix(line, "-A "+chain+" "); ok {
			out = append(out, rule)
		}
	}
	return out, nil
}

// setChain makes or replaces the chain in one transaction.
func (t *iptables) setChain(c policyroute.Chain) error {
	lines := []string{fmt.Sprintf(":%s - [0:0]", c.Name)} // with --noflush: empties this chain alone
	for _, r := range c.Rules {
		lines = append(lines, fmt.Sprintf("-A %s %s", c.Name, r))
	}
	return t.commit(c.Family, lines)
}

// ensureJump makes the jump the first rule of the parent and its only one, in one transaction.
func (t *iptables) ensureJump(o policyroute.EnsureJump) error {
	if t.families[o.Family] == nil {
		return ErrNoIPTables
	}
	parent, err := t.rules(o.Family, o.Parent)
	if err != nil {
		return err
	}
	copies := count(parent, jumpTo(o.Chain))
	if copies == 1 && parent[0] == jumpTo(o.Chain) {
		return nil
	}
	lines := slices.Repeat([]string{fmt.Sprintf("-D %s %s", o.Parent, jumpTo(o.Chain))}, copies)
	return t.commit(o.Family, append(lines, fmt.Sprintf("-I %s 1 %s", o.Parent, jumpTo(o.Chain))))
}

// deleteChain removes the chain and the jumps to it, in one transaction.
func (t *iptables) deleteChain(o policyroute.DeleteChain) error {
	if t.families[o.Family] == nil {
		return nil
	}
	present, err := retryBusy(func() ([]string, error) { return t.families[o.Family].lib.ListChains(filterTable) })
	if exitStatus(err) == exitUnusable || (err == nil && !slices.Contains(present, o.Chain)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listing %s chains: %w", o.Family, err)
	}
	parent, err := t.rules(o.Family, o.Parent)
	if err != nil {
		return err
	}
	lines := slices.Repeat([]string{fmt.Sprintf("-D %s %s", o.Parent, jumpTo(o.Chain))}, count(parent, jumpTo(o.Chain)))
	return t.commit(o.Family, append(lines, "-F "+o.Chain, "-X "+o.Chain))
}

// commit runs the lines as one transaction on the filter table that leaves everything else alone.
func (t *iptables) commit(f policyroute.Family, lines []string) error {
	fam := t.families[f]
	if fam == nil {
		return ErrNoIPTables
	}
	input := "*" + filterTable + "\n" + strings.Join(lines, "\n") + "\nCOMMIT\n"
	_, err := retryBusy(func() (struct{}, error) {
		cmd := exec.Command(fam.restore, "--noflush", "--wait", fmt.Sprint(lockSeconds))
		cmd.Stdin = strings.NewReader(input)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Run(); err != nil {
			return struct{}{}, fmt.Errorf("running %s: %w: %s", fam.restore, err, strings.TrimSpace(stderr.String()))
		}
		return struct{}{}, nil
	})
	if exitStatus(err) == exitUnusable {
		return errors.Join(ErrNoIPTables, err)
	}
	return err
}

func retryBusy[T any](run func() (T, error)) (T, error) {
	for i := 1; ; i++ {
		out, err := run()
		if exitStatus(err) != exitBusy || i == busyAttempts {
			return out, err
		}
	}
}

// exitStatus returns the program's status; 0 when err is something else.
func exitStatus(err error) int {
	if e, ok := errors.AsType[*lib.Error](err); ok {
		return e.ExitStatus()
	}
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return e.ExitCode()
	}
	return 0
}

func jumpTo(chain string) string { return "-j " + chain }

func count(list []string, s string) int {
	n := 0
	for _, x := range list {
		if x == s {
			n++
		}
	}
	return n
}

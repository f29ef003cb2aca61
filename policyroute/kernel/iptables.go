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

// ErrNoIPTables says that iptables is not there or does not do what it is asked. Our table in nftables is
// enough where no other firewall stands in the way; the chains are an extra for hosts that have one.
var ErrNoIPTables = errors.New("iptables is not usable here")

// errAbsent says that the host does not have the program.
var errAbsent = errors.New("it is not installed")

const (
	filterTable = "filter"

	// lockSeconds is how long iptables waits for another one to finish, and busyAttempts how often it is
	// run again after that, or after the kernel refused a transaction that another one overtook.
	lockSeconds  = 5
	busyAttempts = 3

	// Exit statuses (iptables/xshared.h).
	exitOther = 1 // no such chain or rule, among others
	exitBusy  = 4
)

// iptables reads our chains through `iptables -S`, and changes them in iptables-restore transactions.
type iptables struct {
	log      *slog.Logger
	families map[policyroute.Family]*family // those that worked when last asked
	trouble  map[policyroute.Family]string  // why not, of those that are installed
}

// family is iptables or ip6tables.
type family struct {
	lib     *lib.IPTables
	restore string // path of the restore program
	// nftables says that the programs are the variant that nftables' generation covers.
	nftables bool
}

// find looks for the programs of a family unless they are known: another firewall may bring them at any time. It runs
// nothing where there are none, and returns errAbsent.
func (t *iptables) find(f policyroute.Family) error {
	if t.families[f] != nil {
		return nil
	}
	name, proto := "iptables", lib.ProtocolIPv4
	if f == policyroute.V6 {
		name, proto = "ip6tables", lib.ProtocolIPv6
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return errAbsent
	}
	restore, err := exec.LookPath(name + "-restore")
	if err != nil {
		return errAbsent
	}
	version, err := exec.Command(path, "--version").Output()
	if err != nil {
		return fmt.Errorf("running %s: %w", path, err)
	}
	handle, err := lib.New(lib.IPFamily(proto), lib.Path(path), lib.Timeout(lockSeconds))
	if err != nil {
		return fmt.Errorf("preparing %s: %w", path, err)
	}
	t.families[f] = &family{lib: handle, restore: restore, nftables: bytes.Contains(version, []byte("nf_tables"))}
	return nil
}

// silent says that changes do not show in nftables' generation: the legacy variant is there.
func (t *iptables) silent() bool {
	for _, f := range t.families {
		if !f.nftables {
			return true
		}
	}
	return false
}

// unsettled says that what iptables shows may have changed without anybody's announcing it: one that did not work may do so
// now, or one has come.
func (t *iptables) unsettled() bool {
	for _, f := range policyroute.Families {
		if t.families[f] == nil && (t.trouble[f] != "" || t.find(f) == nil) {
			return true
		}
	}
	return t.silent()
}

// observe returns our chains, and the families that have none to be seen. One that is installed and does not work, be it
// for now or for ever, is looked for anew the next time.
func (t *iptables) observe() (chains []policyroute.Chain, unseen []policyroute.Unseen) {
	for _, f := range policyroute.Families {
		err := t.find(f)
		var found []policyroute.Chain
		if err == nil {
			found, err = t.chains(f)
		}
		why := ""
		if err != nil {
			delete(t.families, f)
			if !errors.Is(err, errAbsent) {
				why = err.Error()
			}
			unseen = append(unseen, policyroute.Unseen{Family: f, Why: why})
		}
		if why != "" && why != t.trouble[f] {
			t.log.Warn("iptables does not work, its chains are left alone", "family", f, "error", err)
		}
		t.trouble[f] = why
		chains = append(chains, found...)
	}
	return chains, unseen
}

func (t *iptables) chains(f policyroute.Family) ([]policyroute.Chain, error) {
	present, err := retryBusy(func() ([]string, error) { return t.families[f].lib.ListChains(filterTable) })
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
	present, err := retryBusy(func() ([]string, error) { return t.families[o.Family].lib.ListChains(filterTable) })
	if err != nil {
		return fmt.Errorf("listing %s chains: %w", o.Family, err)
	}
	if !slices.Contains(present, o.Chain) {
		return nil
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

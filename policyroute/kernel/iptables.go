package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"slices"
	"strings"
	"time"

	lib "github.com/coreos/go-iptables/iptables"

	"ztbridge/policyroute"
)

// ErrNoIPTables reports that iptables is missing or does not work. Our nftables table suffices
// unless another firewall drops the packets; the chains are for hosts that have one.
var ErrNoIPTables = errors.New("iptables is not usable here")

var (
	// errAbsent reports that the host does not have the program.
	errAbsent = errors.New("it is not installed")
	// errLocked reports that the program was not run, because it would wait for its lock.
	errLocked = errors.New("another program holds its lock")
)

const (
	filterTable = "filter"

	// The legacy variant waits for others that hold its lock. In a pass everything else waits with
	// it, and passes feed the watchdog; whoever puts the host back has the time.
	passSeconds    = 1
	restoreSeconds = 10
	// askAgain is how long an iptables that does not work, or whose lock is held, is left alone.
	askAgain = 5 * time.Second
	// busyAttempts is how often the nftables variant is run again after another program's
	// transaction interferes: it does not wait.
	busyAttempts = 3

	// Exit statuses (iptables/xshared.h).
	exitOther = 1 // no such chain or rule, among others
	exitBusy  = 4
)

// iptables reads our chains through `iptables -S`, and changes them in iptables-restore
// transactions.
type iptables struct {
	log         *slog.Logger
	families    map[policyroute.Family]*family // those that worked when last asked
	trouble     map[policyroute.Family]trouble // those that are installed and did not
	lockTimeout int                            // seconds to wait for the legacy variant's lock
	lockedAt    time.Time                      // when a wait for that lock last timed out
}

// trouble is why a family did not work when it was last run.
type trouble struct {
	why string
	at  time.Time
}

func newIPTables(log *slog.Logger) *iptables {
	t := &iptables{log: log}
	t.wait(passSeconds)
	return t
}

// wait sets how long to wait for the legacy variant's lock, and forgets earlier failures.
func (t *iptables) wait(seconds int) {
	t.lockTimeout, t.lockedAt = seconds, time.Time{}
	t.families, t.trouble = map[policyroute.Family]*family{}, map[policyroute.Family]trouble{}
}

// family is iptables or ip6tables.
type family struct {
	lib     *lib.IPTables
	restore string // path of the restore program
	// nftables reports whether the programs are the variant that nftables' generation covers.
	nftables bool
}

// find looks for the programs of a family unless they are known: another firewall may install them
// at any time. It runs nothing if there are none, and returns errAbsent.
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
	handle, err := lib.New(lib.IPFamily(proto), lib.Path(path), lib.Timeout(t.lockTimeout))
	if err != nil {
		return fmt.Errorf("preparing %s: %w", path, err)
	}
	t.families[f] = &family{lib: handle, restore: restore,
		nftables: bytes.Contains(version, []byte("nf_tables"))}
	return nil
}

// silent reports whether changes do not raise nftables' generation: the legacy variant is there.
func (t *iptables) silent() bool {
	for _, f := range t.families {
		if !f.nftables {
			return true
		}
	}
	return false
}

// unsettled reports whether iptables may have changed unannounced: a failed one may work by now, or
// one was installed.
func (t *iptables) unsettled() bool {
	for _, f := range policyroute.Families {
		if t.families[f] != nil || t.troubled(f) {
			continue
		}
		if t.trouble[f].why != "" || t.find(f) == nil {
			return true
		}
	}
	return t.silent()
}

// troubled reports whether a family did not work a moment ago.
func (t *iptables) troubled(f policyroute.Family) bool {
	return t.trouble[f].why != "" && time.Since(t.trouble[f].at) < askAgain
}

// observe returns our chains, and the families whose chains cannot be seen. It tries one that is
// installed and does not work again after a while.
func (t *iptables) observe() (chains []policyroute.Chain, unseen []policyroute.Unseen) {
	for _, f := range policyroute.Families {
		if t.troubled(f) {
			unseen = append(unseen, policyroute.Unseen{Family: f, Why: t.trouble[f].why})
			continue
		}
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
		if why != "" && why != t.trouble[f].why {
			t.log.Warn("iptables does not work, its chains are left alone", "family", f, "error",
				err)
		}
		t.trouble[f] = trouble{why, time.Now()}
		chains = append(chains, found...)
	}
	return chains, unseen
}

func (t *iptables) chains(f policyroute.Family) ([]policyroute.Chain, error) {
	present, err := run(t, f, func(fam *family) ([]string, error) {
		return fam.lib.ListChains(filterTable)
	})
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

// rules returns the chain's rules as `iptables -S` prints them, without "-A CHAIN"; none if there
// is no such chain.
func (t *iptables) rules(f policyroute.Family, chain string) ([]string, error) {
	lines, err := run(t, f, func(fam *family) ([]string, error) {
		return fam.lib.List(filterTable, chain)
	})
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
	// with --noflush: empties this chain alone
	lines := []string{fmt.Sprintf(":%s - [0:0]", c.Name)}
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
	present, err := run(t, o.Family,
		func(fam *family) ([]string, error) { return fam.lib.ListChains(filterTable) })
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
	lines := slices.Repeat([]string{fmt.Sprintf("-D %s %s", o.Parent, jumpTo(o.Chain))},
		count(parent, jumpTo(o.Chain)))
	return t.commit(o.Family, append(lines, "-F "+o.Chain, "-X "+o.Chain))
}

// commit runs the lines as one transaction on the filter table that leaves everything else alone.
func (t *iptables) commit(f policyroute.Family, lines []string) error {
	input := "*" + filterTable + "\n" + strings.Join(lines, "\n") + "\nCOMMIT\n"
	_, err := run(t, f, func(fam *family) (struct{}, error) {
		cmd := exec.Command(fam.restore, "--noflush", "--wait", fmt.Sprint(t.lockTimeout))
		cmd.Stdin = strings.NewReader(input)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Run(); err != nil {
			return struct{}{}, fmt.Errorf("running %s: %w: %s", fam.restore, err,
				strings.TrimSpace(stderr.String()))
		}
		return struct{}{}, nil
	})
	return err
}

// run runs a family's program. Both families of the legacy variant share one lock: after one has
// waited in vain, none waits again for a while.
func run[T any](t *iptables, f policyroute.Family, do func(*family) (T, error)) (T, error) {
	fam := t.families[f]
	if !fam.nftables && time.Since(t.lockedAt) < askAgain {
		var none T
		return none, errLocked
	}
	for i := 1; ; i++ {
		out, err := do(fam)
		busy := exitStatus(err) == exitBusy
		if busy && !fam.nftables {
			t.lockedAt = time.Now()
		}
		if !busy || !fam.nftables || i == busyAttempts {
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

package netlab

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

var (
	lifetime = regexp.MustCompile(` expires \d+sec`)
	counters = regexp.MustCompile(` ?\[\d+:\d+\]`)
)

// MainTable returns the main routing tables, IPv4 and IPv6, as ip(8) prints them. It leaves out
// what changes by itself (the remaining lifetime of routes by router advertisements).
func (n *Namespace) MainTable(ctx context.Context) (string, error) {
	var b strings.Builder
	for _, family := range []string{"-4", "-6"} {
		out, err := n.Run(ctx, "ip", family, "route", "show", "table", "main")
		if err != nil {
			return "", err
		}
		b.WriteString(withoutLifetimes(out))
	}
	return b.String(), nil
}

// Checksum returns the first 16 hexadecimal digits of the SHA-256 of s, for people to compare.
func Checksum(s string) string {
	sum := sha256.Sum256([]byte(s))
	return fmt.Sprintf("%x", sum[:8])
}

// Snapshot is a host's routing and filtering as text, without what changes by itself: counters,
// handles, lifetimes. Two snapshots are compared with Diff.
type Snapshot struct {
	sections []section
}

type section struct{ name, text string }

type query struct {
	command string
	clean   func(string) string // nil: the output is kept as it is
}

// queries are the commands that print a host's routing and filtering. Each has a function that
// removes from the output what changes by itself.
func queries() []query {
	return []query{
		{"ip -4 rule show", nil},
		{"ip -6 rule show", nil},
		{"ip -4 route show table all", withoutLifetimes},
		{"ip -6 route show table all", withoutLifetimes},
		{"nft -s list ruleset", withoutIPTables},
		{"iptables-save", withoutIdleTables},
		{"ip6tables-save", withoutIdleTables},
	}
}

// Snapshot reads rules, all routes, nft's ruleset, iptables' (where installed) and the sysctls of
// net.ipv4.conf, net.ipv6.conf and ip_forward.
func (n *Namespace) Snapshot(ctx context.Context) (Snapshot, error) {
	s, err := tables(func(name string, args ...string) (string, error) {
		return n.Run(ctx, name, args...)
	})
	if err != nil {
		return Snapshot{}, err
	}
	sysctls, err := n.sysctls()
	return s.With("sysctl", sysctls), err
}

// SnapshotHere reads the rules, routes and rulesets of the namespace that the caller runs in. What
// cannot be read is left out, and told in the error.
func SnapshotHere(ctx context.Context) (Snapshot, error) {
	return tables(func(name string, args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, name, args...).Output()
		if err != nil {
			return "", fmt.Errorf("running %s %s: %w", name, strings.Join(args, " "), err)
		}
		return string(out), nil
	})
}

// With returns the snapshot with a further section, whose lines are compared in any order.
func (s Snapshot) With(name, text string) Snapshot {
	return Snapshot{sections: append(slices.Clip(s.sections), section{name, text})}
}

// tables asks every query by run. It returns what was read, and the errors of the rest.
func tables(run func(name string, args ...string) (string, error)) (Snapshot, error) {
	var s Snapshot
	var errs []error
	for _, q := range queries() {
		args := strings.Fields(q.command)
		if strings.HasSuffix(args[0], "tables-save") && len(Missing(Need(args[0]))) > 0 {
			continue
		}
		out, err := run(args[0], args[1:]...)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if q.clean != nil {
			out = q.clean(out)
		}
		s = s.With(q.command, out)
	}
	return s, errors.Join(errs...)
}

// String prints the snapshot.
func (s Snapshot) String() string {
	var b strings.Builder
	for _, sec := range s.sections {
		fmt.Fprintf(&b, "# %s\n%s", sec.name, sec.text)
	}
	return b.String()
}

// Diff returns the lines that differ by section, "-" for those only in want and "+" for those only
// in s. It is empty if there are none.
func (s Snapshot) Diff(want Snapshot) string {
	have := make(map[string]string)
	for _, sec := range s.sections {
		have[sec.name] = sec.text
	}
	var b strings.Builder
	for _, sec := range want.sections {
		if have[sec.name] == sec.text {
			continue
		}
		fmt.Fprintf(&b, "# %s\n", sec.name)
		missing := subtract(sec.text, have[sec.name])
		extra := subtract(have[sec.name], sec.text)
		if len(missing)+len(extra) == 0 {
			fmt.Fprintf(&b, "  the same lines in another order\n")
		}
		for _, line := range missing {
			fmt.Fprintf(&b, "- %s\n", line)
		}
		for _, line := range extra {
			fmt.Fprintf(&b, "+ %s\n", line)
		}
	}
	return b.String()
}

// subtract returns the lines of a that b does not have, each as often as it is missing.
func subtract(a, b string) []string {
	count := make(map[string]int)
	for line := range strings.SplitSeq(b, "\n") {
		count[line]++
	}
	var missing []string
	for line := range strings.SplitSeq(a, "\n") {
		if count[line]--; count[line] < 0 {
			missing = append(missing, line)
		}
	}
	return missing
}

func withoutLifetimes(s string) string { return lifetime.ReplaceAllString(s, "") }

// withoutIPTables leaves the tables out that iptables-nft manages: they are compared as iptables
// sees them. nft announces each by a warning, on the line before it.
func withoutIPTables(s string) string {
	var b strings.Builder
	skip := false
	for line := range strings.Lines(s) {
		if strings.Contains(line, "is managed by iptables-nft") {
			skip = true
			continue
		}
		if !skip {
			b.WriteString(line)
		}
		if strings.HasPrefix(line, "}") {
			skip = false
		}
	}
	return b.String()
}

// withoutIdleTables drops comments, counters, and iptables tables with nothing but empty built-in
// chains with policy ACCEPT. iptables makes them on first use, they filter nothing, and it has no
// command to remove them.
func withoutIdleTables(s string) string {
	var b, table strings.Builder
	idle := true
	for line := range strings.Lines(s) {
		line = counters.ReplaceAllString(line, "")
		switch {
		case strings.HasPrefix(line, "#"):
			continue
		case strings.HasPrefix(line, "*"):
			table.Reset()
			idle = true
		case strings.HasPrefix(line, ":") && strings.HasSuffix(strings.TrimSpace(line), " ACCEPT"):
		case strings.TrimSpace(line) == "COMMIT":
			if !idle {
				b.WriteString(table.String())
				b.WriteString(line)
			}
			continue
		default:
			idle = false
		}
		table.WriteString(line)
	}
	return b.String()
}

func (n *Namespace) sysctls() (string, error) {
	var b strings.Builder
	err := n.Do(func() error {
		for _, root := range []string{"net/ipv4/conf", "net/ipv4/ip_forward", "net/ipv6/conf"} {
			err := filepath.WalkDir(filepath.Join("/proc/sys", root),
				func(path string, d fs.DirEntry, err error) error {
					if err != nil || d.IsDir() {
						return err
					}
					value, err := os.ReadFile(path)
					if err != nil {
						// some cannot be read (stable_secret) or vanish with their interface
						return nil
					}
					fmt.Fprintf(&b, "%s = %s\n", strings.TrimPrefix(path, "/proc/sys/"),
						strings.TrimSpace(string(value)))
					return nil
				})
			if err != nil {
				return fmt.Errorf("reading %s of %s: %w", root, n.Label, err)
			}
		}
		return nil
	})
	return b.String(), err
}

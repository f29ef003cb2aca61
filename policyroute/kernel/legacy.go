package kernel

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"ztbridge/policyroute"
)

// legacyCounter counts what a rule, or a chain's policy, of legacy iptables has decided so far.
type legacyCounter struct {
	table, chain string
	rule         string // empty for the policy
	target       string // of -j or -g
	packets      uint64
}

// legacyProgram is the legacy variant's own program.
func legacyProgram(f policyroute.Family) string {
	if f == policyroute.V6 {
		return "ip6tables-legacy"
	}
	return "iptables-legacy"
}

// LegacyRules returns the tables of iptables in its legacy variant as text, without counters; empty
// where there are none. Their changes are announced to nobody. It runs programs only where such a
// table exists.
func LegacyRules(ctx context.Context) string {
	var b strings.Builder
	for _, f := range policyroute.Families {
		for _, c := range legacyCounters(ctx, f) {
			fmt.Fprintln(&b, f, c.table, c.chain, c.rule, c.target)
		}
	}
	return b.String()
}

// legacyCounters returns the counters of the tables in their order; nothing where none exists. The
// legacy variant reports no traces to nftables.
func legacyCounters(ctx context.Context, f policyroute.Family) []legacyCounter {
	names := "net/ip_tables_names"
	if f == policyroute.V6 {
		names = "net/ip6_tables_names"
	}
	if !procLists(names) { // the program would create one
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, ruleTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, legacyProgram(f)+"-save", "-c").Output()
	if err != nil {
		return nil
	}
	return parseLegacy(string(out))
}

// parseLegacy reads what iptables-save -c prints:
//
//	*filter
//	:FORWARD DROP [3:252]
//	[0:0] -A FORWARD -i eth0 -j ACCEPT
func parseLegacy(text string) []legacyCounter {
	var out []legacyCounter
	table := ""
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 1 && strings.HasPrefix(fields[0], "*"):
			table = fields[0][1:]
		case len(fields) == 3 && strings.HasPrefix(fields[0], ":"):
			out = append(out, legacyCounter{table: table, chain: fields[0][1:], target: fields[1],
				packets: firstCount(fields[2])})
		case len(fields) > 3 && fields[1] == "-A":
			c := legacyCounter{table: table, chain: fields[2],
				rule: strings.Join(fields[1:], " "), packets: firstCount(fields[0])}
			for i, word := range fields[:len(fields)-1] {
				if word == "-j" || word == "-g" {
					c.target = fields[i+1]
				}
			}
			out = append(out, c)
		}
	}
	return out
}

// firstCount reads "[packets:bytes]".
func firstCount(s string) uint64 {
	packets, _, _ := strings.Cut(strings.TrimPrefix(s, "["), ":")
	n, _ := strconv.ParseUint(packets, 10, 64)
	return n
}

// legacyBlock returns what dropped packets between two readings, in a chain that forwarded ones
// pass. Other packets that were dropped meanwhile may be taken for those of the trace.
func legacyBlock(before, after []legacyCounter, f policyroute.Family) (Block, bool) {
	seen := map[legacyCounter]uint64{}
	for _, c := range before {
		packets := c.packets
		c.packets = 0
		seen[c] = packets
	}
	for _, c := range after {
		key := c
		key.packets = 0
		was, known := seen[key]
		if !known || c.packets <= was || c.target != "DROP" && c.target != "REJECT" ||
			c.rule == "" && legacyHooks[c.chain] == "" || c.chain == "INPUT" ||
			c.chain == "OUTPUT" {
			continue
		}
		return c.block(f, baseOf(after, c.table, c.chain)), true
	}
	return Block{}, false
}

// block describes a rule or policy that drops packets that came by a chain of the kernel's.
func (c legacyCounter) block(f policyroute.Family, base string) Block {
	return Block{Program: legacyProgram(f), Table: c.table, Chain: c.chain, Base: base,
		Hook: legacyHooks[base], Rule: c.rule}
}

// legacyHooks names the hooks of the chains that packets from elsewhere pass.
var legacyHooks = map[string]string{"PREROUTING": hookPrerouting, "FORWARD": HookForward,
	"POSTROUTING": hookPostrouting, "INPUT": hookInput}

// baseOf returns the kernel's chain that leads to another one of its table.
func baseOf(all []legacyCounter, table, chain string) string {
	for range maxJumps {
		i := slices.IndexFunc(all,
			func(c legacyCounter) bool { return c.table == table && c.target == chain })
		if legacyHooks[chain] != "" || i < 0 {
			break
		}
		chain = all[i].chain
	}
	return chain
}

// procLists reports whether a file of /proc/net names any table.
func procLists(file string) bool {
	b, err := os.ReadFile("/proc/thread-self/" + file)
	return err == nil && len(strings.Fields(string(b))) > 0
}

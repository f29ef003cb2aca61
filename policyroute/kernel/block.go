package kernel

import (
	"fmt"
	"slices"
	"strings"
)

// Block is the filter that keeps packets from passing.
type Block struct {
	// Program is what lists and changes the filter: "nft", or one of the variants of iptables.
	Program string
	Table   string // "inet filter"; of iptables "filter"
	Chain   string
	// Base is the chain by which packets come into the table; Chain itself, or one that leads
	// there.
	Base string
	// Hook is where the kernel calls Base, as nft(8) names it.
	Hook string
	// Device is the interface that Base belongs to, if it belongs to one.
	Device string
	// Rule is its text; empty where the chain's policy decided.
	Rule string
	// Queued reports whether a program in user space was asked, and did not answer in favour.
	Queued bool
	// Limited reports whether only what exceeds a tight limit is dropped.
	Limited bool
	// Spoils reports whether packets go on, untracked or with a source of another program's choice,
	// so that their connection gets no answers.
	Spoils bool
	// Ours reports whether the table is ztbridge's own.
	Ours bool
}

// String names the filter, in the language of its own program.
func (b Block) String() string {
	if b.Rule == "" {
		return fmt.Sprintf("the policy of chain %s in table %s (%s)", b.Chain, b.Table, b.Program)
	}
	return fmt.Sprintf("rule %q in chain %s of table %s (%s)", b.Rule, b.Chain, b.Table, b.Program)
}

// Does says what the filter does to "their packets".
func (b Block) Does() string {
	if b.Spoils {
		return "keeps ztbridge from translating"
	}
	return "drops"
}

// Allow returns a command that accepts packets that enter by the interfaces, and replies. tunnels
// are the interfaces by which they leave, as far as nothing else comes by them.
func (b Block) Allow(ifaces, tunnels []string) string {
	if b.Program == "nft" {
		return b.allowByNft(ifaces, tunnels)
	}
	var commands []string
	add := func(flag, iface, match string) {
		commands = append(commands, fmt.Sprintf("%s -t %s -I %s %s %s%s -j ACCEPT", b.Program,
			b.Table, b.Base, flag, iface, match))
	}
	const answers = " -m conntrack --ctstate ESTABLISHED,RELATED"
	for _, i := range ifaces {
		switch b.Hook {
		case hookPrerouting:
			add("-i", i, "")
		case hookPostrouting:
			add("-o", i, "")
		default:
			add("-i", i, "")
			add("-o", i, answers)
		}
	}
	for _, i := range tunnels {
		switch b.Hook {
		case hookPrerouting:
			add("-i", i, "")
		case hookPostrouting:
			add("-o", i, "")
		}
	}
	return strings.ReplaceAll(strings.Join(commands, " && "), " -t filter", "")
}

// AllowPort returns a command that accepts what is sent to a port of this box.
func (b Block) AllowPort(p Port) string {
	if b.Program == "nft" {
		return fmt.Sprintf("nft 'insert rule %s %s %s dport %d accept'", b.Table, b.Base, p.Proto,
			p.Number)
	}
	command := fmt.Sprintf("%s -t %s -I %s -p %s --dport %d -j ACCEPT", b.Program, b.Table, b.Base,
		p.Proto, p.Number)
	return strings.ReplaceAll(command, " -t filter", "")
}

func (b Block) allowByNft(ifaces, tunnels []string) string {
	both := slices.Concat(ifaces, tunnels)
	var rules []string
	add := func(match string, of []string, more string) {
		rules = append(rules, fmt.Sprintf(`insert rule %s %s %s { "%s" } %saccept`, b.Table, b.Base,
			match, strings.Join(of, `", "`), more))
	}
	switch b.Hook {
	case hookIngress:
		add("iifname", []string{b.Device}, "")
	case hookEgress:
		add("oifname", []string{b.Device}, "")
	case hookPrerouting:
		add("iifname", both, "")
	case hookPostrouting:
		add("oifname", both, "")
	default:
		add("iifname", ifaces, "")
		add("oifname", ifaces, "ct state established,related ")
	}
	return "nft '" + strings.Join(rules, "; ") + "'"
}

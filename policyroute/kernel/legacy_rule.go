package kernel

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ztbridge/policyroute"
)

// legacyTables are the rules of iptables in its legacy variant, by IP version.
type legacyTables map[policyroute.Family][]legacyCounter

func legacyFilters(ctx context.Context) legacyTables {
	out := legacyTables{}
	for _, f := range policyroute.Families {
		out[f] = legacyCounters(ctx, f)
	}
	return out
}

// legacyChains are those that a packet passes, in their order.
var legacyChains = []struct {
	table, chain string
	priority     int
}{
	{"raw", "PREROUTING", -300}, {"mangle", "PREROUTING", -150}, {"mangle", "FORWARD", -150},
	{"filter", "FORWARD", 0}, {"mangle", "POSTROUTING", -150}, {"nat", "PREROUTING", -100},
	{"mangle", "INPUT", -150}, {"filter", "INPUT", 0},
}

// follow returns the filter that drops a packet, if any is known to.
func (t legacyTables) follow(p packet) (Block, bool) {
	rules := t[p.family]
	for _, base := range legacyChains {
		if !p.meetsLegacy(base.table, base.chain) {
			continue
		}
		here := p.at(legacyHooks[base.chain], base.priority)
		verdict, decided, by, _, err := walk(base.chain, 0, func(chain string) ([]step, error) {
			var out []step
			for _, c := range rules {
				if c.table == base.table && c.chain == chain && c.rule != "" {
					out = append(out, here.legacyStep(c))
				}
			}
			return out, nil
		})
		if err != nil || verdict == unclear {
			continue
		}
		if verdict == blocks {
			c, _ := by.rule.(legacyCounter)
			b := c.block(p.family, base.chain)
			b.Spoils = by.do == spoil
			return b, true
		}
		i := slices.IndexFunc(rules, func(c legacyCounter) bool {
			return c.table == base.table && c.chain == base.chain && c.rule == ""
		})
		if !decided && i >= 0 && rules[i].target == "DROP" {
			return rules[i].block(p.family, base.chain), true
		}
	}
	return Block{}, false
}

// legacyStep reads a rule as iptables-save prints it.
func (p packet) legacyStep(c legacyCounter) step {
	s := step{matches: true, known: true, rule: c}
	words := strings.Fields(c.rule)
	for i, not := 2, false; i < len(words); i++ {
		value := ""
		if i+1 < len(words) {
			value = words[i+1]
		}
		sure, holds := true, true
		switch words[i] {
		case "!":
			not = true
			continue
		case "-i":
			sure, holds = p.iif != "", matchesName(value, p.iif)
		case "-o":
			sure, holds = p.oif != "", matchesName(value, p.oif)
		case "-s":
			sure, holds = p.src.IsValid(), within(value, p.src)
		case "-d":
			sure, holds = p.dst.IsValid(), within(value, p.dst)
		case "--ctstate", "--state":
			sure, holds = p.tracked, slices.Contains(strings.Split(value, ","), p.state())
		case "-p":
			sure, holds = p.local(), value == p.port.Proto
		case "--dport":
			sure, holds = p.local(), value == fmt.Sprint(p.port.Number)
		case "--dst-type":
			sure, holds = p.local(), value == "LOCAL"
		case "-m": // the options that follow decide
			sure = slices.Contains([]string{"conntrack", "state", "comment", "addrtype"}, value) ||
				p.local() && value == p.port.Proto
		case "--comment":
			for strings.HasPrefix(value, `"`) && i+2 < len(words) &&
				!strings.HasSuffix(words[i+1], `"`) {
				i++
			}
		case "-j": // what follows are the target's own options
			s.do, s.to = legacyAction(value)
			if !p.local() && (value == "NOTRACK" || value == "CT" &&
				slices.Contains(words, "--notrack")) {
				s.do = spoil
			}
			if p.local() && slices.Contains([]string{"DNAT", "REDIRECT"}, value) {
				s.do = drop // as good as lost to who listens there
			}
			return s
		case "-g":
			s.do, s.to = move, value
			return s
		default:
			sure = false
			i-- // it may have no value
		}
		i++
		if s.is(sure, holds != not); s.known && !s.matches {
			return s
		}
		not = false
	}
	return s
}

// legacyAction returns what a target does. A name in capitals that is none of these changes or
// records packets, and the next rule decides.
func legacyAction(target string) (action, string) {
	switch target {
	case "DROP", "REJECT":
		return drop, ""
	case "ACCEPT", "QUEUE", "NFQUEUE":
		return accept, ""
	case "RETURN":
		return leave, ""
	case "LOG", "NFLOG", "ULOG", "MARK", "CONNMARK", "TCPMSS", "CT", "NOTRACK", "CLASSIFY", "DSCP",
		"TOS", "TTL", "HL", "CHECKSUM", "SET", "TRACE", "AUDIT", "SECMARK", "CONNSECMARK":
		return goOn, ""
	}
	return call, target
}

// matchesName compares names of interfaces as iptables does.
func matchesName(pattern, name string) bool {
	if beginning, ok := strings.CutSuffix(pattern, "+"); ok {
		return strings.HasPrefix(name, beginning)
	}
	return pattern == name
}

func within(prefix string, a netip.Addr) bool {
	p, err := netip.ParsePrefix(prefix)
	if err != nil {
		addr, err := netip.ParseAddr(prefix)
		return err == nil && addr == a
	}
	return p.Contains(a)
}

// state returns the state of the connection, as iptables names it.
func (p packet) state() string {
	if p.reply {
		return "ESTABLISHED"
	}
	return "NEW"
}

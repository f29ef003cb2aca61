package policyroute

import "net/netip"

// State is everything of ours in the kernel, as plain values. Slices are sorted by Compile and by
// the kernel's observer, so that equal states compare equal.
type State struct {
	Links    []Link
	Rules    []Rule
	Routes   []Route
	Sysctls  []Sysctl
	Nft      Ruleset
	IPTables []Chain
	// Unseen are the families without a usable iptables, in an observed state. Their chains are
	// unknown, and Diff leaves them as they are.
	Unseen []Unseen
}

// Unseen is a family whose iptables is not installed or does not work.
type Unseen struct {
	Family Family
	Why    string // empty when it is not installed
}

// Link is the wanted configuration of one of our TUN devices. Its driver makes the device; a link
// that does not exist yet is no error.
type Link struct {
	Name string
	Up   bool
	MTU  int // bytes; 0 leaves it
	// Addrs are set with IFA_F_NOPREFIXROUTE, so that main never gains a route by them.
	Addrs []netip.Prefix
}

// RuleAction is what a rule does with a matching packet.
type RuleAction uint8

// The actions of rules (FR_ACT_*, linux/fib_rules.h).
const (
	Lookup RuleAction = iota
	Goto
	Unreachable
)

// Rule is a policy rule (ip-rule(8)). Every field is part of its identity.
type Rule struct {
	Family   Family
	Priority int
	IIF      string       // exact input interface; empty matches any
	From     netip.Prefix // invalid matches any
	To       netip.Prefix // invalid matches any
	Proto    string       // "udp" or "tcp" (FRA_IP_PROTO); empty matches any
	SrcPort  uint16       // with Proto (FRA_SPORT_RANGE, one port); 0 matches any
	DstPort  uint16       // with Proto (FRA_DPORT_RANGE, one port); 0 matches any
	Mark     uint32       // compared in all 32 bits; 0 means not compared
	Action   RuleAction
	Table    int // of Lookup
	// MinBits skips the table's routes whose prefix is shorter than this (FRA_SUPPRESS_PREFIXLEN,
	// less one); 0 skips none.
	MinBits int
	// Kept marks a rule from RuleKept on, which has ProtocolKept instead of Protocol.
	Kept   bool
	Target int // priority that Goto jumps to, always greater than Priority
}

// RouteType is the type of a route (RTN_*, linux/rtnetlink.h).
type RouteType uint8

// The types of route that we use.
const (
	Unicast RouteType = iota
	UnreachableRoute
)

// Route is a route in one of our tables. (Family, Table, Dst, Metric) is its identity: another
// device or gateway with the same identity is one atomic replace.
type Route struct {
	Family  Family
	Table   int
	Dst     netip.Prefix
	Metric  uint32
	Type    RouteType
	Dev     string     // of Unicast
	Gateway netip.Addr // invalid: the destination is on the link
}

// Sysctl is a wanted kernel parameter. The applier records the value before it first writes, so
// that it can be restored.
type Sysctl struct {
	Key   string // slash form below /proc/sys: "net/ipv4/conf/eth0/forwarding"
	Value string
}

// Chain is a chain of ours in iptables' filter table, and the jump to it. Rules are in the form in
// which `iptables -S` prints them back, without "-A CHAIN". In an observed state Parent is empty
// when the jump is missing, is not the first rule, or is there more than once.
type Chain struct {
	Family Family
	Name   string // ChainForward or ChainInput
	Parent string // the built-in chain whose first rule must jump here
	Rules  []string
}

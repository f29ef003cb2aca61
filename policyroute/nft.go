package policyroute

import "net/netip"

// Ruleset is the content of `table inet ztb`. It is replaced as a whole, in one transaction. An
// empty Ruleset means that the table does not exist.
type Ruleset struct {
	Maps   []VerdictMap
	Meters []Meter
	Chains []NftChain
}

// Meter is a set of sources that the kernel fills and empties. Each has a count or a rate of its
// own.
type Meter struct {
	Name string
	// Family is that of the source addresses. 0 means Ethernet addresses, by which a neighbour is
	// one source whatever IP addresses it uses.
	Family Family
	// Expires reports whether an address is forgotten after a minute of silence. Otherwise it is
	// forgotten when nothing is left to count.
	Expires bool
}

// Over matches while a source is over a limit. Only what opens a connection may be matched so.
type Over struct {
	Meter string // by name, of the rule's family
	// One of these two is set. They are how many connections the source has, or how many it opens
	// in a second, with twice as many in a row.
	Conns, Rate uint32
}

// Hook attaches a base chain (nft(8), "BASE CHAINS"). The policy is always accept: the table speaks
// of our ingresses alone and never of the host's other traffic.
type Hook struct {
	Type     string // "filter" or "nat"
	Hook     string // "prerouting", "input", "forward", "output", "postrouting"
	Priority int
}

// NftChain is a chain; Hook is nil for one that is only jumped to.
type NftChain struct {
	Name  string
	Hook  *Hook
	Rules []NftRule
}

// VerdictMap maps addresses to the chain that decides about them. Keys are disjoint and ascending.
type VerdictMap struct {
	Name     string
	Family   Family
	Elements []VerdictElement
}

// VerdictElement sends the addresses First..Last (inclusive) to Chain, which decides them all.
type VerdictElement struct {
	First, Last netip.Addr
	Chain       string
}

// NftRule is a rule: all that is set must match, then Verdict is executed. The zero value of a
// field does not match on it.
type NftRule struct {
	IIF, OIF string // exact names, or a prefix that ends in '*'
	Family   Family // matches meta nfproto; needed with Verdict DNAT/SNAT of one family
	Src, Dst netip.Prefix
	// NotSrcMAC is a hardware address that an Ethernet frame did not come from; with Verdict drop.
	NotSrcMAC string
	Proto     string   // "tcp", "udp", "icmp", "icmpv6"
	DstPorts  []uint16 // with Proto
	SrcPorts  []uint16 // with Proto, and without DstPorts
	ICMPType  uint8    // with Proto "icmp" and V4, or "icmpv6" and V6; 0 does not match on it
	CTState   []string // "established", "related", "new", "invalid", "untracked"
	// the packet goes in the direction opposite to the connection's first (ct direction reply)
	CTReply bool
	// the packet goes in the connection's first direction (ct direction original)
	CTOriginal bool
	CTFirst    bool  // the packet is the first of its connection
	CTLabel    uint8 // the connection has this label; 0 does not match on it
	// "dnat": the destination is translated, as of what we steer; "snat": the source is
	CTStatus string
	Syn      bool   // TCP SYN without RST: the packet asks for a connection, or agrees to it
	SynMSS   uint16 // TCP SYN with a larger MSS: rewrite it to this, verdict is ignored
	LocalDst bool   // fib daddr type local: the packet is for the box itself
	// NoReturn: an answer to the source would not leave by the interface by which it came
	// (fib saddr . iif oif missing)
	NoReturn bool
	Over     Over   // of Family's meters; its zero value does not match on it
	SetLabel uint8  // gives the connection this label, verdict is ignored
	VMap     string // verdict map of the source address, by name; verdict is ignored
	DstVMap  string // verdict map of the destination address, by name; verdict is ignored
	Verdict  NftVerdict
	Comment  string
}

// NftVerdict ends or continues the evaluation.
type NftVerdict struct {
	// "accept", "drop", "return", "jump", "goto", "masquerade", "snat", "dnat", "redirect"
	Kind  string
	Chain string     // of jump and goto
	Addr  netip.Addr // of snat and dnat
	Port  uint16     // of redirect
	// Random reports whether masquerade and snat choose any port instead of the sender's own.
	Random bool
}

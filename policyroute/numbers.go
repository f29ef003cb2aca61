package policyroute

import "net/netip"

// Every number and name that ztbridge owns in the kernel, each with its reason. Whatever does not
// carry one of these belongs to somebody else and is never changed or removed.
const (
	// Protocol marks our routes (rtm_protocol) and our rules (FRA_PROTOCOL). Values 0-4 belong to
	// the kernel, 16-18 and 186-196 to routing daemons (linux/rtnetlink.h); 90 is used by none of
	// them.
	Protocol = 90

	// RuleFirst and RuleLast bound the priorities of our rules. They lie above local (0), below
	// main (32766), and clear of gluetun (99), NetBird (105), Tailscale (52xx) and OpenWrt's pbr
	// (30000).
	RuleFirst = 15000
	RuleLast  = 15999

	// RuleMembers is the priority of `iif <ingress> lookup TableMembers`.
	RuleMembers = 15000
	// RuleNearer and RuleBehind are the priorities of `to <prefix behind an ingress>`. main decides
	// where it has a route at least as specific, else TableMembers, which refuses while the ingress
	// is gone. Without them such packets would follow main's default route.
	RuleNearer = 15001
	RuleBehind = 15002
	// RulePolicyFirst and RulePolicyLast bound the rules that select a policy table. With many
	// rules, they include the goto targets of their dispatch tree.
	RulePolicyFirst = 15010
	RulePolicyLast  = 15899
	// RuleDeny is the priority of `iif <ingress> unreachable`, layer 3 against a leak.
	RuleDeny = 15900
	// RuleNear and RuleAnswer are the priorities of `from <address of an uplink> ipproto <p> sport
	// <listener>`. The endpoint's answers go where main has a route to that destination, else by
	// the uplink that was asked. They follow RuleDeny, as all that is about the box's own packets.
	RuleNear   = 15920
	RuleAnswer = 15921
	// RuleSource is the priority of `from <tunnel address> lookup <egress table>`. The kernel's own
	// packets from that address, a reset or an error about a client's packet, leave by the tunnel
	// or not at all, also while table inet ztb is missing.
	RuleSource = 15940
	// RuleProbe is the priority of `fwmark <mark> lookup <egress table>`, for the box's own probes
	// and resolver only. It follows RuleDeny: a client's packet never reaches it.
	RuleProbe = 15950

	// RuleKept is the priority of a second `iif <ingress> unreachable`, with ProtocolKept: just
	// above main.
	RuleKept = 32700
	// RuleKeptNearer and RuleKeptBehind are the priorities of `to <prefix behind an ingress>` with
	// ProtocolKept. They look up main where it has a route at least as specific, else they refuse.
	// Without them the box's answers, and its errors with a client's packet in them, would follow
	// main's default route once the filter and the rules above are removed.
	RuleKeptNearer = 32701
	RuleKeptBehind = 32702
	// ProtocolKept marks those rules as the kernel's own (RTPROT_KERNEL). systemd-networkd and
	// others that remove foreign rules leave these alone.
	ProtocolKept = 2

	// TableFirst and TableLast bound our routing tables.
	TableFirst = 23100
	TableLast  = 23199
	// TableMembers holds the prefixes behind our ingresses and no default route. One ingress
	// reaches another without main, where a foreign 0.0.0.0/1 may be.
	TableMembers = 23100
	// TablePolicyFirst and TablePolicyLast hold one table for each distinct ordered list of
	// egresses. The names in the list decide which one.
	TablePolicyFirst = 23101
	TablePolicyLast  = 23159
	// TableEgressFirst and TableEgressLast hold one table for each egress, used by probes only.
	TableEgressFirst = 23160
	TableEgressLast  = 23191
	// TableUplinkFirst and TableUplinkLast hold one table for each further uplink of the box. It
	// has the uplink's default route, and only the endpoint's answers use it. A box has two lines,
	// or three; others than the first eight go by main.
	TableUplinkFirst = 23192
	TableUplinkLast  = 23199
	// TableMain is main's own number (RT_TABLE_MAIN). It is looked up, never written.
	TableMain = 254

	// MarkFirst is the firewall mark of probes through the first egress; the n-th egress has
	// MarkFirst+n. All 32 bits are compared ("ZT" in the upper half), so it cannot be mistaken for
	// Tailscale's or pbr's (bits 16-23), NetBird's (0x1BD__) or Mullvad's (0x6d6f6c65).
	MarkFirst = 0x5a540000

	// QueueMajor is the major number of the queue that shapes a WAN ("ZT"). Queues with other
	// numbers belong to other programs.
	QueueMajor = 0x5a54

	// LabelIngress is the conntrack label of connections with the box itself that came by an
	// ingress. A label survives a new table, and no mark of another program is touched.
	LabelIngress = 90
	// LabelEnteredFirst and LabelEnteredLast bound the labels of connections whose source was found
	// to be behind an ingress, one for each ingress. 127 is the last that a connection can have.
	LabelEnteredFirst = 91
	LabelEnteredLast  = 127

	// ResolverPortFirst is the port of the box's own forwarder for the first egress; the n-th
	// egress has ResolverPortFirst+n. Unassigned by IANA, and below the ports that Linux hands out
	// to clients.
	ResolverPortFirst = 23153

	// MetricLive is the metric of the default route through the chosen egress.
	MetricLive = 100
	// MetricDeny is the metric of `unreachable default`, layer 2 against a leak. It is the worst
	// there is, so that any live route wins and its loss uncovers a refusal.
	MetricDeny = 4294967295

	// MeterSize is how many sources are counted. Beyond it newcomers are not: a limit that cannot
	// be checked refuses nobody.
	MeterSize = 65535
	// SourceRate is how many connections a second one source may open, and twice as many at once.
	// Browsers and file sharing open some hundreds in a burst and tens a second. Without it a scan
	// would have the kernel note each of its packets in the list that counts the source's
	// connections, which it sweeps slowly.
	SourceRate = 512

	// NeighbourSources is how many sources' share one neighbour on an Ethernet or ZeroTier link
	// has, whatever addresses it uses. It may be a router with hosts behind it.
	NeighbourSources = 2

	// sshPort and zeroTierPort are the ports of services that a box has and we do not configure.
	sshPort, zeroTierPort = 22, 9993

	// NeighbourMax is how many neighbours the host keeps, of all links together; Linux's 1,024 are
	// a second's work for a member that uses all addresses of a /16, and then the box cannot reach
	// its own router. An entry takes half a kilobyte, and is kept for seconds unless it is used.
	NeighbourMax = 1 << 17
	// SolicitRate is how many neighbour solicitations a second the box takes from one neighbour,
	// and twice as many in a row. Each can be from an address of its own, which the kernel keeps.
	SolicitRate = 64

	// NftTable is the name of our table in family inet.
	NftTable = "ztb"
	// ChainForward and ChainInput are our chains in iptables' filter table. They are jumped to from
	// position 1, before Docker's DROP and Oracle's REJECT.
	ChainForward = "ZTB-FORWARD"
	ChainInput   = "ZTB-INPUT"

	// TunPrefix begins the name of every TUN device of ours. ZeroTier never binds its sockets to
	// tun* (measured), so that it cannot take our tunnel for one of its paths.
	TunPrefix = "tunztb"

	// ZeroTierPacket is the largest IP packet, in bytes, that fits one ZeroTier packet (measured),
	// though the interface takes 2800. TCP segments kept to it, 1354 bytes of IPv4, gained 34 %
	// upload and cost ZeroTier a third less processor time.
	ZeroTierPacket = 1394

	// StreamPacket is the largest IP packet, in bytes, whose record in an OpenVPN connection over
	// TCP fits one segment. It is 1492 of PPPoE, less 40 of IPv6, 32 of TCP with time stamps, 2 of
	// the record's length and 24 of AEAD. A larger one takes a second segment for its last few
	// bytes. OpenVPN's own mssfix forgets the time stamps, and is 4 bytes off.
	StreamPacket = 1394
)

// Family is an IP version.
type Family uint8

// The two families.
const (
	V4 Family = 4
	V6 Family = 6
)

// Families lists both, in the order in which they are applied.
var Families = [2]Family{V4, V6}

func (f Family) String() string {
	if f == V6 {
		return "ipv6"
	}
	return "ipv4"
}

// Default returns the prefix of length zero.
func (f Family) Default() netip.Prefix {
	if f == V6 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

// FamilyOf returns the family of an address. An IPv4-mapped address counts as IPv6; unmap it first.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return V4
	}
	return V6
}

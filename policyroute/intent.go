package policyroute

import "net/netip"

// Intent holds what the operator and the present situation ask for, in the terms of the model. It
// says who enters where, and who may leave by what. Compile turns it into kernel objects. It holds
// no clock and no handle; two equal intents compile to equal states.
type Intent struct {
	Ingresses []Ingress
	Egresses  []Egress
	Policies  []Policy
	// Peerings are the pairs of ingresses between which members may open connections.
	Peerings  []Peering
	Listeners []Listener
	// Services are the ports of the host's programs, which no client's connection may be given.
	Services []Listener
	// Uplinks are links of the box with a default route in main that main does not follow.
	Uplinks []Uplink
	Inbound []Inbound
	// Stacked are interfaces made on an ingress, and no ingresses themselves. They are a bridge,
	// bond or VRF that it is a port of, and its VLANs and macvlans. Clients' packets enter by them
	// as well, and are refused.
	Stacked []string
	// Edges are links of the host on which it forwards only because we switch that on. What enters
	// there is for an ingress, or an answer.
	Edges []Edge
	// SourceConns limits the connections of one source behind an ingress at a time, so that none
	// fills the host's table. 0 means no limit.
	SourceConns uint32
	// MoreNeighbours are the IP versions of which the host keeps fewer than NeighbourMax
	// neighbours.
	MoreNeighbours []Family
	// ForceForwarding6 reports whether the kernel has net.ipv6.conf.<if>.force_forwarding (Linux
	// 6.17). IPv6 forwarding need not be switched on for all interfaces then.
	ForceForwarding6 bool
	// Links6 are the host's interfaces with IPv6 whose accept_ra must become 2 before forwarding is
	// on for all. Otherwise the kernel purges the default routes that router advertisements gave it
	// (net/ipv6/addrconf.c, addrconf_fixup_forwarding).
	Links6 []string
}

// Edge is a link of the host and an IP version that the host itself does not forward from it.
type Edge struct {
	Iface  string
	Family Family
	// Switches marks a bridge: what enters and leaves by it is traffic between its ports.
	Switches bool
}

// Ingress is an interface by which clients' packets enter.
type Ingress struct {
	Name  string // as in the configuration
	Iface string // exact interface name; it need not exist
	// Present reports whether the interface exists and is up. Rules and filters are installed
	// regardless; routes to its prefixes only when present.
	Present bool
	// Owned marks a TUN device of ours (the endpoint), whose link and addresses we set.
	Owned bool
	// Switches marks a bridge that leads nowhere else. What enters and leaves by it is traffic
	// between its hosts, which netfilter sees where br_netfilter is loaded (Docker does that).
	Switches bool
	Addrs    []netip.Prefix // addresses of an owned device, with the length of the subnet
	MTU      int            // of an owned device; 0 leaves it
	// Carries is the largest IP packet, in bytes, that gets through unfragmented, if that is less
	// than the MTU. TCP is kept to it. 0: no less.
	Carries  int
	Prefixes []netip.Prefix // what is reached behind it
	// Reached are further destinations that main leads to by it. What the box itself sends there
	// stays on it, as what is sent to Prefixes.
	Reached []netip.Prefix
	// Elsewhere are parts of Prefixes that are on another link of the box.
	Elsewhere []netip.Prefix
	// Unrouted are those of Prefixes that main has no route to; of an owned device it never has
	// any.
	Unrouted []netip.Prefix
	// Bound are prefixes that only one hardware address may send from by it. They do not overlap.
	Bound []Binding
}

// Binding ties a prefix to the hardware address of the device that has it.
type Binding struct {
	Prefix netip.Prefix
	MAC    string // six bytes, as net.HardwareAddr prints them: "02:89:e9:2c:ee:e5"
}

// EgressKind tells the three kinds of way out apart.
type EgressKind string

// The kinds of egress.
const (
	EgressOpenVPN EgressKind = "openvpn"
	EgressPeer    EgressKind = "zerotier"
	EgressWAN     EgressKind = "wan"
)

// Egress is one way out. Its position in Intent.Egresses fixes its table and probe mark: keep the
// order of the configuration.
type Egress struct {
	Name    string
	Kind    EgressKind
	Iface   string // exact interface name; empty while unknown (a WAN that is down)
	Present bool   // the interface exists and is up, so that routes through it can be installed
	// NoIPv4 reports whether the egress carries no IPv4. IPv4 of clients assigned to it is refused.
	NoIPv4 bool
	// IPv6 reports whether the egress carries IPv6. If not, IPv6 of clients assigned to it is
	// refused.
	IPv6     bool
	Gateway4 netip.Addr // next hop; the zero Addr on a point-to-point device
	Gateway6 netip.Addr
	Owned    bool           // a TUN device of ours, whose link and addresses we set
	Addrs    []netip.Prefix // addresses of an owned device, set without prefix routes
	// Local are the box's own addresses on a peer's link, with which clients' packets leave.
	Local   []netip.Addr
	MTU     int // in bytes; 0 means unknown (1500 assumed)
	Carries int // as of an Ingress; to the probes' knowledge, too
	// Closed are destinations that its link could reach and clients must not, such as the box's own
	// networks. Its resolvers among them answer queries all the same.
	Closed []netip.Prefix
	Open   []netip.Prefix // parts of Closed that clients reach all the same
	NAT4   NAT
	NAT6   NAT
	DNS    []netip.Addr // resolvers reached through this egress; clients' port 53 is steered there
	// ResolverPort is the port of the box's own forwarder for this egress (DNS over TLS). Unless it
	// is 0, clients' port 53 is redirected there instead of to DNS.
	ResolverPort uint16
}

// NATKind says how the source address is translated on the way out.
type NATKind uint8

// The kinds of translation. Masquerade is the zero value: forgetting to choose must not show a
// member's own address to the Internet.
const (
	Masquerade NATKind = iota
	SNAT               // to NAT.To
	NoNAT              // the member's address is routed to this box (IPv6 with an own prefix)
)

// NAT is a translation of source addresses. Prefix, when valid, limits NoNAT to sources inside it;
// sources outside are masqueraded.
type NAT struct {
	Kind   NATKind
	To     netip.Addr
	Prefix netip.Prefix
}

// Policy is one rule of the operator's policy. The first policy that matches a packet wins; a
// packet that none matches is unreachable.
type Policy struct {
	Name    string         // for people: "policy[2]"
	Ingress []string       // names of ingresses; empty means all of them
	From    []netip.Prefix // sources; empty means any
	To      []netip.Prefix // destinations; empty means any
	Egress  []string       // names, in order of preference; empty means block
	// Use is the egress of the list that carries the policy's traffic now; empty means none of
	// them. The caller chooses, because the choice has a memory (hold-down, a person's own choice).
	// Policies with equal lists share a table and must have equal Use.
	Use string
	// Use6 is the egress that carries its IPv6 now, if that is not Use, as when one IP version is
	// dead in a tunnel. Empty means Use. Policies with equal lists have equal Use6.
	Use6 string
}

// UseOf returns the egress that carries the policy's traffic of a family, empty for none.
func (p Policy) UseOf(f Family) string {
	if f == V6 && p.Use6 != "" {
		return p.Use6
	}
	return p.Use
}

// Peering allows members behind From to open connections to members behind To.
type Peering struct {
	From, To string // names of ingresses
}

// Listener is a socket of this box that the WAN may reach. One of ours must be reached through the
// host's own firewall as well.
type Listener struct {
	Proto string // "tcp" or "udp"
	Port  uint16
	// Answers reports whether what it answers leaves by the uplink that it was asked on.
	Answers bool
}

// Uplink is a line of the box's own, beside the one that main's default route takes.
type Uplink struct {
	Iface    string
	Present  bool
	Addrs    []netip.Addr
	Gateway4 netip.Addr // next hop of its default route; the zero Addr on a point-to-point device
	Gateway6 netip.Addr
	V4, V6   bool // it has a default route of that family
}

// Inbound allows unsolicited connections from an egress to a member.
type Inbound struct {
	Egress string
	To     netip.Prefix
	Proto  string   // "tcp" or "udp"
	Ports  []uint16 // empty means all
}

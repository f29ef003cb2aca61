package decide

import (
	"net/netip"
	"time"

	"ztbridge/bridge/exitaddr"
	"ztbridge/bridge/openvpn/client"
	"ztbridge/bridge/openvpn/endpoint"
	"ztbridge/bridge/pathcheck"
	"ztbridge/bridge/prefixcheck"
	"ztbridge/bridge/probe"
	"ztbridge/bridge/zerotier"
	"ztbridge/policyroute/kernel"
)

// Snapshot is all that is true at one moment and matters for a decision. It is never changed after
// it was taken; Desire reads nothing else but the configuration.
type Snapshot struct {
	Now      time.Time
	Started  time.Time // when the daemon began
	Host     HostState
	ZeroTier zerotier.Status
	Tunnels  map[string]client.Status // by name of egress
	Probes   map[string]probe.Status  // by name of egress
	// Uplink is what answers this box by its own line; it is asked only while no egress answers.
	Uplink probe.Status
	// Peers are the answers of the ZeroTier peers that egresses lead to, by name of egress. A peer
	// is asked only while nothing behind it answers.
	Peers map[string]probe.Status
	// Answered are the egresses by which a member, or anything behind it, ever answered.
	Answered map[string]bool
	// Rings are the egresses by which this box's own probes come back to it.
	Loops map[string]bool
	// Prefixes say whether members' own addresses on a WAN egress lead back to this box.
	Prefixes map[string]prefixcheck.Outcome
	// Listeners are those of the box's own OpenVPN server, Endpoint its state.
	Listeners []Listener
	Endpoint  endpoint.Status
	// Faults keep the endpoint from working as a whole.
	Faults EndpointFaults
	// Clients are the fixed addresses of the endpoint's clients, by name, whether connected or not.
	// One whose addresses are another's now has none.
	Clients map[string][]netip.Addr
	// Revoked are those of them that are barred.
	Revoked []string
	// Behind is what was last known to lie behind the ingresses that are not ours, by interface.
	Connected map[string]ConnectedPrefixes
	// Servers are the resolvers and time servers that the host itself asks.
	Servers []netip.Addr
	// Current is the egress in use, by list of egresses.
	Current map[EgressList]string
	// Current6 is the same of IPv6.
	Current6 map[EgressList]string
	// Preferred is the egress that a person chose; empty if nobody did.
	Preferred string
	// Exits are the addresses that the Internet sees, as far as they are known, by name of egress.
	Exits map[string][]exitaddr.Answer
	// Paths is what the box's own clients found.
	Paths Paths
	// DeadResolvers do not answer, though packets get through their egress.
	DeadResolvers DeadResolvers
	// Stopping asks for a closed state: the daemon is about to end.
	Stopping bool
}

// EndpointFaults are what no listener of the endpoint's can tell; nil where there is none.
type EndpointFaults struct {
	Keys  error // it does not run at all, or the keys cannot be read or renewed any more
	Links error // one-time links cannot be opened
}

// Paths is what the box's own clients found, and what was found out about it.
type Paths struct {
	Results map[string]pathcheck.Result // by key of the PathClient
	// Blocks are the filters that drop the packets of those that failed.
	Blocks map[string]kernel.Block
	// IfaceBlocks are filters that concern one ingress, and that those clients do not meet.
	IfaceBlocks []kernel.IfaceBlock
	// Traced are the clients whose failure was traced, whatever was found.
	Traced map[string]bool
	// Diversions are rules of others that take clients' packets away.
	Diversions []kernel.Diversion
	Err        error // why it cannot be looked; nil if it can
}

// ResolverOf is a resolver, reached through an egress.
type ResolverOf struct {
	Egress string
	Addr   netip.Addr
}

// DeadResolvers is the set of those that do not answer.
type DeadResolvers map[ResolverOf]bool

package decide

import (
	"net"
	"net/netip"
	"time"

	"ztbridge/bridge/exitaddr"
	"ztbridge/bridge/openvpn/client"
	"ztbridge/bridge/openvpn/endpoint"
	"ztbridge/bridge/pathcheck"
	"ztbridge/bridge/prefixcheck"
	"ztbridge/bridge/probe"
	"ztbridge/bridge/zerotier"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// Snapshot is the state at one moment, as far as a decision needs it. It is never changed after it
// was taken; Decide reads nothing else but the configuration.
type Snapshot struct {
	Now      time.Time
	Started  time.Time // when the daemon began
	Host     HostState
	ZeroTier zerotier.Status
	Tunnels  map[string]client.Status // by name of egress
	Probes   map[string]probe.Status  // by name of egress
	// Uplink is what answers this box by its own line; it is asked only while no egress answers.
	Uplink probe.Status
	// FixedRouters are the hardware addresses that somebody has fixed for the host's own routers.
	// They are looked for only while nobody answers by its own line.
	FixedRouters map[policyroute.Family]net.HardwareAddr
	// SignIn is the host that the uplink's network leads web requests to, or portal.OwnPage; empty
	// if it does neither. It is looked for only while no egress answers, too.
	SignIn string
	// Peers are the answers of the ZeroTier peers that egresses lead to, by name of egress. A peer
	// is asked only while nothing behind it answers.
	Peers map[string]probe.Status
	// Answered are the egresses by which a peer, or anything behind it, ever answered.
	Answered map[string]bool
	// Loops are the egresses by which this box's own probes come back to it.
	Loops map[string]bool
	// Prefixes report whether members' public addresses on a WAN egress lead back to this box.
	Prefixes map[string]prefixcheck.Outcome
	// Listeners are those of the box's own OpenVPN server; Endpoint is its state.
	Listeners []Listener
	Endpoint  endpoint.Status
	// Faults are errors that keep the whole endpoint from working.
	Faults EndpointFaults
	// Clients are the fixed addresses of the endpoint's clients, by name, connected or not. A
	// client whose addresses were reissued has none.
	Clients map[string][]netip.Addr
	// Revoked are the names of revoked clients.
	Revoked []string
	// Connected are the last known prefixes behind ingresses that other programs manage, by
	// interface.
	Connected map[string]ConnectedPrefixes
	// Servers are the resolvers and time servers that the host itself asks.
	Servers []netip.Addr
	// Current is the egress in use, by list of egresses.
	Current map[EgressList]string
	// Current6 is the same for IPv6.
	Current6 map[EgressList]string
	// Preferred is the manually selected egress; empty if there is none.
	Preferred string
	// Exits are the addresses that the Internet sees, as far as they are known, by name of egress.
	Exits map[string][]exitaddr.Answer
	// Devices are those that chose an exit, or asked who they are. Their order never changes.
	Devices []DeviceState
	// Claims are members that answer for an address of another device.
	Claims []Claim
	// Paths is the result of the box's own clients.
	Paths Paths
	// DeadResolvers do not answer, though packets get through their egress.
	DeadResolvers DeadResolvers
	// BackResolvers are those of them that answer again, but not for long.
	BackResolvers DeadResolvers
	// Stopping asks for a closed state: the daemon is about to end.
	Stopping bool
}

// EndpointFaults are what keeps the whole endpoint from working, and no listener reports. An error
// is nil if there is none.
type EndpointFaults struct {
	Keys  error // it does not run at all, or the keys cannot be read or renewed any more
	Links error // one-time links cannot be opened
	// AuthorityFrom and AuthorityUntil are when the certificate of the endpoint's authority is
	// valid; zero while that is unknown.
	AuthorityFrom, AuthorityUntil time.Time
}

// Paths is what the box's own clients found, and the cause where it is known.
type Paths struct {
	Results map[string]pathcheck.Result // by key of the PathClient
	// Blocks are the filters that drop the packets of those that failed.
	Blocks map[string]kernel.Block
	// IfaceBlocks are filters of one ingress, which those clients do not meet.
	IfaceBlocks []kernel.IfaceBlock
	// PortBlocks are filters of what is sent to the endpoint's listeners.
	PortBlocks []kernel.PortBlock
	// Traced are the clients whose failure was traced, whatever was found.
	Traced map[string]bool
	// Diversions are rules of other programs that divert clients' packets.
	Diversions []kernel.Diversion
	Err        error // why it cannot be looked; nil if it can
}

// ResolverOf is a resolver that is reached through an egress.
type ResolverOf struct {
	Egress string
	Addr   netip.Addr
}

// DeadResolvers is the set of resolvers that do not answer.
type DeadResolvers map[ResolverOf]bool

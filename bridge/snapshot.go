package bridge

import (
	"net/netip"
	"time"

	"ztbridge/bridge/openvpn"
	"ztbridge/bridge/openvpn/endpoint"
	"ztbridge/bridge/probe"
	"ztbridge/bridge/zerotier"
)

// Snapshot is all that is true at one moment and matters for a decision. It is never changed after it
// was taken; Desire reads nothing else but the configuration.
type Snapshot struct {
	Now      time.Time
	World    World
	ZeroTier zerotier.Status
	Tunnels  map[string]openvpn.TunnelStatus // by name of egress
	Probes   map[string]probe.Status         // by name of egress
	// Listeners are those of the box's own OpenVPN server, Endpoint its state.
	Listeners []Listener
	Endpoint  endpoint.Status
	// Clients are the fixed addresses of the endpoint's clients, by name, whether connected or not.
	Clients map[string][]netip.Addr
	// Current is the egress in use, by list of egresses (listKey).
	Current map[string]string
	// Preferred is the egress that a person chose; empty if nobody did.
	Preferred string
	// Stopping asks for a closed state: the daemon is about to end.
	Stopping bool
}

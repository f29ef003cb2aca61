package zerotier

import (
	"net/netip"
	"slices"
	"time"

	"ztbridge/bridge/health"
)

// ServiceState tells whether the zerotier-one service answers, and if not, why.
type ServiceState string

// The states of the service.
const (
	// ServiceUnknown: not asked yet.
	ServiceUnknown ServiceState = "unknown"
	// ServiceNotInstalled: nothing answers, and its program is not there.
	ServiceNotInstalled ServiceState = "not-installed"
	// ServiceNotRunning: nothing answers on its port, or it has not written one.
	ServiceNotRunning ServiceState = "not-running"
	// ServiceNoToken: its API token cannot be read.
	ServiceNoToken ServiceState = "no-token"
	// ServiceRefused: it does not take the token that is in its home directory.
	ServiceRefused ServiceState = "refused"
	// ServiceBroken: it answers, but not as a zerotier-one does.
	ServiceBroken ServiceState = "broken"
	// ServiceOK: it answers.
	ServiceOK ServiceState = "ok"
)

// NetworkState is the state of the box's membership in one network.
type NetworkState string

// The states of a membership.
const (
	// NetworkUnknown: the service does not answer, or has not been asked yet.
	NetworkUnknown NetworkState = "unknown"
	// NetworkJoining: no configuration has come from the controller yet.
	NetworkJoining NetworkState = "joining"
	// NetworkOK: the service holds a valid configuration. It says so from its cache after a
	// restart, and for 20-28 s after the member was deauthorised: it proves nothing about packets.
	NetworkOK NetworkState = "ok"
	// NetworkDenied: the controller does not let this member in.
	NetworkDenied NetworkState = "access-denied"
	// NetworkNotFound: the controller has no such network.
	NetworkNotFound NetworkState = "not-found"
	// NetworkNoDevice: the service could not make its network device.
	NetworkNoDevice NetworkState = "no-device"
	// NetworkClientTooOld: the controller wants a newer zerotier-one.
	NetworkClientTooOld NetworkState = "client-too-old"
	// NetworkSignIn: the network wants a person to sign in (SSO), which a box cannot do.
	NetworkSignIn NetworkState = "sign-in-required"
)

// Status describes ZeroTier on this box at one moment. It is a copy: a caller may keep and
// change it.
type Status struct {
	Service ServiceStatus
	// NodeAddress is this box's own, to be authorised at the controller; zero until it is known.
	NodeAddress Address
	// Networks holds one entry for each configured network, in the order of the configuration.
	Networks []NetworkStatus
	// Problems belong to no single network, most serious first.
	Problems []health.Problem
	// Reachable reports whether a root or a moon was heard at most contactTimeout ago, or that this
	// node is a root itself. The service's own "online" stays true for minutes after the last root
	// went silent.
	Reachable bool
	// Moon is the id of the moon that this node is, once it works as one; zero otherwise. Others
	// follow it with `zerotier-cli orbit <id> <id>`.
	Moon Address
}

// contactTimeout is the silence of all roots and moons after which Reachable is false. The service
// sends to each of them at least every 14 s, and looks every 5 s whether it must
// (ZT_PATH_HEARTBEAT_PERIOD, ZT_PING_CHECK_INTERVAL): this is two answers lost in a row.
const contactTimeout = 45 * time.Second

// ServiceStatus is the state of the service, with what to do about it.
type ServiceStatus struct {
	State  ServiceState
	Cause  string // what was seen; empty when OK
	Remedy string // what a person can do, in words and commands; empty when OK
	Since  time.Time
}

// NetworkStatus is the state of the box's membership in one network.
type NetworkStatus struct {
	ID    NetworkID
	Name  string // as the controller calls it; empty until known
	State NetworkState
	// Iface is the interface's name. It is known before the interface exists: it follows from the
	// id, or from the service's devicemap.
	Iface string
	// of the interface in this network namespace; 0 while there is none. A restart changes it.
	Index int
	MTU   int // bytes, as the controller says
	// Addrs are the box's addresses in the network with the length of their subnet, as assigned by
	// the controller. With AllowManaged off the service lists them without setting them.
	Addrs []netip.Prefix
	// Routes are all managed routes of the network, default routes included.
	Routes []Route
	// Prefixes are the subnets in which members live: of Addrs, and of on-link managed routes that
	// the service may install. No default route, masked, sorted, without duplicates.
	Prefixes []netip.Prefix
	// Public reports whether the network's controller lets in whoever knows its id.
	Public bool
	// Authorised reports whether the controller let this box in, as far as is known.
	Authorised bool
	// AllowManaged, AllowDefault and AllowDNS are the membership's settings as read back.
	AllowManaged, AllowDefault, AllowDNS bool
	// Waiting reports whether the box is joining and that takes no longer than usual. Cause names
	// what it waits for, and nothing is wrong yet.
	Waiting bool
	Cause   string // what is wrong; empty when nothing is
	Remedy  string
	Since   time.Time // of State
}

// Route is a managed route of a network.
type Route struct {
	Target netip.Prefix
	Via    netip.Addr // the zero Addr: on the link
}

// clone copies all that a reader could change.
func (s Status) clone() Status {
	s.Networks = slices.Clone(s.Networks)
	for i := range s.Networks {
		n := &s.Networks[i]
		n.Addrs, n.Routes, n.Prefixes = slices.Clone(n.Addrs), slices.Clone(n.Routes),
			slices.Clone(n.Prefixes)
	}
	s.Problems = slices.Clone(s.Problems)
	return s
}

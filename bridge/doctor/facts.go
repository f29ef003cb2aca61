package doctor

import (
	"net/netip"
	"time"
)

// Facts are all that a diagnosis is made of.
type Facts struct {
	Now    time.Time
	Host   Host
	Config Config
	// Daemon is what the running daemon says; nil: it does not answer.
	Daemon *Daemon
}

// Host is what can be seen without a daemon.
type Host struct {
	Links    []Link   // without loopback
	Defaults []string // main's default routes, as ip(8) prints them
	// Foreign are rules and routes of others that divert the box's own traffic, as ip(8) prints
	// them.
	Foreign  []string
	Programs map[string]Program // by name; those that were looked for
	TUN      string             // why /dev/net/tun cannot be used; empty when it can
	Lookups  []Lookup           // of the names in the profiles
	// Resolvers are the sockets on port 53 of this box.
	Resolvers []Resolver
	// Latest is the newest time that a file of ours carries: a right clock is past it.
	Latest time.Time
}

// Link is a network interface.
type Link struct {
	Name  string
	Up    bool // and it has a carrier
	Addrs []netip.Prefix
}

// Program is an installed program.
type Program struct {
	Path    string // empty: not installed
	Version string // empty: it does not say
}

// Resolver is a socket that answers queries.
type Resolver struct {
	Addr    netip.Addr // unspecified: every address of the box
	Device  string     // the interface that it is bound to; empty: any
	Program string     // empty: unknown
}

// Lookup is the resolving of a name; Err is empty when it succeeded.
type Lookup struct{ Name, Err string }

// Config is what the configuration says, as far as it can be read.
type Config struct {
	Path     string
	Err      string // why it is refused; empty when it is good
	Hint     string
	Tunnels  bool // it has openvpn egresses
	Networks []Network
}

// Daemon is what the running daemon says of itself.
type Daemon struct {
	Service  Trouble // zerotier-one does not answer
	Unwell   Trouble // it answers, and something about it is wrong
	Networks []Network
	// Ingresses are the interfaces that clients come in by.
	Ingresses []string
	Egresses  []Egress
	Policies  []Policy
	Down      Trouble // this box has no way to the Internet of its own
	Reach     Trouble // nothing on the Internet answers this box
	// Reconcile is why the last pass over the kernel failed; empty if it did not.
	Reconcile string
	IPTables  Trouble
	Problems  []Problem
	Pending   string // commands by which the kernel would become what is planned; empty: it is
}

// Trouble is something wrong; the zero value is none.
type Trouble struct {
	Message, Remedy string
	Command         string // a shell command that is the remedy, where one is
}

// Problem is what status tells and no check of doctor's own finds.
type Problem struct {
	Trouble
	Name  string // of the check
	Fails bool   // clients are cut off; else a warning
}

// Network is the box's membership in a ZeroTier network. Without a daemon only ID and Name are
// known.
type Network struct {
	ID, Name  string
	Iface     string
	Addresses []netip.Addr // of the box in the network
	Status    string       // "ok", …
	Trouble   Trouble
}

// Egress is a way out.
type Egress struct {
	Name, Kind string // the kind is "openvpn", "zerotier" or "wan"
	State      string
	Network    string // of kind zerotier: name of the network that it leads through
	Usable     bool
	Answers    bool          // probes are answered
	RTT        time.Duration // of a probe; 0: none was answered
	Trouble    Trouble
	Prefix     Trouble // with the IPv6 prefix that members are numbered from
}

// Policy is a rule.
type Policy struct {
	Name   string
	Wanted []string // egresses in order; empty: it blocks
	Egress string   // in use; empty: refused
	Off    bool     // it has times, and it is none of them now
	Chosen bool     // by a person
	Why    string
}

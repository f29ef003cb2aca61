package config

import (
	"fmt"
	"net/netip"
	"time"
)

// Config is the effective configuration. It is never changed after Load.
type Config struct {
	File     string // absolute path; relative names in the file are relative to its directory
	ZeroTier ZeroTier
	// Interfaces are the ingresses that exist without ztbridge: a LAN, a WireGuard device.
	Interfaces []Interface
	Egresses   []Egress // in the order of the file
	Policy     []Rule   // first match wins; what none matches is unreachable
	Inbound    []Inbound
	Peering    []Peering
	Endpoint   *Endpoint // nil: no OpenVPN server
	Probe      Probe
	// ExitAddress are the services that return the address that they see, asked through each egress
	// in use, best first. Empty: none is asked.
	ExitAddress []string
	Updates     Updates
	Page        Page
	Metrics     Metrics
	Notify      *Notify // nil: nobody is told
	// History reports whether traffic and changes of states are remembered.
	History bool
}

// Updates says how an image keeps itself current. A machine with the Debian package leaves that to
// apt.
type Updates struct {
	// Channel is UpdatesStable or UpdatesOff; empty: as the image was built.
	Channel string `yaml:"channel,omitempty"`
	Window  Window `yaml:"window"`
}

// Page says where the page is served, and on which port.
type Page struct {
	Serve string `yaml:"serve"` // PageOff, PageDevices or PageLAN
	Port  uint16 `yaml:"port"`
	// HTTPSPort is where the page speaks TLS as well, if Endpoint.HTTPS names a certificate.
	HTTPSPort uint16 `yaml:"https_port"`
}

// On reports whether the page is served.
func (p Page) On() bool { return p.Serve != PageOff }

// OnLAN reports whether it is served on the uplink as well.
func (p Page) OnLAN() bool { return p.Serve == PageLAN }

// Window is a part of each day in UTC, in which an image may restart into a new version. It may
// pass midnight.
type Window struct{ From, Until time.Duration }

// String returns the window as it is written: 03:00-05:00.
func (w Window) String() string {
	clock := func(d time.Duration) string {
		return fmt.Sprintf("%02d:%02d", int(d.Hours()), int(d.Minutes())%60)
	}
	return clock(w.From) + "-" + clock(w.Until)
}

// MarshalText returns the window as it is written.
func (w Window) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// ZeroTier says which networks this box belongs to and how.
type ZeroTier struct {
	Home     string    `yaml:"home"` // home directory of the zerotier-one service
	Networks []Network `yaml:"networks,omitempty"`
	// Orbit are the ids of moons to orbit, 10 hexadecimal digits each.
	Orbit []string `yaml:"orbit,omitempty,flow"`
	Moon  *Moon    `yaml:"moon,omitempty,flow"` // nil: this box is no moon
}

// Used reports whether the configuration asks anything of the service.
func (z ZeroTier) Used() bool { return len(z.Networks) > 0 || len(z.Orbit) > 0 || z.Moon != nil }

// Network is a ZeroTier network and, by its Name, an ingress.
type Network struct {
	ID   string `yaml:"id"`             // 16 hexadecimal digits, lower case
	Name string `yaml:"name,omitempty"` // the ID unless the file gives a name
	// AllowGlobal lets the network put public addresses and routes on this box.
	AllowGlobal bool `yaml:"allow_global"`
}

// Moon makes this box a moon that other members can reach at Endpoints.
type Moon struct {
	Endpoints []netip.AddrPort `yaml:"endpoints"` // public addresses of this box
}

// Interface is an existing network interface as an ingress.
type Interface struct {
	Iface    string         `yaml:"interface"`      // kernel name; it need not exist yet
	Name     string         `yaml:"name,omitempty"` // Iface unless the file gives another
	Prefixes []netip.Prefix `yaml:"prefixes,omitempty,flow"`
	Pos      Position       `yaml:"-"`
}

// Egress is one way out. Exactly one of OpenVPN, Peer and WAN is set.
type Egress struct {
	Name    string
	OpenVPN *OpenVPN
	Peer    *Peer
	WAN     *WAN
	// DNS are the resolvers for port 53 of clients that use this egress. They all use TLS, or none
	// does. Empty: those that the provider pushes; none for wan and zerotier, where clients'
	// queries travel as they are.
	DNS []Resolver
	Pos Position
}

// Kind returns "openvpn", "zerotier" or "wan".
func (e Egress) Kind() string {
	switch {
	case e.OpenVPN != nil:
		return "openvpn"
	case e.Peer != nil:
		return "zerotier"
	default:
		return "wan"
	}
}

// OpenVPN is a tunnel to a provider.
type OpenVPN struct {
	Profile     string         // absolute path; it exists, its content is not looked at here
	Collection  bool           // Profile is a folder or a ZIP archive of profiles
	Pick        []string       // patterns of the profiles to use; empty: all
	Order       string         // written, random, fastest; empty: as the profile says
	Rotate      *time.Duration // time of day, since midnight, for the next server; nil: never
	ProfilePos  Position
	Credentials *Credentials // nil: the provider authenticates by certificate alone
	// LegacyCrypto allows weak certificates and security levels.
	LegacyCrypto bool
	// Ciphers replace the profile's list of ciphers, in their order; empty: the profile's.
	Ciphers []string
}

// Credentials is the content of a credentials file. It has the user name, the password and the
// passphrase of the profile's private key, one a line; a passphrase may also be alone. What is not
// there is empty.
type Credentials struct {
	Path          string // absolute
	Username      Secret
	Password      Secret
	KeyPassphrase Secret
}

// Peer is another ZeroTier member of one of our networks as the next hop.
type Peer struct {
	Network string // Name of one of ZeroTier.Networks
	// Via4 and Via6 are the member's addresses in that network; at least one is valid.
	Via4, Via6 netip.Addr
}

// WAN is this box's own way to the Internet.
type WAN struct {
	// empty: wherever the main default route points, followed through its changes
	Interface string
	SNAT      netip.Addr // invalid: masquerade
	IPv6      WANIPv6
	// Shape is the rate in bits a second at which the interface's output is queued. 0 leaves the
	// queue as it is.
	Shape uint64
}

// IPv6Mode says how clients' IPv6 leaves by the WAN.
type IPv6Mode string

// The ways for IPv6 by the WAN.
const (
	IPv6NAT66  IPv6Mode = "nat66"  // translated to the WAN's own address
	IPv6Prefix IPv6Mode = "prefix" // clients have global addresses out of Prefix
	IPv6Off    IPv6Mode = "off"    // refused at once
)

// WANIPv6 is the IPv6 side of a WAN egress.
type WANIPv6 struct {
	Mode   IPv6Mode     `yaml:"-"`
	Prefix netip.Prefix `yaml:"prefix"` // of IPv6Prefix
	// NDP answers neighbour solicitations on the WAN for used addresses of Prefix. It is needed
	// where the upstream router has the prefix on-link, and harmless where it routes the prefix to
	// this box.
	NDP bool `yaml:"ndp"`
}

// Resolver is a DNS server, reached through its egress.
type Resolver struct {
	Addr netip.AddrPort // port 53, or 853 with TLS, unless the file gives another
	TLS  bool
	// TLSName is the name in the server's certificate; empty with TLS: the address must be in it.
	TLSName string
}

// Rule is one rule of the policy.
type Rule struct {
	Name   string         // "policy[0]"
	From   []Selector     // never empty: an omitted `from` selects every ingress
	To     []netip.Prefix // empty: any destination
	Egress []string       // names in order of preference; empty: blocked
	// Choose are the egresses of which each device may choose one; empty: none may choose. Egress
	// is for devices that have not chosen: the first of Choose unless the file says otherwise.
	Choose []string
	// Failover reports whether the egresses of Egress follow a device's own choice while that is
	// down. If not, the device is blocked then.
	Failover bool
	// At are the times of the week in which the rule is in force; empty: always.
	At  []Span
	Pos Position
}

// ListOf returns the egresses, in order, of a device that chose one of Choose.
func (r Rule) ListOf(chosen string) []string {
	list := []string{chosen}
	if r.Failover {
		for _, name := range r.Egress {
			if name != chosen {
				list = append(list, name)
			}
		}
	}
	return list
}

// SelectorKind says what a Selector selects by.
type SelectorKind uint8

// The kinds of selector.
const (
	ByIngress SelectorKind = iota + 1 // everything that enters by one of Ingress
	ByPrefix                          // sources in Prefix, by whatever ingress they enter
	ByClient                          // the endpoint's client of that name
)

// Selector is one element of `from`.
type Selector struct {
	Kind    SelectorKind
	Text    string       // as written
	Ingress []string     // names of ingresses; `zerotier` is resolved to the names of all networks
	Prefix  netip.Prefix // an address is a prefix of full length
	Client  string
	Pos     Position
}

// Inbound allows connections from an egress to a member that did not ask for them.
type Inbound struct {
	Egress string       `yaml:"egress"`
	To     netip.Prefix `yaml:"to"`
	TCP    Ports        `yaml:"tcp,omitempty,flow"`
	UDP    Ports        `yaml:"udp,omitempty,flow"`
	Pos    Position     `yaml:"-"`
}

// Ports is a set of ports. The zero value is empty.
type Ports struct {
	All  bool
	List []uint16
}

// Peering lets members behind From open connections to what is behind To.
type Peering struct {
	From string // name of an ingress
	// To is the name of an ingress, or empty when Prefix is set. Prefix is a network that this box
	// reaches through its main routing table, such as its LAN.
	To     string
	Prefix netip.Prefix
	Pos    Position
}

// EndpointIngress is the name of the endpoint as an ingress: all of its listeners together.
const EndpointIngress = "endpoint"

// Endpoint is the OpenVPN server for clients whose UDP is blocked.
type Endpoint struct {
	Listen  []Listener `yaml:"listen,flow"`
	Address string     `yaml:"address"` // public name or address that clients connect to
	// Pool4 and Pool6 hold the addresses of all clients; the listeners divide them among
	// themselves.
	Pool4   netip.Prefix   `yaml:"pool"`
	Pool6   netip.Prefix   `yaml:"pool6"`
	Clients ClientDefaults `yaml:"clients"`
	HTTPS   HTTPS          `yaml:"https,omitempty"`
	Pos     Position       `yaml:"-"`
}

// Listener is a public socket of the endpoint.
type Listener struct {
	Proto string // "tcp" or "udp"
	Port  uint16
}

// TunnelMode says how much of a client's traffic enters the endpoint.
type TunnelMode string

// The tunnel modes.
const (
	TunnelFull     TunnelMode = "full"     // everything
	TunnelZeroTier TunnelMode = "zerotier" // only what goes to the ZeroTier networks
)

// ClientDefaults is what clients without settings of their own are told at each connection.
type ClientDefaults struct {
	Tunnel TunnelMode `yaml:"tunnel"`
	DNS    bool       `yaml:"dns"` // the client is told to ask its resolver through the tunnel
}

// HTTPS is the certificate of the one-time import links. At most one of ACME and Certificate is
// set; with neither the server signs its own and shows the fingerprint.
type HTTPS struct {
	Certificate string `yaml:"certificate,omitempty"` // absolute path of a PEM chain
	Key         string `yaml:"key,omitempty"`         // absolute path, mode 0600
	ACME        *ACME  `yaml:"acme,omitempty"`
}

// ACME obtains the certificate from a certificate authority. Setting it agrees to its terms.
type ACME struct {
	Email     string `yaml:"email,omitempty"`
	Directory string `yaml:"directory"` // URL
}

// Probe says how the life of an egress is observed.
type Probe struct {
	// Targets are asked in both families as far as the egress carries them.
	Targets  []netip.Addr  `yaml:"targets,flow"`
	Interval time.Duration `yaml:"interval"` // between probes
	// HoldDown is how long a better egress must have been healthy before traffic goes back to it.
	HoldDown time.Duration `yaml:"hold_down"`
}

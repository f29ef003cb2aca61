package endpoint

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"
)

// Config configures a Server. It must not be changed after New.
type Config struct {
	Listeners []Listener
	// Registry holds the keys and the clients.
	Registry Registry
	// DNS lists the resolvers pushed to clients, which ask them through the tunnel.
	DNS []netip.Addr
	// Networks, when not nil, returns the prefixes that every client gets a route to. A client with
	// NetworkOnly gets no other route, and reconnects when a prefix is added. Networks is called at
	// each connection and several times a second.
	Networks func() []netip.Prefix
	// Web is the loopback address of a web server that gets the connections to TCP listeners that
	// are not OpenVPN. The zero value closes such connections.
	Web netip.AddrPort

	// EnsureDevice makes a listener's persistent TUN device if it is missing and returns the device
	// node to open. It is called before every start of openvpn.
	EnsureDevice func(device string) (devNode string, err error)
	// UID and GID are the user of openvpn. Its only capability is CAP_NET_BIND_SERVICE.
	UID, GID int
	// RuntimeDir is for sockets, pidfiles and the revocation list. Its parents must be searchable
	// by UID.
	RuntimeDir string
	// Program is the openvpn binary; empty means the one that is installed (process.Find).
	Program string

	// Now is the clock; time.Now when nil.
	Now func() time.Time

	// Notify, when not nil, is called after each change of Status except of its byte counters. It
	// must not block.
	Notify func()
	Log    *slog.Logger // slog.Default() when nil
}

// Listener is one public socket with its device and addresses.
type Listener struct {
	Proto  string // "udp" or "tcp"
	Port   uint16
	Device string // name of the TUN device
	Pool   Pool
}

// Name returns the listener's name in configuration and status, such as "tcp/443".
func (l Listener) Name() string { return fmt.Sprintf("%s/%d", l.Proto, l.Port) }

// fileName returns Name without the slash.
func (l Listener) fileName() string { return fmt.Sprintf("%s%d", l.Proto, l.Port) }

// ErrUnknownClient is returned by a Registry for a name that it does not know.
var ErrUnknownClient = errors.New("the client is not known")

// ErrNotReady is returned by a Registry for a client whose rules are not in force yet.
var ErrNotReady = errors.New("the rules of the client are not in force")

// Registry gives the server its keys and clients. Its methods are safe for concurrent use.
type Registry interface {
	// Keys returns the server's keys. It renews those that are due.
	Keys() (Keys, error)
	// Client returns a client by the common name of its certificate, revoked ones too, or
	// ErrUnknownClient. It may block until the client's rules are in force, and return ErrNotReady.
	Client(name string) (Client, error)
	// Clients returns all clients by name, revoked ones too. It does not block.
	Clients() (map[string]Client, error)
	// Stamp returns a text that changes when the results of the other methods may have changed. It
	// is called several times a second.
	Stamp() string
}

// Keys are the server's keys in PEM. They print redacted.
type Keys struct {
	CA, Cert, Key, CryptV2, CRL string
}

// String hides the keys.
func (Keys) String() string { return "[redacted]" }

// GoString hides the keys from %#v.
func (Keys) GoString() string { return "[redacted]" }

// LogValue hides the keys from slog.
func (Keys) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// Client is one client of the registry.
type Client struct {
	Name    string
	Serial  string // of its certificate, in hexadecimal
	Host    uint32 // its number in every pool
	Expires time.Time
	Revoked bool
	// NetworkOnly gives the client routes to Config.Networks only, not a default route.
	NetworkOnly bool
	// NoDNS leaves the client's own resolvers in place.
	NoDNS bool
}

// State is the state of a listener.
type State string

// The states of a listener.
const (
	StateStarting  State = "starting"
	StateListening State = "listening"
	StateFailed    State = "failed" // for Cause; it restarts by itself
)

// Status is an immutable snapshot.
type Status struct {
	Listeners []ListenerStatus // in the order of Config.Listeners
	Clients   []ClientStatus   // connected ones, by name
}

// ListenerStatus is the state of one listener.
type ListenerStatus struct {
	Listener Listener
	State    State
	Cause    string // of StateFailed, in openvpn's or the system's words
	Remedy   string // of StateFailed: what a person can do
	PID      int    // of openvpn; 0 when it does not run
}

// ClientStatus is one connected client.
type ClientStatus struct {
	Name     string
	Listener string         // "tcp/443"
	Remote   netip.AddrPort // where it connects from
	Addrs    []netip.Addr   // inside the tunnel
	Since    time.Time
	Program  string // version and platform, as the client reports them
	// BytesIn and BytesOut count the bytes from and to the client on the public socket in this
	// session. They are some seconds old.
	BytesIn, BytesOut uint64
}

// Package endpoint is the box's own OpenVPN server, for clients whose UDP is blocked: one
// unprivileged openvpn process for each listening socket, on a persistent TUN device, sharing one
// set of keys. Every client is admitted by us, over the management socket, with the addresses and
// routes that are its own.
//
//	client ──udp/1194──▶ openvpn ──▶ tunztb.udp1194 ─┐
//	client ──tcp/443───▶ openvpn ──▶ tunztb.tcp443  ─┴─▶ the kernel's forwarding, and so the policy
//	browser ─tcp/443───▶ openvpn ──port-share──▶ a web server on loopback
//
// Two clients reach each other through the kernel only (there is no client-to-client inside
// openvpn), so that the policy decides about that too.
package endpoint

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"
)

// Config is what a server needs. It must not be changed after New.
type Config struct {
	Listeners []Listener
	// Registry holds the keys and the clients.
	Registry Registry
	// DNS are the resolvers that clients are told to ask through the tunnel.
	DNS []netip.Addr
	// Networks, when not nil, returns the prefixes that every client is given a route to, and a
	// client that wants the ZeroTier network only nothing else. It is asked at each connection, and
	// several times a second: such a client is connected anew when there is one that it has no
	// route to.
	Networks func() []netip.Prefix
	// Web is the loopback address of a web server, which TCP listeners pass everything to that is
	// not OpenVPN; the zero value: such connections are closed.
	Web netip.AddrPort

	// EnsureDevice makes a listener's persistent TUN device if it is missing and returns the device
	// node to open. It is called before every start of openvpn.
	EnsureDevice func(device string) (devNode string, err error)
	// UID and GID are whom openvpn runs as, with no capability but CAP_NET_BIND_SERVICE.
	UID, GID int
	// RuntimeDir is for sockets, pidfiles and the revocation list. Its parents must be searchable
	// by UID.
	RuntimeDir string
	// Program is the openvpn binary; empty means the one on the PATH.
	Program string

	// Now is the clock; time.Now when nil.
	Now func() time.Time

	// Notify, when not nil, is called after each change of Status except of its byte counters. It
	// must not block.
	Notify func()
	Log    *slog.Logger // slog.Default() when nil
}

// Listener is one public socket and what is behind it.
type Listener struct {
	Proto  string // "udp" or "tcp"
	Port   uint16
	Device string // name of the TUN device
	Pool   Pool
}

// Name is how people call a listener: "tcp/443".
func (l Listener) Name() string { return fmt.Sprintf("%s/%d", l.Proto, l.Port) }

// fileName is Name for a file.
func (l Listener) fileName() string { return fmt.Sprintf("%s%d", l.Proto, l.Port) }

// ErrUnknownClient is returned by a Registry for a name that it does not know.
var ErrUnknownClient = errors.New("the client is not known")

// ErrNotReady is returned by a Registry for a client that the host is not prepared for yet.
var ErrNotReady = errors.New("the host is not prepared for the client")

// Registry is the key store as the server sees it. Its methods may be called from several
// goroutines.
type Registry interface {
	// Keys returns the server's keys, renewed if they were due.
	Keys() (Keys, error)
	// Client returns a client by the common name of its certificate, revoked ones too, or
	// ErrUnknownClient. It may wait until the host is prepared for the client, and return
	// ErrNotReady.
	Client(name string) (Client, error)
	// Clients returns all clients by name, revoked ones too. It waits for nothing.
	Clients() (map[string]Client, error)
	// Stamp changes whenever what the other methods return may have changed. It is called several
	// times a second.
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

// Client is what the registry knows of a client.
type Client struct {
	Name    string
	Serial  string // of its certificate, in hexadecimal
	Host    uint32 // its number in every pool
	Expires time.Time
	Revoked bool
	// NetworkOnly: routes to Config.Networks alone, not everything.
	NetworkOnly bool
	// NoDNS: the client's own resolvers stay.
	NoDNS bool
}

// State is where a listener stands.
type State string

// The states of a listener.
const (
	StateStarting  State = "starting"
	StateListening State = "listening"
	StateFailed    State = "failed" // Cause says why; it is tried again by itself
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
	Since    time.Time
	Cause    string // of StateFailed, in openvpn's or the system's words
	PID      int    // of openvpn; 0 when it does not run
}

// ClientStatus is one connected client.
type ClientStatus struct {
	Name     string
	Listener string         // "tcp/443"
	Remote   netip.AddrPort // where it connects from
	Addrs    []netip.Addr   // inside the tunnel
	Since    time.Time
	Program  string // what it says of itself: version and platform
	// BytesIn and BytesOut count this session's packets as they were sent over the public socket,
	// from and to the client; they are some seconds old.
	BytesIn, BytesOut uint64
}

package client

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"ztbridge/bridge/openvpn/profile"
)

// State is where a tunnel stands. Packets may flow in StateUp only; in every other state the caller
// refuses them or sends them by another egress.
//
//	           ┌────────────────────────── Restart, openvpn gone ──────────────────────────┐
//	           ▼                                                                           │
//	stopped ─▶ resolving ─▶ connecting ─▶ up ─▶ reconnecting (Reconnect, silence, reset) ──┤
//	           ▲   │            │                     │                                    │
//	           │   ▼            ▼                     ▼                                    │
//	           │  dns-failed   backoff (no answer)   push-refused                          │
//	           │   │           auth-failed            │                                    │
//	           │   │           tls-failed             │                                    │
//	           │   │           cert-expired           │                                    │
//	           │   │           config-error           │                                    │
//	           └───┴──── NextRetry ─┴─────────────────┴────────────────────────────────────┘
//
// Every failure state is left by itself at Status.NextRetry; none is final. What differs is
// the wait: moments for a server that does not answer, many minutes for refused credentials.
type State string

// The states of a tunnel.
const (
	StateStopped   State = "stopped"
	StateResolving State = "resolving" // looking up the server's name
	// first packet sent, until the server's settings are applied
	StateConnecting State = "connecting"
	StateUp         State = "up" // Session is valid
	// was up, is looking for the server again; Session is the old one
	StateReconnecting State = "reconnecting"
	StateBackoff      State = "backoff"     // no answer, or openvpn ended; next try at NextRetry
	StateAuthFailed   State = "auth-failed" // the server rejected the user name or password
	// wrong CA, wrong name, wrong tls-auth key, no common cipher
	StateTLSFailed State = "tls-failed"
	// no server name could be resolved, and no earlier answer is known
	StateDNSFailed   State = "dns-failed"
	StateCertExpired State = "cert-expired" // ours or the server's; or this box's clock is wrong
	StateConfigError State = "config-error" // openvpn refuses to run with what it was given
	StatePushRefused State = "push-refused" // the server's settings would harm this box
)

// Config is what a tunnel needs. It is not changed by the tunnel and must not be changed by
// the caller afterwards.
type Config struct {
	// Name is the egress's name, for logs and file names ([A-Za-z0-9_-], at most 32 characters).
	Name    string
	Profile *profile.Profile
	// Credentials may be nil when the profile asks for none.
	Credentials *profile.Credentials

	// Order is the order in which servers are tried. Rotate, when not nil, is the time of day,
	// since midnight, at which the next one takes over.
	Order  Order
	Rotate *time.Duration

	// PreferChaCha20 offers ChaCha20-Poly1305 alone at first, and all ciphers to a server that
	// refuses it. AES is slow on processors without instructions for it (SlowAES).
	PreferChaCha20 bool

	// Device is the name of the persistent TUN device. EnsureDevice is called before every start of
	// openvpn; it makes the device if it is missing and returns the device node to open
	// ("/dev/net/tun", or a node of the unprivileged user's own).
	Device       string
	EnsureDevice func() (devNode string, err error)

	// DeviceMoves reports whether the caller moves the device to another namespace once the tunnel
	// is up. Its removal is then not noticed.
	DeviceMoves bool

	// UID and GID are whom openvpn runs as, without capabilities.
	UID, GID int
	// RuntimeDir is the directory below which a directory of this tunnel's name is made. It holds
	// the socket, the device node and the pidfile. Its parents must be searchable by UID. StateDir
	// is for the last good DNS answers.
	RuntimeDir string
	StateDir   string

	// Forbidden, when not nil, returns the prefixes that a server must not assign. They are this
	// host's own subnets, addresses and gateways, without those of Device.
	Forbidden func() []netip.Prefix
	// Resolver is net.DefaultResolver when nil.
	Resolver Resolver
	// Program is the openvpn binary; empty means the one that is installed (process.Find).
	Program string

	// Notify, when not nil, is called after each change of Status except of its byte counters. It
	// must not block.
	Notify func()
	// Log is slog.Default() when nil.
	Log *slog.Logger
}

// Resolver is the part of net.Resolver that a tunnel uses.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Status is an immutable snapshot.
type Status struct {
	State State
	Since time.Time
	// Cause says in words what led to State; Remedy what a person can do about it. Either may be
	// empty.
	Cause  string
	Remedy string
	// Generation counts how often the tunnel came up; a change while up means that the session is
	// another one.
	Generation uint64
	// Failures counts the attempts that failed since the tunnel was last up.
	Failures  int
	NextRetry time.Time // zero unless waiting
	// Remote is the server that is connected or being tried.
	Remote profile.Remote
	// Server is its address; the zero value where only its proxy knows it. Proxy is the address of
	// that proxy; the zero value where there is none.
	Server, Proxy netip.AddrPort
	// Servers are the names of the profiles of a collection; none for a single profile.
	Servers []string
	// Session is what the server assigned, checked. It is nil before the tunnel was first up and in
	// StatePushRefused; in other states than StateUp it is the last one.
	Session           *Session
	BytesIn, BytesOut uint64 // of this process of openvpn, every two seconds
	PID               int    // 0 when openvpn does not run
	// Warnings are lasting remarks about this tunnel: legacy ciphers, certificates about to expire,
	// settings of the server that were corrected.
	Warnings []string
}

// Place returns the server's transport and address, and its proxy if there is one. It is empty
// before a server was tried.
func (s Status) Place() string {
	var out string
	switch {
	case s.Server.IsValid():
		out = fmt.Sprintf("%s %s", s.Remote.Proto, s.Server)
	case s.Proxy.IsValid():
		out = fmt.Sprintf("%s %s", s.Remote.Proto,
			net.JoinHostPort(s.Remote.Host, strconv.Itoa(int(s.Remote.Port))))
	default:
		return ""
	}
	if s.Proxy.IsValid() {
		out += " by the proxy " + s.Proxy.String()
	}
	return out
}

// Session is what a server assigned, after validation. It is immutable.
type Session struct {
	Addrs    []netip.Prefix // at most one of each family
	Gateway4 netip.Addr     // the server's end, when it says; zero otherwise
	Gateway6 netip.Addr
	MTU      int // bytes, of the TUN device
	DNS      []netip.Addr
}

// IPv4 reports whether the session carries IPv4.
func (s *Session) IPv4() bool {
	return slices.ContainsFunc(s.Addrs, func(a netip.Prefix) bool { return a.Addr().Is4() })
}

// IPv6 reports whether the session carries IPv6.
func (s *Session) IPv6() bool {
	return slices.ContainsFunc(s.Addrs, func(a netip.Prefix) bool { return a.Addr().Is6() })
}

// LogLine is one line of openvpn's log. Lines that repeat in a row are counted, not kept.
type LogLine struct {
	Time    time.Time
	Flags   string // of the management protocol: I, F, N, W, D
	Text    string
	Repeats int // how often it came again in a row
}

package profile

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Profile is a provider's profile after parsing. It holds only what is on the allow-list, in a
// canonical form: no file is named by it and no program is run by it. It is immutable.
type Profile struct {
	Name    string
	Remotes []Remote // without duplicates, in the order of the profile; never empty
	// RandomOrder reports whether the remotes are to be tried in random order.
	RandomOrder bool
	// RandomNames reports whether the remotes' names are asked for below a label of our own making:
	// DNS has a wildcard there.
	RandomNames bool
	// NeedsCredentials reports whether the server wants a user name and a password.
	NeedsCredentials bool
	// NeedsPassphrase reports whether the private key is encrypted.
	NeedsPassphrase bool
	// Certificates are those of the inline blocks that could be read.
	Certificates []Certificate

	// PointToPoint reports whether the profile is one end of a tunnel with addresses of its own; it
	// pulls nothing from the other end.
	PointToPoint bool

	embedded *Credentials // in the profile itself
	// proxyLogins are those of proxies, by their place; of the zero value: of all others.
	proxyLogins map[Proxy]*Credentials
	members     map[string]*Profile // of a collection, by name; nil for a single profile
	settings
	connections []settings // of <connection> blocks, in their order
	chacha20    bool       // its list of ciphers has ChaCha20-Poly1305, or there is none
	legacy      bool       // needs OpenSSL's legacy provider
}

// FileReader reads a file that a profile refers to by a relative name, for inlining. DirFiles makes
// one that is confined to a directory.
type FileReader func(name string) ([]byte, error)

// Proto is the transport of a remote.
type Proto string

// The transports.
const (
	UDP Proto = "udp"
	TCP Proto = "tcp"
)

// Remote is one server of a profile.
type Remote struct {
	Host   string // a name or an address
	Port   uint16
	Proto  Proto
	Family int // 4 or 6 when the profile insists on one, else 0
	// Connection is the number of its <connection> block, from 1; 0 when it stands in none.
	Connection int
	Proxy      Proxy  // the zero value: the server is reached directly
	Member     string // name of its profile in a collection; empty for a single profile
}

func (r Remote) String() string {
	if r.Host == "" {
		return ""
	}
	return fmt.Sprintf("%s port %d/%s", r.Host, r.Port, r.Proto)
}

// keyword is the protocol as OpenVPN writes and reports it.
func (r Remote) keyword() string {
	s := string(r.Proto)
	if r.Family != 0 {
		s += fmt.Sprint(r.Family)
	}
	if r.Proto == TCP {
		s += "-client"
	}
	return s
}

// Error is a profile that cannot be used, with its place.
type Error struct {
	Name      string
	Line      int // from 1; 0 when it is about the whole
	Directive string
	Reason    string
}

func (e *Error) Error() string {
	s := e.Name
	if e.Line > 0 {
		s += fmt.Sprintf(":%d", e.Line)
	}
	if e.Directive != "" {
		s += ": " + e.Directive
	}
	return s + ": " + e.Reason
}

// Certificate is what is worth knowing of an inline certificate.
type Certificate struct {
	Block     string // "ca", "cert", "cert-chain" (behind the first of cert) or "extra-certs"
	Subject   string
	NotBefore time.Time
	NotAfter  time.Time
}

// Expired returns why no connection can succeed at the given time because of certificates in the
// profile: our own is not valid, or none of the authorities is. It is empty when one can.
func (p *Profile) Expired(now time.Time) string {
	if p.members != nil {
		return p.expired(now)
	}
	authority := ""
	usable := false
	for _, c := range p.Certificates {
		reason := c.invalidAt(now)
		switch {
		case c.Block == "cert" && reason != "":
			return "our certificate " + reason
		case c.Block == "ca" && reason != "":
			authority = "the provider's certificate authority " + reason
		case c.Block == "ca":
			usable = true
		}
	}
	if usable {
		return ""
	}
	return authority
}

func (c Certificate) invalidAt(now time.Time) string {
	switch {
	case now.After(c.NotAfter):
		return fmt.Sprintf("(%s) expired on %s", c.Subject, c.NotAfter.UTC().Format(time.DateOnly))
	case now.Before(c.NotBefore):
		return fmt.Sprintf("(%s) is not valid before %s", c.Subject,
			c.NotBefore.UTC().Format(time.DateOnly))
	}
	return ""
}

// Question returns the name to ask DNS for where a remote's host is a name. With RandomNames it is
// another each time.
func (p *Profile) Question(host string) string {
	for _, r := range p.Remotes {
		if m := p.For(r); m != p && r.Host == host && m.RandomNames {
			return m.Question(host)
		}
	}
	if p.RandomNames {
		return fmt.Sprintf("%012x.%s", rand.Uint64N(1<<48), host) // six bytes, as OpenVPN does
	}
	return host
}

// Legacy reports whether openvpn needs OpenSSL's legacy provider.
func (p *Profile) Legacy() bool { return p.legacy }

// OffersChaCha20 reports whether the profile's list of ciphers has ChaCha20-Poly1305, or it has no
// list and the person gave none.
func (p *Profile) OffersChaCha20() bool { return p.chacha20 }

// uses reports whether any remote has the transport.
func (p *Profile) uses(proto Proto) bool {
	return slices.ContainsFunc(p.Remotes, func(r Remote) bool { return r.Proto == proto })
}

package profile

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// optionOrder is the order of options in the canonical text. Only what is here can ever be written.
var optionOrder = []string{
	"lport", "ifconfig", "ifconfig-ipv6", "topology", "pull-filter",
	"float", "explicit-exit-notify", "push-peer-info", "setenv",
	"http-proxy", "http-proxy-option", "socks-proxy",
	"data-ciphers", "data-ciphers-fallback", "auth", "no-replay", "compress", "comp-lzo",
	"tls-version-min", "tls-version-max", "tls-cipher", "tls-ciphersuites", "tls-groups",
	"tls-cert-profile",
	"remote-cert-tls", "ns-cert-type", "remote-cert-ku", "remote-cert-eku", "verify-x509-name",
	"x509-username-field", "verify-hash",
	"key-direction", "tun-mtu", "tun-mtu-max", "tun-mtu-extra", "link-mtu", "max-packet-size",
	"mssfix", "fragment",
	"reneg-sec", "reneg-bytes", "reneg-pkts", "tran-window", "replay-window", "dhcp-option",
}

// blockOrder is the order of inline blocks in the canonical text.
var blockOrder = []string{
	"ca", "cert", "key", "extra-certs", "pkcs12", "peer-fingerprint", "verify-hash", "crl-verify",
	"tls-auth", "tls-crypt", "tls-crypt-v2",
}

// Text returns the profile in canonical form. Parsing it yields an equal profile with the same
// text, unless it is a collection. It holds the private key.
func (p *Profile) Text() string {
	if p.members != nil {
		var b strings.Builder
		for _, name := range p.Members() {
			b.WriteString("# " + name + "\n" + p.members[name].Text())
		}
		return b.String()
	}
	servers := make([]string, 0, len(p.Remotes)+2)
	for _, r := range p.Remotes {
		line := fmt.Sprintf("remote %s %d %s", r.Host, r.Port, r.keyword())
		if r.Connection > 0 {
			lines := append([]string{line}, p.of(r).optionLines()...)
			line = "<connection>\n" + strings.Join(lines, "\n") + "\n" + p.of(r).blockText() +
				"</connection>"
		}
		servers = append(servers, line)
	}
	if p.RandomOrder {
		servers = append(servers, "remote-random")
	}
	if p.RandomNames {
		servers = append(servers, "remote-random-hostname")
	}
	return p.text(servers, p.settings)
}

// Attempt is one server as it is tried.
type Attempt struct {
	Remote Remote
	Addr   netip.Addr // of the server; the zero value: the proxy is told its name
	Proxy  netip.Addr // of its proxy, where it has one
	// Accepted are the beginnings of pushed options that may be taken; all others are ignored.
	Accepted []string
	// ChaCha20: offer ChaCha20-Poly1305 alone.
	ChaCha20 bool
}

// TextFor is Text with one server in the place of all, by its address: which one is tried, and what
// its name resolves to, is the caller's to decide. Asking us by management instead
// (management-query-remote) costs openvpn up to a second for each server that it asks about
// (management_event_loop_n_seconds).
func (p *Profile) TextFor(a Attempt) string {
	if m := p.For(a.Remote); m != p {
		return m.TextFor(a)
	}
	all := p.settings.part(false)
	own := p.of(a.Remote).proxyAt(a.Proxy)
	maps.Copy(all.options, own.options)
	maps.Copy(all.blocks, own.blocks)
	if a.ChaCha20 {
		all.options["data-ciphers"] = [][]string{{ChaCha20}}
		delete(all.options, "data-ciphers-fallback")
	}
	all.options["pull-filter"] = admitted(all.options["pull-filter"], a.Accepted)
	host := a.Addr.String()
	if !a.Addr.IsValid() {
		host = a.Remote.asNamed(own.has("http-proxy"))
	}
	return p.text([]string{fmt.Sprintf("remote %s %d %s", host, a.Remote.Port,
		a.Remote.keyword())}, all)
}

// of returns the settings that are a server's own.
func (p *Profile) of(r Remote) settings {
	own := p.settings
	if r.Connection > 0 {
		own = p.connections[r.Connection-1]
	}
	return own.part(true).suited(r.Proto)
}

// ControlKey is what wraps a server's control channel. The zero value says that nothing does.
type ControlKey struct {
	Kind      string // "tls-auth", "tls-crypt" or "tls-crypt-v2"
	Text      string // the key's block: a secret
	Direction string // of tls-auth: "0", "1", or "" for both
	Digest    string // of tls-auth, as openvpn names it
}

// ControlKey returns what wraps the control channel of one of the profile's servers.
func (p *Profile) ControlKey(r Remote) ControlKey {
	if m := p.For(r); m != p {
		return m.ControlKey(r)
	}
	own := p.of(r)
	for _, kind := range controlKeys {
		if own.blocks[kind] == "" {
			continue
		}
		return ControlKey{Kind: kind, Text: own.blocks[kind],
			Direction: own.first("key-direction"),
			Digest:    cmp.Or(p.first("auth"), "SHA1")}
	}
	return ControlKey{}
}

// normalise gives each server settings of its own where servers differ, and none where they do not.
// A profile that is written and read again is then the same.
func (p *Profile) normalise() {
	differ := slices.ContainsFunc(p.Remotes, func(r Remote) bool {
		return !p.of(r).equal(p.of(p.Remotes[0]))
	})
	if !differ {
		all := p.part(false)
		maps.Copy(all.options, p.of(p.Remotes[0]).options)
		maps.Copy(all.blocks, p.of(p.Remotes[0]).blocks)
		p.settings, p.connections = all, nil
		seen := map[Remote]bool{}
		p.Remotes = slices.DeleteFunc(p.Remotes, func(r Remote) bool {
			r.Connection = 0
			again := seen[r]
			seen[r] = true
			return again
		})
		for i := range p.Remotes {
			p.Remotes[i].Connection = 0
		}
		return
	}
	own := make([]settings, len(p.Remotes))
	for i, r := range p.Remotes {
		own[i] = p.of(r)
		p.Remotes[i].Connection = i + 1
	}
	p.connections, p.settings = own, p.part(false)
}

func (p *Profile) text(servers []string, s settings) string {
	lines := []string{"client"}
	if p.PointToPoint {
		lines[0] = "tls-client"
	}
	if s.options["lport"] == nil {
		lines = append(lines, "nobind")
	}
	lines = append(lines, servers...)
	if p.NeedsCredentials {
		lines = append(lines, "auth-user-pass")
	}
	// We never send compressed packets, which would leak what they hold (VORACLE), and accept them:
	// a server may push compression that the profile does not name. OpenVPN decides by this option
	// how to read those that follow it.
	lines = append(lines, "allow-compression asym")
	lines = append(lines, s.optionLines()...)
	return strings.Join(lines, "\n") + "\n" + s.blockText()
}

func (s settings) optionLines() []string {
	var lines []string
	for _, name := range optionOrder {
		for _, args := range s.options[name] {
			line := name
			for _, a := range args {
				line += " " + quoteWord(a)
			}
			lines = append(lines, line)
		}
	}
	return lines
}

func (s settings) blockText() string {
	var b strings.Builder
	for _, name := range blockOrder {
		if body := s.blocks[name]; body != "" {
			fmt.Fprintf(&b, "<%s>\n%s</%s>\n", name, body, name)
		}
	}
	return b.String()
}

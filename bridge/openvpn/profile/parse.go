package profile

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxProfile bounds a profile, in bytes; real ones are below 50 kB.
const maxProfile = 1 << 20

// parser collects what a profile says. Values that depend on the whole (the default protocol) are
// resolved in finish.
type parser struct {
	profile *Profile
	report  Report
	files   FileReader

	remotes  []rawRemote
	proto    rawProto
	port     uint16
	ciphers  []string // data-ciphers, known ones
	cipher   string   // cipher or data-ciphers-fallback
	pushInfo int      // line of push-peer-info
	ignored  []string // names of ignore-unknown-option
}

type rawProto struct {
	proto  Proto
	family int
}

type rawRemote struct {
	line  int
	host  string
	port  uint16
	proto rawProto
}

// Parse reads a provider's profile against the allow-list in rules. What is not on it is
// dropped and reported; what cannot be done without (a proxy, a static key, a file that cannot be
// read) is an error of type *Error. files, which may be nil, reads what the profile refers
// to by relative names. name is used in errors.
func Parse(data []byte, name string, files FileReader) (*Profile, Report, error) {
	if len(data) > maxProfile {
		return nil, Report{}, &Error{Name: name,
			Reason: fmt.Sprintf("it is larger than %d bytes", maxProfile)}
	}
	directives, err := lex(data, name)
	if err != nil {
		return nil, Report{}, err
	}
	p := &parser{
		files: files,
		proto: rawProto{proto: UDP},
		port:  1194,
		profile: &Profile{
			Name:    name,
			options: map[string][][]string{},
			blocks:  map[string]string{},
		},
	}
	for _, d := range directives {
		if reason := p.take(d); reason != nil {
			return nil, p.report, &Error{Name: name, Line: d.line, Directive: d.name,
				Reason: reason.Error()}
		}
	}
	if err := p.finish(); err != nil {
		return nil, p.report, &Error{Name: name, Reason: err.Error()}
	}
	return p.profile, p.report, nil
}

// take handles one directive by its rule.
func (p *parser) take(d directive) error {
	if bad := unprintable(d); bad != "" {
		return fmt.Errorf("%s holds a control character or is not UTF-8", bad)
	}
	r, known := rules[d.name]
	if !known {
		severity := Warning
		if slices.Contains(p.ignored, d.name) {
			severity = Info
		}
		p.find(d, severity, "not a directive that is known to be harmless; dropped")
		return nil
	}
	if d.inline && !r.block {
		p.find(d, Warning, "cannot be given as a block; dropped")
		return nil
	}
	return r.take(p, d)
}

func (p *parser) find(d directive, s Severity, reason string, args ...any) {
	p.report.Findings = append(p.report.Findings,
		Finding{Line: d.line, Directive: d.name, Severity: s, Reason: fmt.Sprintf(reason, args...)})
}

// set keeps an option with its arguments; the last one of a name counts, as in OpenVPN.
func (p *parser) set(name string, args ...string) { p.profile.options[name] = [][]string{args} }

// add keeps an option beside earlier ones of the same name.
func (p *parser) add(name string, args ...string) {
	have := p.profile.options[name]
	if !slices.ContainsFunc(have, func(a []string) bool { return slices.Equal(a, args) }) {
		p.profile.options[name] = append(have, args)
	}
}

// unprintable returns the word that must not be written to a configuration, or nothing.
func unprintable(d directive) string {
	if d.name == "" {
		return "the name"
	}
	for _, w := range append([]string{d.name}, d.args...) {
		if !utf8.ValidString(w) || strings.ContainsFunc(w,
			func(r rune) bool { return !unicode.IsPrint(r) }) {
			return fmt.Sprintf("%q", w)
		}
	}
	return ""
}

// finish resolves what depends on the whole profile and checks that it can connect at all.
func (p *parser) finish() error {
	if err := p.finishRemotes(); err != nil {
		return err
	}
	p.finishCiphers()
	p.finishPeerInfo()
	has := func(names ...string) bool {
		return slices.ContainsFunc(names, func(n string) bool {
			return p.profile.blocks[n] != "" || p.profile.options[n] != nil
		})
	}
	switch {
	case has("pkcs12") && has("cert", "key"):
		return fmt.Errorf("it has both a pkcs12 bundle and a cert or key")
	case has("cert") != has("key"):
		return fmt.Errorf("it has only one of cert and key; both are needed")
	case !has("ca", "pkcs12", "peer-fingerprint"):
		return fmt.Errorf("it has no ca: put the provider's CA certificate between <ca> and </ca>")
	case has("verify-hash") && has("peer-fingerprint"):
		return fmt.Errorf("it has both verify-hash and peer-fingerprint")
	case !has("cert", "pkcs12") && !p.profile.NeedsCredentials:
		return fmt.Errorf(
			"it has neither a client certificate nor auth-user-pass: no server would let it in")
	}
	controls := 0
	for _, n := range []string{"tls-auth", "tls-crypt", "tls-crypt-v2"} {
		if has(n) {
			controls++
		}
	}
	if controls > 1 {
		return fmt.Errorf("it has more than one of tls-auth, tls-crypt and tls-crypt-v2")
	}
	if !has("remote-cert-tls", "remote-cert-eku", "verify-x509-name", "ns-cert-type",
		"peer-fingerprint") {
		p.find(directive{name: "remote-cert-tls"}, Warning,
			"missing: any certificate of the provider's CA, another customer's too, can pose as "+
				"the server")
	}
	if p.profile.uses(TCP) && has("fragment") {
		p.find(directive{name: "fragment"}, Warning,
			"works over UDP only, and this profile has TCP servers; dropped")
		delete(p.profile.options, "fragment")
	}
	return p.checkLines()
}

func (p *parser) finishRemotes() error {
	seen := map[Remote]bool{}
	for _, raw := range p.remotes {
		r := Remote{Host: raw.host, Port: raw.port, Proto: raw.proto.proto,
			Family: raw.proto.family}
		if r.Port == 0 {
			r.Port = p.port
		}
		if r.Proto == "" {
			r.Proto, r.Family = p.proto.proto, p.proto.family
		}
		if !seen[r] {
			seen[r] = true
			p.profile.Remotes = append(p.profile.Remotes, r)
		}
	}
	if len(p.profile.Remotes) == 0 {
		return fmt.Errorf("it names no server: a remote line is needed")
	}
	return nil
}

// checkLines refuses a profile whose canonical text OpenVPN could not read.
func (p *parser) checkLines() error {
	for _, line := range p.profile.optionLines(p.profile.servers()) {
		if len(line) > maxLine {
			return fmt.Errorf("%s: the line is longer than the %d characters that OpenVPN reads",
				strings.Fields(line)[0], maxLine)
		}
	}
	return nil
}

// Text returns the profile in canonical form: what openvpn is given. Parsing it yields an equal
// profile with the same text. It holds the private key.
func (p *Profile) Text() string { return p.text(p.servers()) }

// servers returns the lines that say where to connect to.
func (p *Profile) servers() []string {
	lines := make([]string, 0, len(p.Remotes)+2)
	for _, r := range p.Remotes {
		lines = append(lines, fmt.Sprintf("remote %s %d %s", r.Host, r.Port, r.keyword()))
	}
	if p.RandomOrder {
		lines = append(lines, "remote-random")
	}
	if p.RandomNames {
		lines = append(lines, "remote-random-hostname")
	}
	return lines
}

// TextFor is Text with one server in the place of all, by its address: which one is tried, and what
// its name resolves to, is the caller's to decide. Asking us by management instead
// (management-query-remote) costs openvpn up to a second for each server that it asks about
// (management_event_loop_n_seconds).
func (p *Profile) TextFor(addr netip.Addr, r Remote) string {
	return p.text([]string{fmt.Sprintf("remote %s %d %s", addr, r.Port, r.keyword())})
}

func (p *Profile) text(servers []string) string {
	var b strings.Builder
	for _, line := range p.optionLines(servers) {
		b.WriteString(line)
		b.WriteByte('\n')
	}
	for _, name := range blockOrder {
		if body := p.blocks[name]; body != "" {
			fmt.Fprintf(&b, "<%s>\n%s</%s>\n", name, body, name)
		}
	}
	return b.String()
}

// optionLines returns the canonical text without the blocks.
func (p *Profile) optionLines(servers []string) []string {
	lines := append([]string{"client", "nobind"}, servers...)
	if p.NeedsCredentials {
		lines = append(lines, "auth-user-pass")
	}
	// OpenVPN decides by allow-compression how to read the compression options that follow it. We
	// never send compressed packets (VORACLE), and accept them only where the profile has them.
	if p.compress {
		lines = append(lines, "allow-compression asym")
	} else {
		lines = append(lines, "allow-compression no")
	}
	for _, name := range optionOrder {
		for _, args := range p.options[name] {
			line := name
			for _, a := range args {
				line += " " + quoteWord(a)
			}
			lines = append(lines, line)
		}
	}
	return lines
}

package profile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"ztbridge/bridge/suggest"
)

// maxProfile bounds a profile, in bytes; real ones are below 50 kB.
const maxProfile = 1 << 20

// parser collects what a profile says. Values that depend on the whole (the default protocol) are
// resolved in finish.
type parser struct {
	profile *Profile
	report  Report
	options Options
	rules   map[string]rule

	block     int // number of the <connection> block that is read; 0 outside
	includes  int // files included so far (config)
	remotes   []rawRemote
	proto     rawProto
	port      uint16
	forced    rawProto // proto-force
	ciphers   []string // data-ciphers, known ones
	cipher    string   // cipher or data-ciphers-fallback
	keySize   int      // bits; 0: the cipher's own
	old       bool     // compat-mode of a version before 2.4
	localPort int      // lport
	bind      bool     // bind
	noBind    bool     // nobind
	pushInfo  int      // line of push-peer-info
	// askedProxy is the line that wants the login for a proxy typed; 0: none does.
	askedProxy int
	ignored    []string       // names of ignore-unknown-option
	lines      map[string]int // of blocks of certificates
	known      bool           // has a directive of OpenVPN
	pull       bool           // client or pull
	tlsClient  bool
	// dns are the resolvers of "dns server", by their numbers.
	dns map[int]*dnsServer
	// elsewhere is the directive by which the client's key is in another program's keeping.
	elsewhere directive
	unusable  []string // servers that cannot be reached, with the reason
	weak      []string // what only legacy_crypto allows
	// weakCertificate: weak speaks of a certificate.
	weakCertificate bool
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
	block int
}

// Options are how a profile is read.
type Options struct {
	// Files, which may be nil, reads what the profile refers to by relative names.
	Files FileReader
	// Withheld are files, by their places below the profile's or collection's folder, that are
	// never read for a profile: they hold secrets, which it could send to a proxy of its choice.
	Withheld []string
	// LegacyCrypto allows weak certificates and security levels (legacy_crypto of an egress).
	LegacyCrypto bool
	// bundled: the files came in one archive or folder with the profile.
	bundled bool
	// Ciphers, when not empty, replace the profile's list of ciphers for negotiation.
	Ciphers []string
}

// Parse reads a provider's profile by the rules of directives. What is dropped is reported; what
// cannot be done without (a static key, a file that cannot be read) is an error of type *Error.
// name is used in errors.
func Parse(data []byte, name string, options Options) (*Profile, Report, error) {
	if len(data) > maxProfile {
		return nil, Report{}, &Error{Name: name,
			Reason: fmt.Sprintf("it is larger than %d bytes", maxProfile)}
	}
	list, err := lex(data, name)
	if err != nil {
		return nil, Report{}, err
	}
	p := &parser{
		options: options,
		rules:   table(),
		lines:   map[string]int{},
		dns:     map[int]*dnsServer{},
		proto:   rawProto{proto: UDP},
		port:    1194,
		profile: &Profile{Name: name, settings: newSettings()},
	}
	for _, d := range p.thatCount(list) {
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

// lastCounts are the directives of which OpenVPN looks at the last one alone.
var lastCounts = []string{"auth", "ca", "cert", "cipher", "data-ciphers", "dev", "dev-type",
	"extra-certs", "key", "pkcs12", "tls-cert-profile", "tls-cipher", "tls-ciphersuites",
	"tls-crypt", "tls-crypt-v2", "tls-groups", "verify-x509-name"}

// thatCount returns the directives without those that a later one replaces.
func (p *parser) thatCount(list []directive) []directive {
	last := map[string]int{}
	for i, d := range list {
		if slices.Contains(lastCounts, d.name) && (len(d.args) == 0 || d.args[0] != inlineWord) {
			last[d.name] = i
		}
	}
	var out []directive
	for i, d := range list {
		if n := last[d.name]; n > i {
			p.find(d, Info, "line %d counts in its place, as in OpenVPN", list[n].line)
			continue
		}
		out = append(out, d)
	}
	return out
}

// take handles one directive by its rule.
func (p *parser) take(d directive) error {
	if bad := unprintable(d); bad != "" {
		return fmt.Errorf("%s holds a control character", bad)
	}
	r, known := p.rules[d.name]
	if !known {
		p.unknown(d)
		return nil
	}
	p.known = true
	if slices.Contains(foreign, d.name) && (d.optional || slices.Contains(p.ignored, d.name)) {
		p.find(d, Serious, "ignored, as the profile itself says: a server that needs it does not "+
			"answer")
		return nil
	}
	if d.inline && !r.block {
		return fmt.Errorf("cannot be given as a block")
	}
	return r.take(p, d)
}

// nearest returns the known directive of a similar name, or nothing.
func (p *parser) nearest(name string) string {
	return suggest.Nearest(name, slices.Sorted(maps.Keys(p.rules)))
}

func (p *parser) find(d directive, s Severity, reason string, args ...any) {
	p.report.Findings = append(p.report.Findings,
		Finding{Line: d.line, Directive: d.name, Severity: s, Reason: fmt.Sprintf(reason, args...)})
}

// current returns where a setting goes: to the <connection> block that is read, or the profile.
func (p *parser) current(name string) settings {
	if p.block > 0 && perServer[name] {
		return p.profile.connections[p.block-1]
	}
	return p.profile.settings
}

// set keeps an option with its arguments; the last one of a name counts, as in OpenVPN.
func (p *parser) set(name string, args ...string) {
	p.current(name).options[name] = [][]string{args}
}

// add keeps an option beside earlier ones of the same name.
func (p *parser) add(name string, args ...string) {
	options := p.current(name).options
	have := options[name]
	if !slices.ContainsFunc(have, func(a []string) bool { return slices.Equal(a, args) }) {
		options[name] = append(slices.Clip(have), args)
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
	for _, c := range p.profile.connections {
		c.inheritKeys(p.profile.settings)
	}
	if err := p.finishRemotes(); err != nil {
		return err
	}
	if err := p.finishCiphers(); err != nil {
		return err
	}
	p.finishDNS()
	p.finishPeerInfo()
	p.finishAuthorities()
	if err := p.finishMode(); err != nil {
		return err
	}
	if err := p.checkKeys(); err != nil {
		return err
	}
	if err := p.checkPair(); err != nil {
		return err
	}
	if err := p.finishWeak(); err != nil {
		return err
	}
	if !p.profile.has("remote-cert-tls", "remote-cert-eku", "verify-x509-name", "ns-cert-type",
		"peer-fingerprint") {
		p.find(directive{name: "remote-cert-tls"}, Warning,
			"missing: any certificate of the provider's CA, another customer's too, can pose as "+
				"the server")
	}
	if p.profile.uses(TCP) && p.profile.uses(UDP) && p.profile.has("fragment") {
		p.find(directive{name: "fragment"}, Info, "works over UDP only; not used over TCP")
	}
	slices.SortStableFunc(p.profile.Certificates, func(a, b Certificate) int {
		at := func(c Certificate) int {
			return slices.Index(blockOrder, strings.TrimSuffix(c.Block, "-chain"))
		}
		return at(a) - at(b) // as they are written
	})
	p.profile.normalise()
	return p.checkLines()
}

// checkKeys checks that what belongs together is there.
func (p *parser) checkKeys() error {
	has := p.profile.has
	switch {
	case p.elsewhere.name != "" && !has("pkcs12") && !(has("cert") && has("key")):
		return fmt.Errorf("line %d: %s: the client's private key is on a smart card, or in the "+
			"store of another program or system; export it with its certificate, and put both "+
			"between <cert> and <key>, or as <pkcs12>", p.elsewhere.line, p.elsewhere.name)
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
	for _, s := range append([]settings{p.profile.settings}, p.profile.connections...) {
		if s.has("tun-mtu") && s.has("link-mtu") {
			return fmt.Errorf("it has both tun-mtu and link-mtu")
		}
		if s.has("tls-auth") && p.profile.first("auth") == "none" {
			return fmt.Errorf("it has tls-auth and \"auth none\": tls-auth needs a digest")
		}
		keys := 0
		for _, n := range controlKeys {
			if s.has(n) {
				keys++
			}
		}
		if keys > 1 {
			return fmt.Errorf("it has more than one of tls-auth, tls-crypt and tls-crypt-v2")
		}
	}
	return nil
}

// finishMode decides between a client, which pulls its settings, and one end of a point-to-point
// tunnel, which has them.
func (p *parser) finishMode() error {
	s := p.profile.settings
	p.profile.PointToPoint = p.tlsClient && !p.pull && s.has("ifconfig", "ifconfig-ipv6")
	if !p.profile.PointToPoint {
		return nil // what the server assigns replaces addresses of its own
	}
	if p.profile.NeedsCredentials {
		return fmt.Errorf("it has auth-user-pass without client or pull: add a line \"client\"")
	}
	// The other end may know this one by its port. Lower ones need a privilege.
	if port := cmp.Or(p.localPort, int(p.port)); (p.bind || !p.noBind) && port >= 1024 {
		p.set("lport", strconv.Itoa(port))
	}
	return nil
}

// checkLines refuses a profile whose canonical text OpenVPN could not read.
func (p *parser) checkLines() error {
	lines := p.profile.optionLines()
	for _, c := range p.profile.connections {
		lines = append(lines, c.optionLines()...)
	}
	for _, line := range lines {
		if len(line) > maxLine {
			return fmt.Errorf("%s: the line is longer than the %d characters that OpenVPN reads",
				strings.Fields(line)[0], maxLine)
		}
	}
	return nil
}

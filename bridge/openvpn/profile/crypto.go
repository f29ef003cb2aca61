package profile

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// modernCiphers are offered first, whatever the profile says: they are what OpenVPN 2.6 offers
// itself.
var modernCiphers = []string{"AES-256-GCM", "AES-128-GCM", ChaCha20}

// ChaCha20 is the fastest cipher for processors without AES instructions.
const ChaCha20 = "CHACHA20-POLY1305"

// legacyCiphers exist only in OpenSSL's legacy provider (OSSL_PROVIDER-legacy(7)).
var legacyCiphers = cipherNames([]string{"BF", "CAST5", "DES", "SEED"}, "CBC", "CFB", "OFB")

// rareCiphers of the legacy provider do not come in all modes.
var rareCiphers = []string{"DES-CFB1", "DES-CFB8", "DESX-CBC", "RC2-40-CBC", "RC2-64-CBC",
	"RC2-CBC", "RC2-CFB", "RC2-OFB"}

// plainCiphers are weaker than the modern ones, but still in OpenSSL's default provider.
var plainCiphers = slices.Concat(
	cipherNames([]string{"AES-128", "AES-192", "AES-256", "CAMELLIA-128", "CAMELLIA-192",
		"CAMELLIA-256", "ARIA-128", "ARIA-192", "ARIA-256"},
		"CBC", "CFB", "CFB1", "CFB8", "OFB"),
	cipherNames([]string{"AES-192", "ARIA-128", "ARIA-192", "ARIA-256"}, "GCM"),
	cipherNames([]string{"SM4", "DES-EDE", "DES-EDE3"}, "CBC", "CFB", "OFB"),
	[]string{"DES-EDE3-CFB1", "DES-EDE3-CFB8"})

// cipherNames returns each cipher in each mode.
func cipherNames(ciphers []string, modes ...string) []string {
	var out []string
	for _, c := range ciphers {
		for _, m := range modes {
			out = append(out, c+"-"+m)
		}
	}
	return out
}

// cipherAliases are other names that OpenSSL knows (openssl list -cipher-algorithms).
var cipherAliases = map[string]string{
	"AES128": "AES-128-CBC", "AES192": "AES-192-CBC", "AES256": "AES-256-CBC",
	"ID-AES128-GCM": "AES-128-GCM", "ID-AES192-GCM": "AES-192-GCM",
	"ID-AES256-GCM": "AES-256-GCM", "ARIA128": "ARIA-128-CBC", "ARIA192": "ARIA-192-CBC",
	"ARIA256": "ARIA-256-CBC", "BF": "BF-CBC", "BLOWFISH": "BF-CBC",
	"CAMELLIA128": "CAMELLIA-128-CBC",
	"CAMELLIA192": "CAMELLIA-192-CBC", "CAMELLIA256": "CAMELLIA-256-CBC", "CAST": "CAST5-CBC",
	"CAST-CBC": "CAST5-CBC", "DES": "DES-CBC", "DES3": "DES-EDE3-CBC", "DESX": "DESX-CBC",
	"RC2": "RC2-CBC", "RC2-128": "RC2-CBC", "SEED": "SEED-CBC", "SM4": "SM4-CBC",
}

// KnownCipher returns the name of a data channel cipher as OpenVPN writes it, or nothing.
func KnownCipher(name string) string {
	name = strings.ToUpper(strings.TrimPrefix(name, "?"))
	name = cmp.Or(cipherAliases[name], name)
	for _, list := range [][]string{modernCiphers, plainCiphers, legacyCiphers, rareCiphers} {
		if slices.Contains(list, name) {
			return name
		}
	}
	return ""
}

// needsLegacy reports whether only OpenSSL's legacy provider has the cipher.
func needsLegacy(name string) bool {
	return slices.Contains(legacyCiphers, name) || slices.Contains(rareCiphers, name)
}

func (p *parser) warnOfCipher(d directive, name string) {
	if needsLegacy(name) || strings.HasPrefix(name, "DES-") {
		p.find(d, Warning,
			"%s is weak (64-bit blocks); it is used only if the server offers nothing better", name)
	}
}

func takeCipher(p *parser, d directive) error {
	if len(d.args) == 0 {
		return fmt.Errorf("it needs an argument")
	}
	if strings.EqualFold(d.args[0], "none") {
		return fmt.Errorf("it switches encryption off; the provider must offer a cipher")
	}
	name := KnownCipher(d.args[0])
	if name == "" {
		return fmt.Errorf("%q is not a cipher of OpenVPN 2.6", d.args[0])
	}
	p.warnOfCipher(d, name)
	p.cipher = name
	return nil
}

func takeDataCiphers(p *parser, d directive) error {
	for _, word := range d.args {
		for name := range strings.SplitSeq(word, ":") {
			known := KnownCipher(name)
			switch {
			case known != "":
				p.warnOfCipher(d, known)
				p.ciphers = append(p.ciphers, known)
			case strings.HasPrefix(name, "?") || name == "DEFAULT": // optional in OpenVPN too
			default:
				p.find(d, Warning, "%q is not a cipher that can be used; ignored", name)
			}
		}
	}
	return nil
}

// finishCiphers writes the list for negotiation, modern ones first, and the fallback for servers
// before 2.4, which do not negotiate.
func (p *parser) finishCiphers() error {
	if p.old && p.cipher == "" {
		p.cipher = "BF-CBC" // the default of those versions
		p.warnOfCipher(directive{name: "compat-mode"}, p.cipher)
	}
	if variable := slices.ContainsFunc([]string{"BF-", "CAST5-", "RC2-"}, func(s string) bool {
		return strings.HasPrefix(p.cipher, s)
	}); variable && p.keySize != 0 && p.keySize != 128 {
		return fmt.Errorf("keysize %d: OpenVPN 2.6 has %s with 128 bits only, and both ends must "+
			"have it alike; ask the provider for a profile with AES", p.keySize, p.cipher)
	}
	list := slices.Clone(modernCiphers)
	offers := len(p.ciphers) == 0 || slices.Contains(p.ciphers, ChaCha20)
	p.profile.chacha20 = offers && len(p.options.Ciphers) == 0
	if !offers {
		list = slices.DeleteFunc(list, func(c string) bool { return c == ChaCha20 })
	}
	if p.cipher != "" {
		p.ciphers = append(p.ciphers, p.cipher)
		p.set("data-ciphers-fallback", p.cipher)
		p.profile.legacy = p.profile.legacy || needsLegacy(p.cipher)
	}
	if len(p.options.Ciphers) > 0 {
		list, p.ciphers = nil, p.options.Ciphers
	}
	for _, c := range p.ciphers {
		if !slices.Contains(list, c) {
			list = append(list, c)
		}
		p.profile.legacy = p.profile.legacy || needsLegacy(c)
	}
	p.set("data-ciphers", strings.Join(list, ":"))
	return nil
}

// digests are those of OpenSSL's default provider that a packet can be signed with
// (openvpn --show-digests).
var digests = []string{"MD5", "MD5-SHA1", "SHA1", "SHA224", "SHA256", "SHA384", "SHA512",
	"SHA512-224", "SHA512-256", "SHA3-224", "SHA3-256", "SHA3-384", "SHA3-512", "RIPEMD160",
	"BLAKE2B512", "BLAKE2S256", "SM3"}

// legacyDigests exist only in OpenSSL's legacy provider.
var legacyDigests = []string{"MD4", "WHIRLPOOL"}

// digestAliases are other names that OpenSSL knows.
var digestAliases = map[string]string{"SHA-1": "SHA1", "SHA-224": "SHA224", "SHA-256": "SHA256",
	"SHA-384": "SHA384", "SHA-512": "SHA512", "SHA2-224": "SHA224", "SHA2-256": "SHA256",
	"SHA2-384": "SHA384", "SHA2-512": "SHA512", "SHA-512/224": "SHA512-224",
	"SHA-512/256": "SHA512-256", "RIPEMD": "RIPEMD160", "RMD160": "RIPEMD160",
	"RIPEMD-160": "RIPEMD160", "SSL3-MD5": "MD5", "SSL3-SHA1": "SHA1", "BLAKE2B-512": "BLAKE2B512",
	"BLAKE2S-256": "BLAKE2S256"}

// takeAuth keeps the digest of packets and of tls-auth, which both ends must have alike.
func takeAuth(p *parser, d directive) error {
	if len(d.args) == 0 {
		return fmt.Errorf("it needs an argument")
	}
	name := strings.TrimPrefix(strings.ToUpper(d.args[0]), "RSA-")
	name = cmp.Or(digestAliases[name], name)
	switch {
	case name == "NONE":
		name = "none"
		p.find(d, Warning, "with a cipher other than GCM or ChaCha20-Poly1305, packets can be "+
			"forged on the way")
	case slices.Contains(digests, name):
		if strings.HasPrefix(name, "MD5") {
			p.find(d, Warning, "MD5 is weak; the provider should replace it")
		}
	case slices.Contains(legacyDigests, name):
		p.weak = append(p.weak, "auth "+name+" is a broken digest that OpenSSL 3 no longer has")
		p.profile.legacy = true
	default:
		return fmt.Errorf("%q is not a digest of OpenSSL 3", d.args[0])
	}
	p.set("auth", name)
	return nil
}

// takeCompress keeps the framing that the server expects. Packets are never compressed by us.
func takeCompress(p *parser, d directive) error {
	arg := strings.Join(d.args, " ")
	forms := map[string][]string{
		"compress": {"", "stub", "stub-v2", "migrate", "lzo", "lz4", "lz4-v2"},
		"comp-lzo": {"", "no", "yes", "adaptive"},
	}
	if !slices.Contains(forms[d.name], arg) {
		return fmt.Errorf("%q is not a form of it", arg)
	}
	// One of the two counts in OpenVPN, the last.
	delete(p.profile.options, "compress")
	delete(p.profile.options, "comp-lzo")
	p.find(d, Info, "packets are accepted compressed and sent uncompressed (VORACLE)")
	p.set(d.name, strings.Fields(arg)...)
	return nil
}

var peerVariable = regexp.MustCompile(`^UV_[A-Z0-9_]{1,40}$`)

// takeSetenv keeps the variables that some providers read from the client (AirVPN's UV_IPV6).
func takeSetenv(p *parser, d directive) error {
	// another way to write remote-random-hostname
	if len(d.args) == 1 && d.args[0] == "REMOTE_RANDOM_HOSTNAME" {
		p.profile.RandomNames = true
		return nil
	}
	if len(d.args) != 2 || !peerVariable.MatchString(d.args[0]) {
		p.find(d, Info, "has no effect here")
		return nil
	}
	if _, err := words(`[A-Za-z0-9_.-]{1,64}`)(d.args[1]); err != nil {
		p.find(d, Warning, "%v; ignored", err)
		return nil
	}
	p.add("setenv", d.args...)
	return nil
}

// finishPeerInfo keeps push-peer-info only where the variables need it: it also tells the provider
// this box's hardware address.
func (p *parser) finishPeerInfo() {
	if p.pushInfo == 0 {
		return
	}
	d := directive{line: p.pushInfo, name: "push-peer-info"}
	if p.profile.options["setenv"] == nil {
		p.find(d, Info, "would tell the provider this box's hardware address; ignored")
		return
	}
	p.find(d, Warning,
		"tells the provider this box's hardware address; kept because of setenv UV_…")
	p.set("push-peer-info")
}

// takeDHCPOption keeps resolvers that the profile itself names.
func takeDHCPOption(p *parser, d directive) error {
	if len(d.args) == 2 && (d.args[0] == "DNS" || d.args[0] == "DNS6") {
		if a, err := netip.ParseAddr(d.args[1]); err == nil && a.Zone() == "" {
			p.add("dhcp-option", d.args[0], a.String())
			return nil
		}
	}
	p.find(d, Info, "only the addresses of resolvers are used")
	return nil
}

// embedCredentials keeps a user name and a password that the profile itself holds.
func (p *parser) embedCredentials(d directive) error {
	lines := slices.DeleteFunc(strings.Split(d.body, "\n"),
		func(line string) bool { return strings.TrimSpace(line) == "" })
	if len(lines) < 2 {
		p.find(d, Info, "it holds no user name and password; they are in the credentials file")
		return nil
	}
	p.profile.embedded = &Credentials{Username: lines[0], Password: lines[1]}
	return nil
}

// takeAuthUserPass notes that credentials are needed. They are given to openvpn by management,
// never by a file of its own choosing. A file that came in one archive or folder with the profile
// is read; beside a single profile, a file may be anything.
func takeAuthUserPass(p *parser, d directive) error {
	p.profile.NeedsCredentials = true
	switch {
	case d.inline:
		return p.embedCredentials(d)
	case len(d.args) == 0:
		return nil
	case p.options.bundled:
		data, err := p.options.Files(d.args[0])
		if err == nil && !strings.Contains(string(data), "-----BEGIN ") { // no key
			d.body = lineEnds.Replace(string(data))
			return p.embedCredentials(d)
		}
	}
	p.find(d, Info, "the file %q is not read; user name and password are in the credentials file",
		d.args[0])
	return nil
}

// takeElsewhere notes that the client's private key is not in the profile.
func takeElsewhere(p *parser, d directive) error {
	p.elsewhere = d
	p.find(d, Warning, "ignored: a profile may not load programs into openvpn")
	return nil
}

func takeFingerprint(p *parser, d directive) error {
	list, err := fingerprints(d)
	// Each line and block adds to those before, as in OpenVPN.
	list = append(list, strings.Fields(p.profile.blocks[d.name])...)
	slices.Sort(list)
	p.profile.blocks[d.name] = strings.Join(slices.Compact(list), "\n") + "\n"
	return err
}

// fingerprints returns the SHA-256 fingerprints of a line or a block, which may have comments.
func fingerprints(d directive) ([]string, error) {
	var list []string
	for line := range strings.SplitSeq(d.body+strings.Join(d.args, "\n"), "\n") {
		line, _, _ = strings.Cut(line, "#")
		line, _, _ = strings.Cut(line, ";")
		for w := range strings.FieldsSeq(line) {
			if _, err := words(`[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){31}`)(w); err != nil {
				return nil, fmt.Errorf("%q is not a SHA-256 fingerprint", w)
			}
			list = append(list, strings.ToUpper(w))
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("it holds no fingerprint")
	}
	return list, nil
}

func takePushPeerInfo(p *parser, d directive) error {
	p.pushInfo = d.line
	return nil
}

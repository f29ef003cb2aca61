package profile

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// modernCiphers are offered first, whatever the profile says: they are what OpenVPN 2.6 offers
// itself.
var modernCiphers = []string{"AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305"}

// legacyCiphers exist only in OpenSSL's legacy provider (OSSL_PROVIDER-legacy(7)).
var legacyCiphers = []string{"BF-CBC", "BF-CFB", "BF-OFB", "CAST5-CBC", "CAST5-CFB", "CAST5-OFB",
	"DES-CBC", "DES-CFB",
	"DES-OFB", "DESX-CBC", "RC2-CBC", "RC2-40-CBC", "RC2-64-CBC", "RC2-CFB", "RC2-OFB", "SEED-CBC",
	"SEED-CFB", "SEED-OFB"}

// plainCiphers are weaker than the modern ones, but still in OpenSSL's default provider.
var plainCiphers = []string{"AES-128-CBC", "AES-192-CBC", "AES-256-CBC", "AES-192-GCM",
	"CAMELLIA-128-CBC", "CAMELLIA-192-CBC",
	"CAMELLIA-256-CBC", "ARIA-128-CBC", "ARIA-192-CBC", "ARIA-256-CBC", "ARIA-128-GCM",
	"ARIA-192-GCM", "ARIA-256-GCM",
	"DES-EDE3-CBC", "DES-EDE-CBC", "SM4-CBC", "AES-128-CFB", "AES-192-CFB", "AES-256-CFB",
	"AES-128-OFB", "AES-256-OFB"}

// knownCipher returns the name as OpenVPN writes it, or nothing.
func knownCipher(name string) string {
	name = strings.ToUpper(strings.TrimPrefix(name, "?"))
	for _, list := range [][]string{modernCiphers, plainCiphers, legacyCiphers} {
		if slices.Contains(list, name) {
			return name
		}
	}
	return ""
}

func takeCipher(p *parser, d directive) error {
	if len(d.args) == 0 {
		p.find(d, Warning, "it needs an argument; dropped")
		return nil
	}
	name := knownCipher(d.args[0])
	if name == "" {
		p.find(d, Warning, "%q is not a cipher that can be used; dropped", d.args[0])
		return nil
	}
	if slices.Contains(legacyCiphers, name) || strings.HasPrefix(name, "DES-") {
		p.find(d, Warning,
			"%s is weak (64-bit blocks); it is used only if the server offers nothing better", name)
	}
	p.cipher = name
	return nil
}

func takeDataCiphers(p *parser, d directive) error {
	for _, word := range d.args {
		for name := range strings.SplitSeq(word, ":") {
			if known := knownCipher(name); known != "" {
				p.ciphers = append(p.ciphers, known)
			} else {
				p.find(d, Warning, "%q is not a cipher that can be used; dropped", name)
			}
		}
	}
	return nil
}

// finishCiphers writes the list for negotiation, modern ones first, and the fallback for servers
// before 2.4, which do not negotiate.
func (p *parser) finishCiphers() {
	list := slices.Clone(modernCiphers)
	if p.cipher != "" {
		p.ciphers = append(p.ciphers, p.cipher)
		p.set("data-ciphers-fallback", p.cipher)
	}
	for _, c := range p.ciphers {
		if !slices.Contains(list, c) {
			list = append(list, c)
		}
		p.profile.legacy = p.profile.legacy || slices.Contains(legacyCiphers, c)
	}
	p.set("data-ciphers", strings.Join(list, ":"))
}

var digests = []string{"MD5", "SHA1", "SHA224", "SHA256", "SHA384", "SHA512", "SHA512-256",
	"SHA3-256", "SHA3-512", "RIPEMD160",
	"BLAKE2B512", "BLAKE2S256"}

func takeAuth(p *parser, d directive) error {
	if len(d.args) == 0 {
		p.find(d, Warning, "it needs an argument; dropped")
		return nil
	}
	name := strings.ToUpper(d.args[0])
	if name == "SHA-1" || name == "SHA-256" || name == "SHA-512" {
		name = strings.Replace(name, "-", "", 1)
	}
	if !slices.Contains(digests, name) {
		p.find(d, Warning, "%q is not a digest that can be used; dropped", d.args[0])
		return nil
	}
	if name == "MD5" {
		p.find(d, Warning, "MD5 is weak; the provider should replace it")
	}
	p.set("auth", name)
	return nil
}

// takeCompress keeps the framing that the server expects. Packets are never compressed by us.
func takeCompress(p *parser, d directive) error {
	arg := ""
	if len(d.args) > 0 {
		arg = d.args[0]
	}
	forms := map[string][]string{
		"compress": {"", "stub", "stub-v2", "migrate", "lzo", "lz4", "lz4-v2"},
		"comp-lzo": {"", "no", "yes", "adaptive"},
	}
	if len(d.args) > 1 || !slices.Contains(forms[d.name], arg) {
		p.find(d, Warning, "%q is not a form of it; dropped", strings.Join(d.args, " "))
		return nil
	}
	// One of the two counts in OpenVPN, the last.
	delete(p.profile.options, "compress")
	delete(p.profile.options, "comp-lzo")
	harmless := arg == "no" || arg == "stub" || arg == "stub-v2" || arg == "migrate" ||
		d.name == "compress" && arg == ""
	if !harmless {
		p.find(d, Warning,
			"compression leaks what it compresses (VORACLE): packets are accepted compressed and "+
				"sent uncompressed")
	}
	p.profile.compress = !harmless
	if arg == "" {
		p.set(d.name)
	} else {
		p.set(d.name, arg)
	}
	return nil
}

// takeTLSCipher keeps a list without what lowers OpenSSL's security level.
func takeTLSCipher(p *parser, d directive) error {
	if len(d.args) != 1 {
		p.find(d, Warning, "it needs one argument; dropped")
		return nil
	}
	parts := strings.Split(d.args[0], ":")
	kept := slices.DeleteFunc(slices.Clone(parts),
		func(s string) bool { return strings.ContainsAny(s, "@ ") || s == "" })
	list := strings.Join(kept, ":")
	if len(kept) != len(parts) {
		p.find(d, Warning, "a part that changes OpenSSL's security level was dropped")
	}
	if _, err := words(cipherWord)(list); err != nil {
		p.find(d, Warning, "nothing usable is left; dropped")
		return nil
	}
	p.set("tls-cipher", list)
	return nil
}

func takeTLSVersion(p *parser, d directive) error {
	versions := []string{"1.0", "1.1", "1.2", "1.3"}
	if len(d.args) == 0 || !slices.Contains(versions, d.args[0]) {
		p.find(d, Warning, "expected one of %s; dropped", strings.Join(versions, ", "))
		return nil
	}
	old := d.args[0] < "1.2"
	if old && d.name == "tls-version-max" {
		p.find(d, Warning, "TLS before 1.2 is broken; dropped")
		return nil
	}
	if old {
		p.find(d, Warning, "TLS before 1.2 is broken; raised to 1.2")
		p.set(d.name, "1.2")
		return nil
	}
	p.set(d.name, d.args[0])
	return nil
}

func takeCertProfile(p *parser, d directive) error {
	if len(d.args) != 1 || !slices.Contains([]string{"legacy", "preferred", "suiteb"}, d.args[0]) {
		p.find(d, Warning, "would let weak certificates pass; dropped")
		return nil
	}
	p.set(d.name, d.args[0])
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
		p.find(d, Warning, "%v; dropped", err)
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
		p.find(d, Info, "would tell the provider this box's hardware address; dropped")
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

// takeAuthUserPass notes that credentials are needed. They are given to openvpn by management,
// never by a file of its own choosing.
func takeAuthUserPass(p *parser, d directive) error {
	p.profile.NeedsCredentials = true
	switch {
	case d.inline:
		p.find(d, Warning,
			"credentials inside a profile are not used; put them into the credentials file")
	case len(d.args) > 0:
		p.find(d, Warning,
			"the file %q is not read; put user name and password into the credentials file",
			d.args[0])
	}
	return nil
}

func takeFingerprint(p *parser, d directive) error {
	var list []string
	for w := range strings.FieldsSeq(d.body + " " + strings.Join(d.args, " ")) {
		if _, err := words(`[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){31}`)(w); err != nil {
			return fmt.Errorf("%q is not a SHA-256 fingerprint", w)
		}
		list = append(list, strings.ToUpper(w))
	}
	if len(list) == 0 {
		return fmt.Errorf("it holds no fingerprint")
	}
	slices.Sort(list)
	p.profile.blocks[d.name] = strings.Join(slices.Compact(list), "\n") + "\n"
	return nil
}

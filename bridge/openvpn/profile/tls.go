package profile

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// lostCiphers are in names of TLS ciphers that OpenSSL no longer has.
var lostCiphers = regexp.MustCompile(`RC[24]|DES|IDEA|SEED|EXP|KRB5|GOST`)

// keptCiphers are names of TLS ciphers that it has, and its words for many, which have no hyphen.
var keptCiphers = regexp.MustCompile(`(?i)^[^-]+$|AES|CHACHA20|CAMELLIA|ARIA|NULL`)

// takeTLSCipher keeps a list. What lowers OpenSSL's security level needs legacy_crypto; a list of
// nothing that OpenSSL has is an error, as to OpenVPN.
func takeTLSCipher(p *parser, d directive) error {
	if len(d.args) != 1 {
		return fmt.Errorf("it needs one argument")
	}
	parts := strings.Split(d.args[0], ":")
	var list []string
	useful := false
	for _, part := range parts {
		switch {
		case part == "" || strings.Contains(part, " "):
		case part == "@SECLEVEL=0":
			p.weak = append(p.weak, "tls-cipher @SECLEVEL=0 accepts forged certificates")
			if p.options.LegacyCrypto {
				list = append(list, part)
			}
		case strings.HasPrefix(part, "@"): // raises the level, or is the default
		default:
			list = append(list, part)
			useful = useful || !strings.ContainsAny(part[:1], "!-+") &&
				keptCiphers.MatchString(part) && !lostCiphers.MatchString(part)
		}
	}
	if !useful && len(list) > 0 {
		return fmt.Errorf("OpenSSL here has none of these ciphers; ask the provider for a " +
			"profile for OpenVPN 2.6")
	}
	text := strings.Join(list, ":")
	if _, err := words(`[A-Za-z0-9_:+!.@=-]{1,250}`)(text); err != nil {
		p.find(d, Warning, "nothing usable is left; ignored")
		return nil
	}
	p.set("tls-cipher", text)
	return nil
}

// cipherSuites are those of TLS 1.3 (RFC 8446, section B.4).
var cipherSuites = []string{"TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256",
	"TLS_AES_128_GCM_SHA256", "TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_8_SHA256"}

// groups are those of TLS that OpenSSL 3.0 has, by its names.
var groups = []string{"X25519", "X448", "prime256v1", "secp256r1", "P-256", "secp384r1", "P-384",
	"secp521r1", "P-521", "secp224r1", "P-224", "secp256k1", "brainpoolP256r1", "brainpoolP384r1",
	"brainpoolP512r1", "ffdhe2048", "ffdhe3072", "ffdhe4096", "ffdhe6144", "ffdhe8192"}

func takeTLSCipherSuites(p *parser, d directive) error {
	return p.keepKnown(d, cipherSuites, strings.NewReplacer("-", "_"))
}

// hybrid is the group with ML-KEM that OpenSSL 3.5 and later offers first by itself
// (SSL_CTX_set1_groups_list(3)). OpenVPN with an older one ends where a profile names it.
const hybrid = "X25519MLKEM768"

func takeTLSGroups(p *parser, d directive) error {
	for name := range strings.FieldsFuncSeq(strings.Join(d.args, ""), isGroupSeparator) {
		name = strings.TrimLeft(name, "?*")
		if strings.EqualFold(name, hybrid) || name == "DEFAULT" {
			p.find(d, Info, "not every OpenSSL knows %s; the usual groups are offered, and "+
				"this one first where it is known", hybrid)
			return nil
		}
	}
	return p.keepKnown(d, groups, strings.NewReplacer())
}

// isGroupSeparator reports whether a character divides groups, or sets of groups.
func isGroupSeparator(r rune) bool { return r == ':' || r == '/' }

// keepKnown keeps what OpenSSL knows of a list: OpenVPN ends where it does not know one.
func (p *parser) keepKnown(d directive, known []string, spelling *strings.Replacer) error {
	if len(d.args) != 1 {
		return fmt.Errorf("it needs one argument")
	}
	var list []string
	for name := range strings.SplitSeq(d.args[0], ":") {
		at := slices.IndexFunc(known, func(k string) bool {
			return strings.EqualFold(k, spelling.Replace(strings.TrimPrefix(name, "?")))
		})
		switch {
		case at < 0:
			p.find(d, Warning, "OpenSSL here does not know %q; ignored", name)
		case !slices.Contains(list, known[at]):
			list = append(list, known[at])
		}
	}
	if len(list) == 0 {
		return fmt.Errorf("OpenSSL here knows none of %q", d.args[0])
	}
	p.set(d.name, strings.Join(list, ":"))
	return nil
}

func takeTLSVersion(p *parser, d directive) error {
	versions := []string{"1.0", "1.1", "1.2", "1.3"}
	if len(d.args) == 2 && d.args[1] == "or-highest" && !slices.Contains(versions, d.args[0]) {
		d.args = versions[3:]
	}
	if len(d.args) == 0 || !slices.Contains(versions, d.args[0]) {
		return fmt.Errorf("expected one of %s", strings.Join(versions, ", "))
	}
	old := d.args[0] < "1.2"
	switch {
	case old && d.name == "tls-version-max":
		p.weak = append(p.weak, "tls-version-max "+d.args[0]+" is broken TLS")
	case old && !p.options.LegacyCrypto:
		p.find(d, Info, "TLS before 1.2 is broken; raised to 1.2")
		p.set(d.name, "1.2")
		return nil
	}
	p.set(d.name, d.args[0])
	if low, high := p.profile.first("tls-version-min"),
		p.profile.first("tls-version-max"); high != "" && low > high {
		return fmt.Errorf("tls-version-min %s is above tls-version-max %s", low, high)
	}
	return nil
}

func takeCertProfile(p *parser, d directive) error {
	switch {
	case len(d.args) == 1 && d.args[0] == "insecure":
		p.weak = append(p.weak, "tls-cert-profile insecure accepts forged certificates")
	case len(d.args) != 1 || !slices.Contains([]string{"legacy", "preferred", "suiteb"}, d.args[0]):
		return fmt.Errorf("expected one of legacy, preferred, suiteb, insecure")
	case d.args[0] == "legacy":
		p.find(d, Warning, "accepts certificates with short keys (1024 bits)")
	}
	p.set(d.name, d.args[0])
	return nil
}

// seldom is the time between renewals of keys, in seconds, beyond which a person is warned.
const seldom = 24 * 60 * 60

func takeRenegSec(p *parser, d directive) error {
	args, err := canonical(d, 2, []check{number(0, 1<<31-1)})
	if err != nil {
		p.find(d, Warning, "%v; ignored", err)
		return nil
	}
	if n, _ := strconv.Atoi(args[0]); n > seldom {
		p.find(d, Warning, "keys are renewed only every %d days", n/seldom)
	}
	p.set(d.name, args...)
	return nil
}

// finishWeak refuses what is too weak, or says so where the person allows it.
func (p *parser) finishWeak() error {
	if len(p.weak) == 0 {
		return nil
	}
	if !p.options.LegacyCrypto {
		return fmt.Errorf("%s. Ask the provider for a new profile; to use this one in spite of "+
			"that, add \"legacy_crypto: true\" to the egress", strings.Join(p.weak, "; "))
	}
	for _, w := range p.weak {
		p.find(directive{name: "legacy_crypto"}, Warning, "%s; allowed by legacy_crypto", w)
	}
	if p.weakCertificate {
		p.set("tls-cert-profile", "insecure")
	}
	return nil
}

package profile

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// takeTLSCipher keeps a list. What lowers OpenSSL's security level needs legacy_crypto.
func takeTLSCipher(p *parser, d directive) error {
	if len(d.args) != 1 {
		p.find(d, Warning, "it needs one argument; ignored")
		return nil
	}
	parts := strings.Split(d.args[0], ":")
	var list []string
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
		}
	}
	text := strings.Join(list, ":")
	if _, err := words(`[A-Za-z0-9_:+!.@=-]{1,250}`)(text); err != nil {
		p.find(d, Warning, "nothing usable is left; ignored")
		return nil
	}
	p.set("tls-cipher", text)
	return nil
}

func takeTLSVersion(p *parser, d directive) error {
	versions := []string{"1.0", "1.1", "1.2", "1.3"}
	if len(d.args) == 0 || !slices.Contains(versions, d.args[0]) {
		p.find(d, Warning, "expected one of %s; ignored", strings.Join(versions, ", "))
		return nil
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
	return nil
}

func takeCertProfile(p *parser, d directive) error {
	switch {
	case len(d.args) == 1 && d.args[0] == "insecure":
		p.weak = append(p.weak, "tls-cert-profile insecure accepts forged certificates")
	case len(d.args) != 1 ||
		!slices.Contains([]string{"legacy", "preferred", "suiteb"}, d.args[0]):
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

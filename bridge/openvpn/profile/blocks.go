package profile

import (
	"bytes"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// staticKeyBytes is the size of a tls-auth or tls-crypt key (ssl/crypto.h, struct key2).
const staticKeyBytes = 256

// takeBlock reads what is given as an inline block, or as the name of a file next to the profile,
// and keeps it re-encoded: nothing of the original text survives.
func takeBlock(p *parser, d directive) error {
	body, err := p.content(d)
	if err != nil {
		if d.name == "crl-verify" {
			p.find(d, Warning, "%v; ignored", err)
			return nil
		}
		return err
	}
	if d.name == "tls-auth" && !d.inline && len(d.args) > 1 {
		if _, err := number(0, 1)(d.args[1]); err != nil {
			return fmt.Errorf("direction: %w", err)
		}
		p.set("key-direction", d.args[1])
	}
	canonical, err := p.canonicalBlock(d, body)
	if err != nil {
		return err
	}
	if canonical != "" {
		p.current(d.name).blocks[d.name] = canonical
	}
	return nil
}

// inlineWord is written by Access Server in the place of a file, beside the block itself.
const inlineWord = "[inline]"

// content returns the text of a block or of the file that stands for it.
func (p *parser) content(d directive) (string, error) {
	hint := fmt.Sprintf("put its content into the profile, between <%s> and </%s>", d.name, d.name)
	switch {
	case d.inline:
		return d.body, nil
	case d.again: // the file of that name is never read by OpenVPN either
		return p.current(d.name).blocks[d.name], nil
	case len(d.args) == 0:
		return "", fmt.Errorf("it names no file; %s", hint)
	case d.args[0] == inlineWord:
		return p.current(d.name).blocks[d.name], nil
	case p.options.Files == nil:
		return "", fmt.Errorf("the file %q is not read; %s", d.args[0], hint)
	}
	data, err := p.options.Files(d.args[0])
	if err != nil {
		return "", fmt.Errorf("reading %q: %w; or %s", d.args[0], err, hint)
	}
	if d.name == "pkcs12" {
		return base64.StdEncoding.EncodeToString(data), nil
	}
	return string(data), nil
}

// canonicalBlock decodes a block and encodes it again.
func (p *parser) canonicalBlock(d directive, body string) (string, error) {
	if body == "" && !d.inline {
		return "", nil // "[inline]" ahead of its block
	}
	switch d.name {
	case "ca", "cert", "extra-certs":
		return p.certificates(d, body)
	case "key":
		return p.privateKey(body)
	case "tls-auth", "tls-crypt":
		return staticKey(body)
	case "tls-crypt-v2":
		return onePEM(body, "OpenVPN tls-crypt-v2 client key")
	case "crl-verify":
		return p.revocations(d, body)
	case "pkcs12":
		return p.pkcs12(body)
	}
	return "", fmt.Errorf("cannot be given as a block")
}

// maxDepth is how deep a certificate or key is looked into; real ones have about ten levels.
const maxDepth = 32

// broken returns an error where ASN.1 is not whole, on any level. What only Go is strict about is
// none: OpenSSL may read it.
func broken(der []byte, depth int) error {
	if len(der) == 0 && depth == 0 {
		return errors.New("it is empty")
	}
	for len(der) > 0 && depth < maxDepth {
		var v asn1.RawValue
		rest, err := asn1.Unmarshal(der, &v)
		if syntax, ok := errors.AsType[asn1.SyntaxError](err); ok &&
			!strings.Contains(syntax.Msg, "indefinite") {
			return err
		}
		if err != nil {
			return nil
		}
		if v.IsCompound {
			if err := broken(v.Bytes, depth+1); err != nil {
				return err
			}
		}
		if der = rest; depth == 0 {
			return nil // OpenSSL passes over what follows
		}
	}
	return nil
}

// damaged says, as the end of a sentence, what is there in the place of what is wanted.
func damaged(text string) string {
	switch {
	case strings.Contains(text, "BEGIN PUBLIC KEY"):
		return ", but a public one: put in the private one that belongs to it"
	case strings.Contains(text, "CERTIFICATE REQUEST"):
		return ", but a request for one: put in what the authority made of it"
	case placeholder.MatchString(strings.TrimSpace(text)):
		return ", but a placeholder: put your own in its place"
	case !strings.Contains(text, "BEGIN "):
		return ""
	}
	return " that can be read: what begins there is damaged or cut off, or has lost its line breaks"
}

// pemBlocks returns the PEM blocks of text, which may be indented, whose type is one of types; of
// any type where none is given.
func pemBlocks(text string, types ...string) []*pem.Block {
	var out []*pem.Block
	for rest := indent.ReplaceAll([]byte(text), nil); ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			return out
		}
		if (types == nil || slices.Contains(types, b.Type)) && len(b.Bytes) > 0 {
			out = append(out, b)
		}
	}
}

var indent = regexp.MustCompile(`(?m)^[ \t]+`)

func onePEM(text, kind string) (string, error) {
	blocks := pemBlocks(text, kind)
	if len(blocks) == 0 {
		return "", fmt.Errorf("it holds no PEM block of type %q", kind)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: blocks[0].Bytes})), nil
}

func (p *parser) certificates(d directive, text string) (string, error) {
	blocks := pemBlocks(text, "CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE")
	if len(blocks) == 0 {
		return "", fmt.Errorf("it holds no certificate%s", damaged(text))
	}
	if strings.Count(text, "-----BEGIN ") > len(pemBlocks(text)) {
		return "", fmt.Errorf("one of its certificates is damaged or cut off: OpenVPN takes none " +
			"then")
	}
	p.profile.Certificates = slices.DeleteFunc(p.profile.Certificates,
		func(c Certificate) bool { return c.Block == d.name })
	var out bytes.Buffer
	for i, b := range blocks {
		der := b.Bytes
		if err := broken(der, 0); err != nil {
			return "", fmt.Errorf("a certificate in it is damaged inside (%w): OpenVPN ends with "+
				"it", err)
		}
		// OpenSSL's own trust settings follow the certificate in a TRUSTED CERTIFICATE.
		var first asn1.RawValue
		if _, err := asn1.Unmarshal(der, &first); err == nil {
			der = first.FullBytes
		}
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			p.find(d, Warning, "a certificate cannot be read here (%v); it is passed on", err)
			continue
		}
		c := Certificate{Block: d.name, Subject: cert.Subject.String(), NotBefore: cert.NotBefore,
			NotAfter: cert.NotAfter}
		if d.name == "cert" && i > 0 {
			c.Block = "cert-chain"
		}
		p.profile.Certificates = append(p.profile.Certificates, c)
		p.lines[c.Block] = d.line
		p.judgeStrength(d, cert)
	}
	return out.String(), nil
}

// judgeStrength notes certificates that OpenSSL refuses at OpenVPN's usual security level, 1: it
// asks for 80 bits (SSL_CTX_set_security_level(3)).
func (p *parser) judgeStrength(d directive, cert *x509.Certificate) {
	selfSigned := bytes.Equal(cert.RawIssuer, cert.RawSubject)
	weak := ""
	if key, ok := cert.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() < 1024 {
		weak = fmt.Sprintf("has a key of only %d bits", key.N.BitLen())
	}
	switch cert.SignatureAlgorithm {
	case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1:
		if !selfSigned { // the signature of a root is not checked
			weak = "is signed with " + cert.SignatureAlgorithm.String()
		}
	}
	switch {
	case weak == "":
	case d.name == "ca":
		p.find(d, Serious, "the certificate %s %s: OpenSSL refuses servers that depend on it",
			cert.Subject, weak)
	default:
		p.weakCertificate = true
		p.weak = append(p.weak, fmt.Sprintf("the client certificate (%s) %s, which can be forged, "+
			"and OpenSSL refuses it", cert.Subject, weak))
	}
}

// finishAuthorities reports certificates that are not valid now. One authority of several may have
// expired: providers ship the old one beside the new one.
func (p *parser) finishAuthorities() {
	now := time.Now()
	usable := slices.ContainsFunc(p.profile.Certificates, func(c Certificate) bool {
		return c.Block == "ca" && c.invalidAt(now) == ""
	})
	for _, c := range p.profile.Certificates {
		reason := c.invalidAt(now)
		d := directive{line: p.lines[c.Block], name: strings.TrimSuffix(c.Block, "-chain")}
		switch {
		case reason == "":
		case c.Block == "ca" && usable || c.Block == "extra-certs":
			p.find(d, Info, "the certificate %s", reason)
		case c.Block == "ca":
			p.find(d, Serious, "the certificate %s: no server can be verified", reason)
		default:
			p.find(d, Serious, "the certificate %s: the server will refuse it", reason)
		}
	}
}

// The headers of a private key in OpenSSL's traditional encrypted form (RFC 1421).
var dekInfo = regexp.MustCompile(`^[A-Z0-9-]{1,40},[0-9A-Fa-f]{1,64}$`)

func (p *parser) privateKey(text string) (string, error) {
	blocks := pemBlocks(text, "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY",
		"ENCRYPTED PRIVATE KEY")
	if len(blocks) == 0 { // of several, OpenVPN takes the first
		return "", fmt.Errorf("it holds no private key in PEM form%s", damaged(text))
	}
	b := &pem.Block{Type: blocks[0].Type, Bytes: blocks[0].Bytes}
	if info := blocks[0].Headers["DEK-Info"]; info != "" {
		if !dekInfo.MatchString(info) {
			return "", fmt.Errorf("its DEK-Info header is malformed")
		}
		b.Headers = map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": info}
	}
	p.profile.NeedsPassphrase = b.Headers != nil || b.Type == "ENCRYPTED PRIVATE KEY"
	if err := broken(b.Bytes, 0); err != nil && b.Headers == nil {
		return "", fmt.Errorf("the private key is damaged inside (%w): OpenVPN ends with it", err)
	}
	return string(pem.EncodeToMemory(b)), nil
}

// checkPair refuses a private key that is another certificate's, which OpenVPN ends with. What Go
// cannot read, OpenSSL may.
func (p *parser) checkPair() error {
	cert, _ := pem.Decode([]byte(p.profile.blocks["cert"]))
	key, _ := pem.Decode([]byte(p.profile.blocks["key"]))
	if cert == nil || key == nil {
		return nil
	}
	if _, err := tls.X509KeyPair(pem.EncodeToMemory(cert), pem.EncodeToMemory(key)); err != nil &&
		strings.Contains(err.Error(), "does not match") {
		return fmt.Errorf("its cert and its key do not belong together (the private key is " +
			"another certificate's): put in those that were made together")
	}
	return nil
}

const (
	staticKeyBegin = "-----BEGIN OpenVPN Static key V1-----"
	staticKeyEnd   = "-----END OpenVPN Static key V1-----"
)

func staticKey(text string) (string, error) {
	_, rest, found := strings.Cut(text, staticKeyBegin)
	digits, _, closed := strings.Cut(rest, staticKeyEnd)
	if !found || !closed {
		return "", fmt.Errorf("it holds no OpenVPN static key")
	}
	key, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
	if err != nil || len(key) != staticKeyBytes {
		return "", fmt.Errorf("it is not a static key of %d bytes", staticKeyBytes)
	}
	var b strings.Builder
	fmt.Fprintln(&b, staticKeyBegin)
	for line := range slices.Chunk(key, 16) {
		fmt.Fprintf(&b, "%x\n", line)
	}
	fmt.Fprintln(&b, staticKeyEnd)
	return b.String(), nil
}

// revocations keeps each revocation list only while it is valid: OpenVPN refuses every server once
// it has expired.
func (p *parser) revocations(d directive, text string) (string, error) {
	blocks := pemBlocks(text, "X509 CRL")
	if len(blocks) == 0 {
		p.find(d, Warning, "it holds no revocation list%s; ignored", damaged(text))
	}
	var out strings.Builder
	for _, b := range blocks {
		list, err := x509.ParseRevocationList(b.Bytes)
		switch {
		case err != nil:
			p.find(d, Warning, "the revocation list cannot be read (%v); ignored", err)
		case time.Now().After(list.NextUpdate):
			p.find(d, Warning,
				"the revocation list expired on %s and would refuse every server; ignored",
				list.NextUpdate.UTC().Format(time.DateOnly))
		default:
			out.Write(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: b.Bytes}))
		}
	}
	return out.String(), nil
}

// rc2OID is pbeWithSHAAnd40BitRC2-CBC (1.2.840.113549.1.12.1.6, RFC 7292), which older tools use in
// PKCS #12 files and only OpenSSL's legacy provider knows.
var rc2OID = []byte{0x06, 0x0a, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x01, 0x06}

func (p *parser) pkcs12(text string) (string, error) {
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	if err == nil {
		err = broken(der, 0)
	}
	if err != nil {
		return "", fmt.Errorf("it is no PKCS #12 bundle in base64 that can be read, perhaps cut " +
			"off")
	}
	p.profile.legacy = p.profile.legacy || bytes.Contains(der, rc2OID)
	var b strings.Builder
	for line := range slices.Chunk([]byte(base64.StdEncoding.EncodeToString(der)), 64) {
		fmt.Fprintf(&b, "%s\n", line)
	}
	return b.String(), nil
}

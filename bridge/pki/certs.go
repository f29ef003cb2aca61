package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// ServerName is the common name of the server's certificate, which every client profile asks for.
const ServerName = "ztbridge-endpoint"

const (
	// caLife is long because a new authority makes every client profile invalid.
	caLife     = 20 * 365 * 24 * time.Hour
	serverLife = 397 * 24 * time.Hour
	// DefaultClientLife is the life of a client's certificate when none is asked for.
	DefaultClientLife = 5 * 365 * 24 * time.Hour
	// crlLife is long because an expired revocation list locks every client out.
	crlLife = 10 * 365 * 24 * time.Hour

	// backdate makes what is renewed by itself valid for a peer whose clock is slow. A board
	// without a battery can be a day late until its first NTP answer.
	backdate = 24 * time.Hour

	pemCert = "CERTIFICATE"
	pemKey  = "PRIVATE KEY"
	pemCRL  = "X509 CRL"
)

var (
	// always is when the certificates of the authority and of clients begin: nothing renews them,
	// so the box's clock may have been ahead when they were made.
	always = time.Unix(0, 0)
	// earliest is the least time that a certificate's life is counted from. A board that has not
	// asked for the time yet believes in 1970 or in the date of its last shutdown.
	earliest = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

// pair is a certificate with its key.
type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newCA makes a self-signed authority on P-256, which every OpenVPN client can verify.
func newCA(now time.Time) (pair, error) {
	serial := newSerial()
	tmpl := &x509.Certificate{
		SerialNumber: serial,
		// The serial in the name tells two boxes' authorities apart.
		Subject:               pkix.Name{CommonName: "ztbridge CA " + formatSerial(serial)[:8]},
		NotBefore:             always,
		NotAfter:              later(now, earliest).Add(caLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	return issue(tmpl, nil)
}

func newServer(ca pair, now time.Time) (pair, error) {
	return leaf(ca, ServerName, x509.ExtKeyUsageServerAuth, now.Add(-backdate),
		now.Add(serverLife))
}

func newClient(ca pair, name string, expires time.Time) (pair, error) {
	return leaf(ca, name, x509.ExtKeyUsageClientAuth, always, expires)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func leaf(ca pair, name string, use x509.ExtKeyUsage, from, expires time.Time) (pair, error) {
	if expires.After(ca.cert.NotAfter) {
		expires = ca.cert.NotAfter
	}
	tmpl := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             from,
		NotAfter:              expires,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{use},
	}
	if use == x509.ExtKeyUsageServerAuth {
		tmpl.DNSNames = []string{name}
	}
	return issue(tmpl, &ca)
}

// issue makes a key and signs its certificate by ca, or by itself when ca is nil.
func issue(tmpl *x509.Certificate, ca *pair) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, fmt.Errorf("making a key: %w", err)
	}
	parent, signer := tmpl, crypto.Signer(key)
	if ca != nil {
		parent, signer = ca.cert, ca.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	if err != nil {
		return pair{}, fmt.Errorf("signing the certificate of %s: %w", tmpl.Subject.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return pair{}, fmt.Errorf("reading back the certificate of %s: %w", tmpl.Subject.CommonName,
			err)
	}
	return pair{cert: cert, key: key}, nil
}

// newCRL signs a list of the revocations whose certificates have not expired. Its number is the
// time in nanoseconds, because numbers must grow, even after a restore.
func newCRL(ca pair, revoked []revocation, now time.Time) ([]byte, error) {
	tmpl := &x509.RevocationList{
		Number:     big.NewInt(now.UnixNano()),
		ThisUpdate: now.Add(-backdate),
		NextUpdate: now.Add(crlLife),
	}
	for _, r := range revoked {
		if now.After(r.Expires) {
			continue
		}
		serial, err := parseSerial(r.Serial)
		if err != nil {
			return nil, err
		}
		tmpl.RevokedCertificateEntries = append(tmpl.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: serial, RevocationTime: r.At})
	}
	der, err := x509.CreateRevocationList(rand.Reader, tmpl, ca.cert, ca.key)
	if err != nil {
		return nil, fmt.Errorf("signing the revocation list: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemCRL, Bytes: der}), nil
}

// newSerial returns a random serial number of 119 bits, within the 20 octets of RFC 5280.
func newSerial() *big.Int {
	b := make([]byte, 15)
	rand.Read(b)
	b[0] |= 0x40 // always 30 digits
	return new(big.Int).SetBytes(b)
}

func formatSerial(n *big.Int) string { return fmt.Sprintf("%x", n) }

func parseSerial(s string) (*big.Int, error) {
	n, ok := new(big.Int).SetString(s, 16)
	if !ok || n.Sign() <= 0 || n.BitLen() > 159 {
		return nil, fmt.Errorf("not a serial number: %.50q", s)
	}
	return n, nil
}

func (p pair) certPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemCert, Bytes: p.cert.Raw})
}

func (p pair) keyPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		return nil, fmt.Errorf("encoding a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der}), nil
}

func (p pair) encode() ([]byte, error) {
	key, err := p.keyPEM()
	if err != nil {
		return nil, err
	}
	return append(p.certPEM(), key...), nil
}

// parsePair reads a certificate and its key, and returns what follows them.
func parsePair(data []byte) (pair, []byte, error) {
	certBlock, rest := pem.Decode(data)
	if certBlock == nil || certBlock.Type != pemCert {
		return pair{}, nil, errors.New("no certificate in it")
	}
	keyBlock, rest := pem.Decode(rest)
	if keyBlock == nil || keyBlock.Type != pemKey {
		return pair{}, nil, errors.New("no private key in it")
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return pair{}, nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return pair{}, nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return pair{}, nil, fmt.Errorf("a key of type %T", parsed)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return pair{}, nil, errors.New("certificate and key do not belong together")
	}
	return pair{cert: cert, key: key}, bytes.TrimSpace(rest), nil
}

func parseCRL(data []byte) (*x509.RevocationList, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != pemCRL {
		return nil, errors.New("reading the revocation list: it is damaged")
	}
	crl, err := x509.ParseRevocationList(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading the revocation list: %w", err)
	}
	return crl, nil
}

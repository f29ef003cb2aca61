package ovpntest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
)

// PKI is that of a provider: made for one test, and thrown away.
type PKI struct {
	t                  *testing.T
	CA, Server, Client *Cert
}

// Cert is a certificate with its key, both in PEM.
type Cert struct {
	PEM, Key string
	cert     *x509.Certificate
	signer   *ecdsa.PrivateKey
}

// NewPKI returns an authority with a certificate of a server and one of a client.
func NewPKI(t *testing.T) *PKI {
	p := &PKI{t: t}
	p.CA = p.Authority("Example Provider CA")
	p.Server = p.Issue("server.example.net", x509.ExtKeyUsageServerAuth,
		time.Now().Add(24*time.Hour))
	p.Client = p.Issue("customer-1", x509.ExtKeyUsageClientAuth, time.Now().Add(240*24*time.Hour))
	return p
}

// Authority makes a self-signed authority.
func (p *PKI) Authority(name string) *Cert {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{
			CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(240 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	return p.sign(template, nil)
}

// Issue makes a certificate that ends at the given time.
func (p *PKI) Issue(name string, usage x509.ExtKeyUsage, end time.Time) *Cert {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-47 * time.Hour), NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}
	return p.sign(template, p.CA)
}

func (p *PKI) sign(template *x509.Certificate, by *Cert) *Cert {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.signer
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		p.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		p.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		p.t.Fatal(err)
	}
	return &Cert{
		PEM:  string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		Key:  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})),
		cert: cert, signer: key,
	}
}

// Revocations returns a list of the authority that revokes nobody, in PEM.
func (p *PKI) Revocations() string {
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour),
		NextUpdate: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateRevocationList(rand.Reader, template, p.CA.cert, p.CA.signer)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
}

// StaticKey returns a tls-crypt key made of one byte.
func StaticKey(b byte) string {
	line := strings.Repeat(hex.EncodeToString([]byte{b}), 16) + "\n"
	return "-----BEGIN OpenVPN Static key V1-----\n" + strings.Repeat(line, 16) +
		"-----END OpenVPN Static key V1-----\n"
}

// Inline returns an inline block of a profile.
func Inline(name, body string) string {
	return fmt.Sprintf("<%s>\n%s</%s>", name, body, name)
}

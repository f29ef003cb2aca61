package openvpn

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

// testPKI is a provider's: made for one test, and thrown away.
type testPKI struct {
	t                  *testing.T
	ca, server, client *testCert
}

type testCert struct {
	pem, key string
	cert     *x509.Certificate
	signer   *ecdsa.PrivateKey
}

func newTestPKI(t *testing.T) *testPKI {
	p := &testPKI{t: t}
	p.ca = p.authority("Example Provider CA")
	p.server = p.issue("server.example.net", x509.ExtKeyUsageServerAuth,
		time.Now().Add(24*time.Hour))
	p.client = p.issue("customer-1", x509.ExtKeyUsageClientAuth, time.Now().Add(240*24*time.Hour))
	return p
}

func (p *testPKI) authority(name string) *testCert {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{
			CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(240 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	return p.sign(template, nil)
}

// issue makes a certificate that ends at the given time.
func (p *testPKI) issue(name string, usage x509.ExtKeyUsage, end time.Time) *testCert {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-47 * time.Hour), NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}
	return p.sign(template, p.ca)
}

func (p *testPKI) sign(template *x509.Certificate, by *testCert) *testCert {
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
	return &testCert{
		pem:  string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		key:  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})),
		cert: cert, signer: key,
	}
}

// testStaticKey returns a tls-crypt key made of one byte.
func testStaticKey(b byte) string {
	line := strings.Repeat(hex.EncodeToString([]byte{b}), 16) + "\n"
	return staticKeyBegin + "\n" + strings.Repeat(line, 16) + staticKeyEnd + "\n"
}

func inline(name, body string) string {
	return fmt.Sprintf("<%s>\n%s</%s>", name, body, name)
}

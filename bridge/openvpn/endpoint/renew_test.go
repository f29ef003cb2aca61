package endpoint_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ztbridge/bridge/lab"
	"ztbridge/bridge/pki"
)

// TestRenewal puts a revocation list and a server's certificate that are near their end under a
// running endpoint. It makes both again; a client stays connected meanwhile, or is back after a
// moment, with the profile as it is.
func TestRenewal(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	_, profile := l.add(pki.Request{Name: "phone"})
	ns := l.host()
	p := l.connect(ns, profile)
	defer p.Stop()
	awaitEcho(t, ns, innerAddr)
	s, err := lab.StartStream(lab.StreamConfig{
		From: ns, Kind: lab.UDP, To: netip.AddrPortFrom(innerAddr,
			lab.EchoPort), Rate: 50, Marker: lab.NewMarker(),
	})
	must(t, err)
	awaitAnswers(t, s)
	before, _ := l.session("phone", "udp/1194")
	ca := l.authority()
	year := time.Now().AddDate(1, 0, 0)

	l.put("crl.pem", ca.agedCRL(t))
	await(t, "openvpn has a new revocation list", func() bool {
		list, err := x509.ParseRevocationList(decode(t,
			filepath.Join(l.dir, "run", "endpoint", "udp1194", "crl.pem")))
		return err == nil && list.NextUpdate.After(year)
	})
	awaitAnswers(t, s)
	if now, _ := l.session("phone", "udp/1194"); now.Since != before.Since {
		t.Error("the renewal of the revocation list ended the session")
	}

	l.put("server.pem", ca.agedServer(t))
	await(t, "the server's certificate is a new one", func() bool {
		c, err := x509.ParseCertificate(decode(t,
			filepath.Join(l.dir, "state", "pki", "server.pem")))
		return err == nil && c.NotAfter.After(year)
	})
	await(t, "the client is back", func() bool {
		now, ok := l.session("phone", "udp/1194")
		return ok && now.Since.After(before.Since)
	})
	awaitEcho(t, ns, innerAddr)
	t.Logf("a new certificate: no answers for %s", s.Stop().LongestGap().Round(10*time.Millisecond))
}

// authority is the key store's, as the store keeps it.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func (l *testbed) authority() authority {
	l.t.Helper()
	raw, err := os.ReadFile(filepath.Join(l.dir, "state", "pki", "ca.pem"))
	must(l.t, err)
	first, rest := pem.Decode(raw)
	second, _ := pem.Decode(rest)
	cert, err := x509.ParseCertificate(first.Bytes)
	must(l.t, err)
	key, err := x509.ParsePKCS8PrivateKey(second.Bytes)
	must(l.t, err)
	return authority{cert, key.(crypto.Signer)}
}

// What is aged has lived for ten hours, and has one left.
var begun, ending = time.Now().Add(-10 * time.Hour), time.Now().Add(time.Hour)

func (a authority) agedCRL(t testing.TB) []byte {
	t.Helper()
	der, err := x509.CreateRevocationList(rand.Reader,
		&x509.RevocationList{Number: big.NewInt(1), ThisUpdate: begun,
			NextUpdate: ending}, a.cert, a.key)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

func (a authority) agedServer(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{
			CommonName: pki.ServerName}, NotBefore: begun, NotAfter: ending,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{
			x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	must(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})...)
}

// put replaces a file of the key store, at once.
func (l *testbed) put(name string, data []byte) {
	l.t.Helper()
	path := filepath.Join(l.dir, "state", "pki", name)
	must(l.t, os.WriteFile(path+".new", data, 0o600))
	must(l.t, os.Rename(path+".new", path))
}

// decode returns what is in the first block of a PEM file; nil while there is none.
func decode(t testing.TB, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	must(t, err)
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil
	}
	return block.Bytes
}

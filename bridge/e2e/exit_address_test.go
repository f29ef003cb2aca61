package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
)

// TestExitAddress asks a service of the lab which address it sees: it is the provider's, the
// service's name was resolved by the provider, and what answers first with something else is not
// believed. Nothing of it leaves by the box's own line.
func TestExitAddress(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{})
	b := newBox(t, top.Box)
	b.write("provider.ovpn", top.Providers[0].Config())
	b.write("ztbridge.yaml", gatewayConfig+
		`exit_address: ["https://liar.lab", "https://address.lab"]`+"\n")
	pair := certificateFor(t, b, "address.lab", "liar.lab")
	b.env = append(b.env, "SSL_CERT_FILE="+filepath.Join(b.dir, "roots.pem"),
		"SSL_CERT_DIR="+b.dir)
	var direct atomic.Int32
	serveHTTPS := func(address string, handle http.HandlerFunc) {
		l, err := top.Internet.Listen("tcp", net.JoinHostPort(address, "443"))
		must(t, err)
		server := &http.Server{ReadHeaderTimeout: time.Minute, TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{pair}},
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				host, _, _ := net.SplitHostPort(r.RemoteAddr)
				if host == lab.BoxWAN4.String() || host == lab.BoxWAN6.String() {
					direct.Add(1)
				}
				handle(w, r)
			})}
		go func() { _ = server.ServeTLS(l, "", "") }()
		t.Cleanup(func() { _ = server.Close() })
	}
	const liar4, liar6 = "8.8.8.8", "2001:4860:4860::8888" // of the lab's Internet host
	for _, liar := range []string{liar4, liar6} {
		serveHTTPS(liar, func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "\x1b[2J10.0.0.1", strings.Repeat("x", 1<<20))
		})
	}
	for _, honest := range []string{lab.HostTarget4.String(), lab.HostTarget6.String()} {
		serveHTTPS(honest, func(w http.ResponseWriter, r *http.Request) {
			host, _, _ := net.SplitHostPort(r.RemoteAddr)
			fmt.Fprintf(w, "ip=%s\nloc=NL\n", host)
		})
	}
	top.Zone.Set("address.lab", lab.HostTarget4, lab.HostTarget6)
	top.Zone.Set("liar.lab", netip.MustParseAddr(liar4),
		netip.MustParseAddr(liar6))
	b.start()
	st := b.await("both exit addresses", func(st api.Status) bool {
		return len(st.Egresses) == 1 && len(st.Egresses[0].ExitAddresses) == 2
	})
	for i, want := range []fmt.Stringer{top.Providers[0].Public4[0], top.Providers[0].Public6[0]} {
		got := st.Egresses[0].ExitAddresses[i]
		if got.Address.String() != want.String() || got.Country != "NL" ||
			got.Service != "address.lab" {
			t.Errorf("exit address %+v, want %v in NL by address.lab", got, want)
		}
	}
	if text := b.mustRun("status"); !strings.Contains(text, fmt.Sprintf(
		"The Internet sees %s in NL", top.Providers[0].Public4[0])) {
		t.Errorf("status does not tell:\n%s", text)
	}
	asked := 0
	for _, q := range top.Providers[0].DNS.Queries() {
		if strings.HasPrefix(q.Name, "address.lab") {
			asked++
		}
	}
	for _, q := range top.DNS.Queries() {
		if strings.HasPrefix(q.Name, "address.lab") {
			t.Errorf("%s was asked of the Internet's resolver by %v", q.Name, q.Source)
		}
	}
	if asked == 0 {
		t.Error("the provider's resolver was not asked for the service")
	}
	if n := direct.Load(); n > 0 {
		t.Errorf("the box asked %d times by its own line", n)
	}
}

// certificateFor makes a certificate for names, which the box's own roots.pem vouches for.
func certificateFor(t *testing.T, b *box, names ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: names, IsCA: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	b.write("roots.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

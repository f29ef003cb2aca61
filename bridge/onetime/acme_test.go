package onetime

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"ztbridge/bridge/certfile"
)

// testCA signs certificates of test servers.
type testCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newTestCA(t *testing.T) testCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{
			CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(
			time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return testCA{cert, key, pool}
}

// issue returns certificate and key in PEM for a name, or for 127.0.0.1.
func (ca testCA) issue(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial, DNSNames: []string{name}, IPAddresses: []net.IP{
			net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{
			x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, k.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// TestACME obtains a certificate from Pebble, Let's Encrypt's own test authority, which really
// connects back to our server for the TLS-ALPN-01 challenge.
//
//	this test ──1. https──▶ server ──2. order──▶ pebble ──3. where is vm.example.org?──▶ dns
//	                          ▲───────4. tls-alpn challenge──┘
func TestACME(t *testing.T) {
	program, err := exec.LookPath("pebble")
	if err != nil {
		t.Skip("SKIPPED: ACME is not tested, there is no pebble on the PATH " +
			"(go install github.com/letsencrypt/pebble/v2/cmd/pebble@v2.10.1)")
	}
	ca := newTestCA(t)
	trusting := &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: ca.pool}}, Timeout: 30 * time.Second,
	}
	defer trusting.CloseIdleConnections()
	directory := "127.0.0.1:" + freePort(t)
	management := "127.0.0.1:" + freePort(t)
	cache := filepath.Join(t.TempDir(), "acme")
	s := serve(t, Config{TLS: TLS{ACME: &ACME{
		Directory: "https://" + directory + "/dir", Email: "operator@example.org",
		CacheDir: cache, Client: trusting,
	}}})
	startPebble(t, program, ca, directory, management, int(s.Addr().Port()))
	awaitHTTP(t, trusting, "https://"+directory+"/dir")

	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(download(t, trusting, "https://"+management+"/roots/0")) {
		t.Fatal("pebble shows no root certificate")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: "vm.example.org"}}
	conn, err := dialer.DialContext(ctx, "tcp", s.Addr().String())
	if err != nil {
		t.Fatalf("the server has no certificate of the authority: %v", err)
	}
	defer conn.Close()
	file := CacheFile(cache, "VM.example.org.") // the page reads it
	if err := certfile.New(file, file).Check("vm.example.org", time.Now()); err != nil {
		t.Error(err)
	}
	if link, _ := issue(t, s, "phone"); link.Fingerprint != "" {
		t.Error("a fingerprint is shown for a certificate that an authority vouches for")
	}
}

func TestACMENeedsAName(t *testing.T) {
	_, err := Config{TLS: TLS{ACME: &ACME{}}, Host: "203.0.113.9", Now: time.Now}.openTLS()
	if err == nil {
		t.Error("ACME was accepted for an address")
	}
}

// A directory that gives no certificate is said with the link, and in the status from then on.
func TestACMEIsRefused(t *testing.T) {
	asked := 0
	directory := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w,
			`{"type": "urn:ietf:params:acme:error:unauthorized", "detail": "not with us"}`)
	}))
	defer directory.Close()
	s := serve(t, Config{TLS: TLS{ACME: &ACME{Directory: directory.URL,
		CacheDir: filepath.Join(t.TempDir(), "acme")}}})
	if err := s.Check(); err != nil {
		t.Errorf("before anybody has asked: %v", err)
	}
	for range 2 { // autocert itself forgets the reason
		if _, err := s.Issue("phone", []byte("profile"), always); err == nil ||
			!strings.Contains(err.Error(), "not with us") {
			t.Errorf("a link with a certificate that nobody has: %v", err)
		}
	}
	if err := s.Check(); err == nil || !strings.Contains(err.Error(), "not with us") {
		t.Errorf("it is %v", err)
	}
	if asked != 1 {
		t.Errorf("the directory was asked %d times within a minute", asked)
	}
}

// An authority that does not answer keeps nobody from stopping.
func TestACMEDoesNotHoldUpTheEnd(t *testing.T) {
	asked, answer := make(chan struct{}, 1), make(chan struct{})
	directory := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-answer
	}))
	defer directory.Close()
	defer close(answer)
	authority := ACME{Directory: directory.URL, CacheDir: filepath.Join(t.TempDir(), "acme")}
	o := &obtained{manager: authority.manager("vm.example.org"), host: "vm.example.org",
		now: time.Now}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		o.run(ctx)
		close(done)
	}()
	select {
	case <-asked:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody was asked")
	}
	cancel()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Error("it waits for the authority")
	}
}

func startPebble(t *testing.T, program string, ca testCA, directory, management string,
	challengePort int) {
	t.Helper()
	dir := t.TempDir()
	cert, key := ca.issue(t, "localhost")
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": directory, "managementListenAddress": management,
		"certificate": filepath.Join(dir, "cert.pem"), "privateKey": filepath.Join(dir, "key.pem"),
		"httpPort": 1, "tlsPort": challengePort,
	}})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"cert.pem": cert, "key.pem": key,
		"config.json": config} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	cmd := exec.Command(program, "-config", filepath.Join(dir, "config.json"), "-dnsserver",
		localDNS(t))
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed, as asked
		if t.Failed() {
			t.Logf("pebble:\n%s", log.String())
		}
	})
}

// localDNS answers every question for an address with 127.0.0.1, over TCP, as pebble asks.
func localDNS(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{Listener: l,
		Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			m := new(dns.Msg).SetReply(q)
			if q.Question[0].Qtype == dns.TypeA {
				m.Answer = append(m.Answer, &dns.A{
					Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA,
						Class: dns.ClassINET, Ttl: 1},
					A: net.IPv4(127, 0, 0, 1),
				})
			}
			_ = w.WriteMsg(m) // pebble asks again
		})}
	done := make(chan error, 1)
	go func() { done <- server.ActivateAndServe() }()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String()
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func awaitHTTP(t *testing.T, c *http.Client, url string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		resp, err := c.Get(url)
		if err == nil {
			_ = resp.Body.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not answer: %v", url, err)
		}
	}
}

func download(t *testing.T, c *http.Client, url string) []byte {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

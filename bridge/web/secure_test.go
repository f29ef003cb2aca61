package web

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/certfile"
)

// securePage is a page that listens on loopback, with and without TLS.
type securePage struct {
	t          *testing.T
	server     *Server
	cert, key  string // files
	roots      *x509.CertPool
	http, tls  int // ports
	fromOwner  *http.Client
	serialSeen *big.Int // of the certificate of the last answer
}

func serveSecurely(t *testing.T, hosts ...string) *securePage {
	t.Helper()
	p := newSecurePage(t, hosts...)
	p.serve(p.http, p.tls)
	return p
}

func newSecurePage(t *testing.T, hosts ...string) *securePage {
	t.Helper()
	dir := t.TempDir()
	p := &securePage{t: t, cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"),
		http: freePort(t), tls: freePort(t)}
	p.certify(1, time.Now().Add(time.Hour), hosts...)
	of := &box{}
	status := working()
	status.Ingresses = []api.Ingress{{Name: "home", Kind: "zerotier", Interface: "lo"}}
	of.set(status)
	p.server = New(Config{Backend: of, Dir: filepath.Join(dir, "page"), Box: "box",
		Names: []string{"ztbridge.local"}, Port: uint16(p.http), HTTPSPort: uint16(p.tls),
		Cert: certfile.New(p.cert, p.key), Log: slog.New(slog.DiscardHandler)})
	if err := p.server.accounts.Set(Owner, ownerPassword); err != nil {
		t.Fatal(err)
	}
	p.fromOwner = &http.Client{Timeout: 30 * time.Second, CheckRedirect: func(*http.Request,
		[]*http.Request) error {
		return http.ErrUseLastResponse
	}, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
		}, TLSClientConfig: &tls.Config{RootCAs: p.roots, ServerName: hosts[0]}}}
	return p
}

// serve starts the page, and waits until these ports are listened on.
func (p *securePage) serve(ports ...int) {
	ctx, cancel := context.WithCancel(p.t.Context())
	ended := make(chan struct{})
	go func() { p.server.Run(ctx); close(ended) }()
	p.t.Cleanup(func() { cancel(); <-ended })
	for _, port := range ports {
		for {
			conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
			if err == nil {
				_ = conn.Close()
				break
			}
			select {
			case <-p.t.Context().Done():
				p.t.Fatal(err)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// certify writes a new certificate for hosts, which vouches for itself.
func (p *securePage) certify(serial int64, until time.Time, hosts ...string) {
	p.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	of := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "c"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: until, IsCA: true,
		BasicConstraintsValid: true}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			of.IPAddresses = append(of.IPAddresses, ip)
		} else {
			of.DNSNames = append(of.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, of, of, key.Public(), key)
	if err != nil {
		p.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		p.t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{p.key: {Type: "PRIVATE KEY", Bytes: private},
		p.cert: {Type: "CERTIFICATE", Bytes: der}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		p.t.Fatal(err)
	}
	if p.roots == nil {
		p.roots = x509.NewCertPool()
	}
	p.roots.AddCert(cert)
}

func (p *securePage) ask(method, address string, edits ...func(*http.Request)) *http.Response {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), method, address, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, edit := range edits {
		edit(r)
	}
	response, err := p.fromOwner.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.TLS != nil {
		p.serialSeen = response.TLS.PeerCertificates[0].SerialNumber
	}
	return response
}

// TestPageByTLS: a name of the certificate leads to TLS, an address that it is not for does not,
// cookies are of TLS alone, and a renewed certificate is presented without a restart.
func TestPageByTLS(t *testing.T) {
	p := serveSecurely(t, "vm.example.org", "*.home.example.org")
	plain, secure := ":"+strconv.Itoa(p.http), ":"+strconv.Itoa(p.tls)
	for host, want := range map[string]string{
		"vm.example.org":           "https://vm.example.org" + secure + "/login?x=//evil.example",
		"VM.Example.ORG.":          "https://vm.example.org" + secure + "/login?x=//evil.example",
		"pi.home.example.org":      "https://pi.home.example.org" + secure + "/login?x=//evil.example",
		"127.0.0.1":                "", // a browser would warn of it
		"ztbridge.local":           "",
		"a.pi.home.example.org":    "misdirected",
		"vm.example.org.evil.test": "misdirected",
	} {
		response := p.ask(http.MethodGet, "http://127.0.0.1"+plain+"/login?x=//evil.example",
			func(r *http.Request) { r.Host = host + plain })
		got := response.Header.Get("Location")
		if response.StatusCode == http.StatusMisdirectedRequest {
			got = "misdirected"
		}
		if got != want || (want == "") != (response.StatusCode == http.StatusOK) {
			t.Errorf("http://%s: %d, %q, want %q", host, response.StatusCode, got, want)
		}
	}
	for _, kind := range []string{"http://127.0.0.1" + plain, "https://vm.example.org" + secure} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, kind+"/login",
			strings.NewReader(url.Values{"password": {ownerPassword}}.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		response, err := p.fromOwner.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		cookies, byTLS := response.Cookies(), strings.HasPrefix(kind, "https")
		if len(cookies) != 1 || cookies[0].Secure != byTLS ||
			strings.HasPrefix(cookies[0].Name, "__Host-") != byTLS {
			t.Fatalf("%s: the cookie is %+v", kind, cookies)
		}
		// What was logged in by TLS is of no use without it.
		other := p.ask(http.MethodGet, "http://127.0.0.1"+plain+"/", func(r *http.Request) {
			r.AddCookie(cookies[0])
		})
		if got := other.StatusCode == http.StatusOK; got == byTLS {
			t.Errorf("the cookie of %s without TLS: %d", kind, other.StatusCode)
		}
		if h := response.Header.Get("Strict-Transport-Security"); h != "" {
			t.Errorf("other ports than 80 and 443 are told of %q", h)
		}
	}

	p.certify(2, time.Now().Add(time.Hour), "vm.example.org")
	for p.ask(http.MethodGet, "https://vm.example.org"+secure+"/login"); p.serialSeen.Int64() != 2; {
		t.Fatalf("the certificate is still number %v", p.serialSeen)
	}
	p.server.config.Port, p.server.config.HTTPSPort = 80, 443
	if h := p.ask(http.MethodGet, "https://vm.example.org"+secure+"/login").Header.Get(
		"Strict-Transport-Security"); h != hsts {
		t.Errorf("told of %q", h)
	}
	if h := p.ask(http.MethodGet, "https://127.0.0.1"+secure+"/login").Header.Get(
		"Strict-Transport-Security"); h != "" {
		t.Errorf("a host that the certificate is not for is told of %q", h)
	}
	p.certify(3, time.Now().Add(-time.Minute), "vm.example.org") // nobody has renewed it
	if response := p.ask(http.MethodGet, "http://127.0.0.1"+plain+"/login"); response.StatusCode !=
		http.StatusOK {
		t.Errorf("with an expired certificate: %d", response.StatusCode)
	}
	if p.server.covers("vm.example.org") {
		t.Error("browsers are sent to an expired certificate")
	}
}

// TestPageWithoutItsCertificate works as if none was configured.
func TestPageWithoutItsCertificate(t *testing.T) {
	p := newSecurePage(t, "vm.example.org")
	if err := os.Remove(p.cert); err != nil {
		t.Fatal(err)
	}
	p.serve(p.http)
	plain := ":" + strconv.Itoa(p.http)
	if r := p.ask(http.MethodGet, "http://127.0.0.1"+plain+"/login"); r.StatusCode != http.StatusOK {
		t.Errorf("without TLS: %d", r.StatusCode)
	}
	if _, err := p.fromOwner.Get("https://vm.example.org:" + strconv.Itoa(p.tls)); err == nil {
		t.Error("TLS works without a certificate")
	}
}

package onetime

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// clock is a clock that a test sets.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// serve runs a server on loopback until the test ends.
func serve(t *testing.T, c Config) *Server {
	t.Helper()
	if !c.Listen.IsValid() {
		c.Listen = netip.MustParseAddrPort("127.0.0.1:0")
	}
	if c.Host == "" {
		c.Host = "vm.example.org"
	}
	if c.Port == 0 {
		c.Port = 443
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run ended with %v", err)
		}
	})
	return s
}

// client speaks to the server whatever name the URL has, and trusts any certificate.
func client(t *testing.T) *http.Client {
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

func request(t *testing.T, s *Server, method, path string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, "https://"+s.Addr().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func always() bool { return true }

func issue(t *testing.T, s *Server, name string) (Link, string) {
	t.Helper()
	link, err := s.Issue(name, []byte("profile of "+name), always)
	if err != nil {
		t.Fatal(err)
	}
	return link, strings.TrimPrefix(link.URL, "https://vm.example.org")
}

func TestLinkWorksOnce(t *testing.T) {
	s := serve(t, Config{})
	link, path := issue(t, s, "phone")
	if link.Import != "openvpn://import-profile/"+link.URL {
		t.Errorf("import link %q", link.Import)
	}
	head, _ := request(t, s, http.MethodHead, path)
	if head.StatusCode != http.StatusOK {
		t.Errorf("HEAD answered %s", head.Status)
	}
	resp, body := request(t, s, http.MethodGet, path)
	if resp.StatusCode != http.StatusOK || body != "profile of phone" {
		t.Fatalf("the first download: %s %q", resp.Status, body)
	}
	for _, r := range []*http.Response{head, resp} {
		r.Header.Del("Date")
	}
	if diff := cmp.Diff(head.Header, resp.Header); diff != "" {
		t.Errorf("HEAD and GET differ (-head +get):\n%s", diff)
	}
	if got := resp.Header.Get("Content-Disposition"); got != `attachment; filename="phone.ovpn"` {
		t.Errorf("Content-Disposition %q", got)
	}
	if resp, _ := request(t, s, http.MethodHead, path); resp.StatusCode != http.StatusNotFound {
		t.Errorf("HEAD after the download: %s, want it refused", resp.Status)
	}
	if resp, body := request(t, s, http.MethodGet, path); resp.StatusCode != http.StatusNotFound ||
		strings.Contains(body, "profile") {
		t.Errorf("the second download: %s %q, want it refused", resp.Status, body)
	}
}

func TestOnlyOneOfManyDownloadsWins(t *testing.T) {
	s := serve(t, Config{})
	_, path := issue(t, s, "phone")
	const n = 16
	won := make(chan bool, n)
	for range n {
		go func() {
			resp, err := client(t).Get("https://" + s.Addr().String() + path)
			if err != nil {
				won <- false
				return
			}
			defer resp.Body.Close()
			won <- resp.StatusCode == http.StatusOK
		}()
	}
	wins := 0
	for range n {
		if <-won {
			wins++
		}
	}
	if wins != 1 {
		t.Errorf("%d of %d simultaneous downloads succeeded, want 1", wins, n)
	}
}

func TestLinkEnds(t *testing.T) {
	for name, end := range map[string]func(*Server, *clock){
		"after ten minutes": func(_ *Server, c *clock) { c.add(Life) },
		"when issued again": func(s *Server, _ *clock) {
			_,
				_ = s.Issue("phone", []byte("x"), always)
		},
		"the clock of a year": func(_ *Server, c *clock) { c.add(365 * 24 * time.Hour) },
	} {
		c := &clock{t: time.Now()}
		s := serve(t, Config{Now: c.now})
		_, path := issue(t, s, "phone")
		end(s, c)
		if resp, _ := request(t, s, http.MethodGet, path); resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s the link answered %s", name, resp.Status)
		}
	}
}

// A link ends at once with the client whom it was made for.
func TestLinkEndsWithItsClient(t *testing.T) {
	s := serve(t, Config{})
	var revoked atomic.Bool
	link, err := s.Issue("phone", []byte("secret"), func() bool { return !revoked.Load() })
	if err != nil {
		t.Fatal(err)
	}
	revoked.Store(true)
	path := strings.TrimPrefix(link.URL, "https://vm.example.org")
	if resp, _ := request(t, s, http.MethodHead, path); resp.StatusCode != http.StatusNotFound {
		t.Errorf("HEAD after the download: %s, want it refused", resp.Status)
	}
	if resp, body := request(t, s, http.MethodGet, path); resp.StatusCode != http.StatusNotFound ||
		strings.Contains(body, "secret") {
		t.Errorf("the link of a revoked client answered %s %q", resp.Status, body)
	}
}

func TestStrangersSeeAWebServer(t *testing.T) {
	s := serve(t, Config{})
	resp, body := request(t, s, http.MethodGet, "/")
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(body, "<!DOCTYPE html>") {
		t.Errorf("/: %s %.40q", resp.Status, body)
	}
	for key, values := range resp.Header {
		if text := strings.ToLower(key + fmt.Sprint(values)); strings.Contains(text, "vpn") ||
			strings.Contains(text, "ztbridge") {
			t.Errorf("the header %s: %v gives the program away", key, values)
		}
	}
	for _, path := range []string{"/index.php", "/.env", "/" + strings.Repeat("A", tokenLen),
		"//" + strings.Repeat("A", tokenLen-1)} {
		if resp, _ := request(t, s, http.MethodGet, path); resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s, want 404", path, resp.Status)
		}
	}
	if resp, _ := request(t, s, http.MethodPost,
		"/"); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %s, want 405", resp.Status)
	}
}

func TestGuessingIsSlowedDownAndHarmless(t *testing.T) {
	c := &clock{t: time.Now()}
	s := serve(t, Config{Now: c.now})
	_, path := issue(t, s, "phone")
	slowed := false
	for i := range wrongBurst + 2 {
		method := []string{http.MethodGet, http.MethodHead}[i%2]
		resp, _ := request(t, s, method, "/"+strings.Repeat("B", tokenLen-2)+fmt.Sprintf("%02d", i))
		slowed = resp.StatusCode == http.StatusTooManyRequests
	}
	if !slowed {
		t.Errorf("after %d wrong tokens nothing is refused", wrongBurst+2)
	}
	if resp, _ := request(t, s, http.MethodGet, path); resp.StatusCode != http.StatusOK {
		t.Errorf("while others guess, the right token gets %s", resp.Status)
	}
}

func TestTooManyLinks(t *testing.T) {
	s := serve(t, Config{})
	var err error
	for i := range maxTickets + 1 {
		_, err = s.Issue(fmt.Sprint("c", i), nil, always)
	}
	if err == nil {
		t.Error("links can be opened without end")
	}
}

func TestURL(t *testing.T) {
	for want, c := range map[string]Config{
		"https://vm.example.org/":      {Host: "vm.example.org", Port: 443},
		"https://vm.example.org:8443/": {Host: "vm.example.org", Port: 8443},
		"https://[2001:db8::1]/":       {Host: "2001:db8::1", Port: 443},
		"https://[2001:db8::1]:8443/":  {Host: "2001:db8::1", Port: 8443},
		"https://203.0.113.9/":         {Host: "203.0.113.9", Port: 443},
	} {
		s := serve(t, c)
		link, err := s.Issue("phone", nil, always)
		if err != nil {
			t.Fatal(err)
		}
		if link.URL[:len(link.URL)-tokenLen] != want {
			t.Errorf("URL %s, want %s…", link.URL, want)
		}
	}
}

func TestFingerprintIsThatOfTheCertificate(t *testing.T) {
	s := serve(t, Config{})
	link, _ := issue(t, s, "phone")
	conn, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sum := sha256.Sum256(conn.ConnectionState().PeerCertificates[0].Raw)
	if link.Fingerprint != hex.EncodeToString(sum[:]) {
		t.Errorf("fingerprint %s, the server shows %x", link.Fingerprint, sum)
	}
}

func TestOwnCertificateIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	certPath, keyPath := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	ca := newTestCA(t)
	install := func(at time.Time) {
		cert, key := ca.issue(t, "vm.example.org")
		for path, data := range map[string][]byte{certPath: cert, keyPath: key} {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(path, at, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	install(time.Now().Add(-time.Hour))
	s := serve(t, Config{TLS: TLS{CertFile: certPath, KeyFile: keyPath}})
	if link, _ := issue(t, s, "phone"); link.Fingerprint != "" {
		t.Error("a fingerprint is shown for a certificate that the operator vouches for")
	}
	serial := func() string {
		conn, err := tls.Dial("tcp", s.Addr().String(),
			&tls.Config{RootCAs: ca.pool, ServerName: "vm.example.org"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before := serial()
	install(time.Now())
	after := serial()
	if before == after {
		t.Error("the renewed certificate is not served")
	}
	if err := os.WriteFile(keyPath, []byte("half written"), 0o600); err != nil {
		t.Fatal(err)
	}
	if serial() != after {
		t.Error("in the middle of a renewal the last good certificate is not served")
	}
}

// A certificate without its key is said with each link, and served as soon as the operator has
// mended it.
func TestOwnCertificateIsMended(t *testing.T) {
	dir := t.TempDir()
	certPath, keyPath := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	ca := newTestCA(t)
	cert, key := ca.issue(t, "vm.example.org")
	_, other := ca.issue(t, "vm.example.org")
	write := func(path string, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(certPath, cert)
	write(keyPath, other)
	s := serve(t, Config{TLS: TLS{CertFile: certPath, KeyFile: keyPath}})
	if _, err := s.Issue("phone", []byte("profile"), always); err == nil ||
		!strings.Contains(err.Error(), certPath) {
		t.Errorf("a link with a wrong key: %v, want the certificate named", err)
	}
	write(keyPath, key)
	_, path := issue(t, s, "phone")
	if resp, _ := request(t, s, http.MethodGet, path); resp.StatusCode != http.StatusOK {
		t.Errorf("the mended certificate's link answered %s", resp.Status)
	}
}

// A certificate that every client would refuse gives no link, and is said.
func TestOwnCertificateIsOfNoUse(t *testing.T) {
	dir := t.TempDir()
	certPath, keyPath := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	cert, key := newTestCA(t).issue(t, "vm.example.org")
	for path, data := range map[string][]byte{certPath: cert, keyPath: key} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		host string
		at   time.Duration
		want string // in the error; empty: there is none
	}{
		"good": {"vm.example.org", 0, ""}, "another name": {"vm.example.net", 0, "vm.example.net"},
		"expired": {"vm.example.org", 2 * time.Hour, "expired"}, "not yet valid": {"vm.example.org",
			-2 * time.Hour, "not valid before"},
	} {
		t.Run(name, func(t *testing.T) {
			now := func() time.Time { return time.Now().Add(c.at) }
			s := serve(t, Config{Host: c.host, Now: now,
				TLS: TLS{CertFile: certPath, KeyFile: keyPath}})
			_, err := s.Issue("phone", []byte("profile"), always)
			for _, err := range []error{err, s.Trouble()} {
				if (err == nil) != (c.want == "") || err != nil &&
					(!strings.Contains(err.Error(), c.want) ||
						!strings.Contains(err.Error(), certPath)) {
					t.Errorf("%v, want one with %q that names the file", err, c.want)
				}
			}
		})
	}
}

func TestListensOnLoopbackOnly(t *testing.T) {
	if s, err := New(Config{Listen: netip.MustParseAddrPort("0.0.0.0:0"),
		Host: "vm.example.org"}); err == nil {
		_ = s.Close()
		t.Error("the server listens on every address")
	}
}

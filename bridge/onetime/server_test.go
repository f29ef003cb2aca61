package onetime

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
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

	"ztbridge/bridge/certfile"
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
	if c.Dir == "" {
		c.Dir = t.TempDir()
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
	return requestWith(t, s, method, path, nil)
}

func requestWith(t *testing.T, s *Server, method, path string,
	header http.Header) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, "https://"+s.Addr().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		req.Header = header
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
	c := &clock{t: time.Now()}
	s := serve(t, Config{Now: c.now})
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
	awaitDelivered(t, s)
	// Firefox for iOS asks twice for one download.
	c.add(Grace - time.Second)
	if resp, body := request(t, s, http.MethodGet, path+"?null"); body != "profile of phone" {
		t.Errorf("within the minute of grace: %s %q", resp.Status, body)
	}
	c.add(2 * time.Second) // that did not lengthen it
	wantEnded(t, s, path)
}

// awaitDelivered waits until the server has noted that the only open link's file was delivered.
func awaitDelivered(t *testing.T, s *Server) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		s.tickets.mu.Lock()
		done := len(s.tickets.open) == 1 && s.tickets.open[0].delivered
		s.tickets.mu.Unlock()
		if done {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the download is not counted")
		}
	}
}

// wantEnded checks that a link gives a page that says what to do, and nothing else.
func wantEnded(t *testing.T, s *Server, path string) {
	t.Helper()
	if resp, _ := request(t, s, http.MethodHead, path); resp.StatusCode != http.StatusGone {
		t.Errorf("HEAD of a link that has ended: %s, want 410", resp.Status)
	}
	resp, body := request(t, s, http.MethodGet, path)
	if resp.StatusCode != http.StatusGone || strings.Contains(body, "profile of") ||
		strings.Contains(body, "secret") {
		t.Errorf("a link that has ended: %s %q, want 410", resp.Status, body)
	}
	for _, text := range []string{"no longer works", "ztbridge client show NAME --qr",
		"ztbridge client revoke NAME"} {
		if !strings.Contains(body, text) {
			t.Errorf("the page does not say %q:\n%s", text, body)
		}
	}
	if got := resp.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/html") {
		t.Errorf("the page is %s", got)
	}
}

// What only looks at a link, or asks for a part of it, leaves it as it was.
func TestLookingDoesNotSpendTheLink(t *testing.T) {
	for name, look := range map[string]struct {
		method string
		header http.Header
		status int
	}{
		"HEAD":            {http.MethodHead, nil, http.StatusOK},
		"the first byte":  {"GET", http.Header{"Range": {"bytes=0-0"}}, http.StatusPartialContent},
		"the last byte":   {"GET", http.Header{"Range": {"bytes=-1"}}, http.StatusPartialContent},
		"all but a byte":  {"GET", http.Header{"Range": {"bytes=1-"}}, http.StatusPartialContent},
		"several ranges":  {"GET", http.Header{"Range": {"bytes=0-3,8-"}}, 206},
		"no such range":   {"GET", http.Header{"Range": {"bytes=9999-"}}, 416},
		"prefetch":        {"GET", http.Header{"Sec-Purpose": {"prefetch"}}, 503},
		"prerender":       {"GET", http.Header{"Sec-Purpose": {"prefetch;prerender"}}, 503},
		"older prefetch":  {"GET", http.Header{"Purpose": {"prefetch"}}, 503},
		"Safari's":        {"GET", http.Header{"X-Purpose": {"preview"}}, 503},
		"Firefox's older": {"GET", http.Header{"X-Moz": {"prefetch"}}, 503},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &clock{t: time.Now()}
			s := serve(t, Config{Now: c.now})
			_, path := issue(t, s, "phone")
			resp, body := requestWith(t, s, look.method, path, look.header)
			if resp.StatusCode != look.status || body == "profile of phone" {
				t.Errorf("%s %q, want %d and not the profile", resp.Status, body, look.status)
			}
			c.add(2 * Grace)
			if resp, body := request(t, s, "GET", path); body != "profile of phone" {
				t.Errorf("after it, the download: %s %q", resp.Status, body)
			}
		})
	}
}

// A download in parts, as after a break, spends the link as one in a piece does.
func TestDownloadInParts(t *testing.T) {
	c := &clock{t: time.Now()}
	s := serve(t, Config{Now: c.now})
	_, path := issue(t, s, "phone")
	var whole string
	for _, part := range []string{"bytes=0-4", "bytes=5-9", "bytes=10-"} {
		_, body := requestWith(t, s, "GET", path, http.Header{"Range": {part}})
		whole += body
	}
	if whole != "profile of phone" {
		t.Errorf("the parts are %q", whole)
	}
	awaitDelivered(t, s)
	c.add(Grace)
	wantEnded(t, s, path)
}

// A download that the client breaks off does not spend the link, wherever it breaks; also not one
// that began in the link's last second.
func TestBrokenDownload(t *testing.T) {
	for name, breakOff := range map[string]func(*testing.T, net.Conn){
		"before the answer": func(*testing.T, net.Conn) {},
		"after the headers": func(t *testing.T, c net.Conn) {
			if _, err := c.Read(make([]byte, 64)); err != nil {
				t.Error(err)
			}
		},
	} {
		for _, wait := range []time.Duration{0, Life - time.Second} {
			t.Run(fmt.Sprint(name, wait), func(t *testing.T) {
				t.Parallel()
				c := &clock{t: time.Now()}
				began := make(chan struct{}, 1)
				s := serve(t, Config{Now: c.now})
				link, err := s.Issue("phone", []byte("profile of phone"), func() bool {
					select {
					case began <- struct{}{}:
					default:
					}
					return true
				})
				if err != nil {
					t.Fatal(err)
				}
				c.add(wait)
				path := strings.TrimPrefix(link.URL, "https://vm.example.org")
				conn, err := tls.Dial("tcp", s.Addr().String(),
					&tls.Config{InsecureSkipVerify: true})
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
				<-began // the server has read the request
				breakOff(t, conn)
				conn.NetConn().Close()
				time.Sleep(2 * lastByteDelay) // what the server would count, it has counted
				c.add(10 * time.Second)
				if resp, body := request(t, s, "GET", path); body != "profile of phone" {
					t.Fatalf("10 s later: %s %q", resp.Status, body)
				}
				awaitDelivered(t, s)
				c.add(Grace)
				wantEnded(t, s, path)
			})
		}
	}
}

// A browser that breaks off by HTTP/2 has not got the file either.
func TestBrokenDownloadHTTP2(t *testing.T) {
	c := &clock{t: time.Now()}
	s := serve(t, Config{Now: c.now})
	_, path := issue(t, s, "phone")
	browser := client(t)
	browser.Transport.(*http.Transport).ForceAttemptHTTP2 = true
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", "https://"+s.Addr().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := browser.Do(req)
	if err != nil || resp.ProtoMajor != 2 {
		t.Fatalf("%+v, %v; want HTTP/2", resp, err)
	}
	cancel()
	_ = resp.Body.Close()
	time.Sleep(2 * lastByteDelay)
	c.add(2 * Grace)
	if resp, body := request(t, s, "GET", path); body != "profile of phone" {
		t.Errorf("two minutes later: %s %q", resp.Status, body)
	}
}

// A link of an earlier run has ended with it, and is recognised all the same.
func TestLinkOfAnEarlierRun(t *testing.T) {
	dir := t.TempDir()
	var path string
	t.Run("first", func(t *testing.T) { _, path = issue(t, serve(t, Config{Dir: dir}), "phone") })
	wantEnded(t, serve(t, Config{Dir: dir}), path)
	if resp, _ := request(t, serve(t, Config{}), "GET", path); resp.StatusCode != 404 {
		t.Errorf("another box's link: %s, want 404 as for any stranger", resp.Status)
	}
}

// 128 connections that say nothing keep nobody from a link.
func TestSilentConnectionsKeepNobodyOut(t *testing.T) {
	s := serve(t, Config{})
	for range 2 * maxConns {
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	_, path := issue(t, s, "phone")
	began := time.Now()
	if _, body := request(t, s, "GET", path); body != "profile of phone" {
		t.Errorf("got %q", body)
	}
	if took := time.Since(began); took > ioTimeout/3 {
		t.Errorf("the download took %s", took)
	}
}

// The certificate and its fingerprint last over restarts, and change with the address.
func TestSelfSignedCertificateLasts(t *testing.T) {
	dir := t.TempDir()
	fingerprint := func(host string, at time.Duration) (got string) {
		t.Run(host, func(t *testing.T) {
			now := func() time.Time { return time.Now().Add(at) }
			s := serve(t, Config{Dir: dir, Host: host, Now: now})
			link, err := s.Issue("phone", nil, always)
			if err != nil {
				t.Fatal(err)
			}
			got = link.Fingerprint
		})
		return got
	}
	first := fingerprint("vm.example.org", 0)
	if again := fingerprint("vm.example.org", 24*time.Hour); again != first || first == "" {
		t.Errorf("after a restart the fingerprint is %q, before %q", again, first)
	}
	for name, at := range map[string]time.Duration{"behind": -50 * 365 * 24 * time.Hour,
		"of last month": -30 * 24 * time.Hour} {
		if again := fingerprint("vm.example.org", at); again != first {
			t.Errorf("with a clock that is %s the fingerprint is %q, before %q", name, again, first)
		}
	}
	moved := fingerprint("203.0.113.9", 0)
	if moved == first {
		t.Error("for another address the fingerprint is the same")
	}
	if again := fingerprint("203.0.113.9", 0); again != moved {
		t.Errorf("after a restart at the address it is %q, before %q", again, moved)
	}
	if late := fingerprint("203.0.113.9", selfSignedLife-selfSignedRest/2); late == moved {
		t.Error("a certificate near its end is kept")
	}
	for _, name := range []string{selfSignedFile, tokenKeyFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want mode 0600", name, info, err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("damaged"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if fingerprint("203.0.113.9", 0) == "" {
		t.Error("damaged files keep the server from starting")
	}
}

// A certificate that was made while the clock was not set yet is one when it is.
func TestSelfSignedCertificateOfAnEarlyClock(t *testing.T) {
	dir := t.TempDir()
	of := func(now time.Time) string {
		c, err := selfSigned(dir, "vm.example.org", now, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		cert, err := c.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := certfile.Usable(cert, "vm.example.org", time.Now()); err != nil {
			t.Errorf("made at %s: %v", now, err)
		}
		return c.fingerprint
	}
	early := of(time.Unix(3600, 0))
	if set := of(time.Now()); set != early {
		t.Errorf("with the right time the fingerprint is %q, before %q", set, early)
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
		t.Run(name, func(t *testing.T) { wantEnded(t, s, path) })
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
	wantEnded(t, s, path)
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
// repaired it.
func TestOwnCertificateIsRepaired(t *testing.T) {
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
		t.Errorf("the repaired certificate's link answered %s", resp.Status)
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
			for _, err := range []error{err, s.Check()} {
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
		Host: "vm.example.org", Dir: t.TempDir()}); err == nil {
		_ = s.Close()
		t.Error("the server listens on every address")
	}
}

// A directory that cannot be written is told as that, not as a fault of the certificate.
func TestDirectoryThatCannotBeUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "links")} {
		s, err := New(Config{Listen: netip.MustParseAddrPort("127.0.0.1:0"),
			Host: "vm.example.org", Dir: dir})
		if err == nil {
			_ = s.Close()
		}
		if !errors.Is(err, ErrDirectory) {
			t.Errorf("%s: %v, want ErrDirectory", dir, err)
		}
	}
}

package portal

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var targets = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"),
	netip.MustParseAddr("2001:db8::1")}

// intercepted returns a checker of a network whose web server answers for everybody.
func intercepted(t *testing.T, answer http.HandlerFunc, notify func()) *Checker {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return New(Config{Targets: targets, Notify: notify,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, server.Listener.Addr().String())
		}})
}

func TestPage(t *testing.T) {
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"a portal": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://login.hotel.example/?from="+r.Host, http.StatusFound)
		}, "login.hotel.example"},
		"a portal with an address": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://10.1.1.1:8443/", http.StatusTemporaryRedirect)
		}, "10.1.1.1"},
		"hosts with pages of their own": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://"+r.Host+"/", http.StatusMovedPermanently)
		}, ""},
		"one that moved": {func(w http.ResponseWriter, r *http.Request) {
			if r.Host == "192.0.2.2" {
				http.Redirect(w, r, "https://dns.example/", http.StatusFound)
			}
		}, ""},
		"all that moved, each to its own": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://www."+r.Host+".example/", http.StatusFound)
		}, ""},
		"one that is no part of it": {func(w http.ResponseWriter, r *http.Request) {
			if r.Host != "192.0.2.2" {
				http.Redirect(w, r, "https://dns.example/", http.StatusFound)
			}
		}, ""},
		"plain pages": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hi")) },
			OwnPage},
		"a sign-in that says so": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNetworkAuthenticationRequired)
		}, OwnPage},
		"a name that cannot be one": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://"+strings.Repeat("a", 254)+"/", http.StatusFound)
		}, ""},
		"nonsense": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "://")
			w.WriteHeader(http.StatusFound)
		}, ""},
	} {
		if got := intercepted(t, tt.answer, func() {}).ask(t.Context()); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	silent := New(Config{Targets: targets,
		Dial: func(context.Context, string, string) (net.Conn, error) {
			return nil, net.ErrClosed
		}})
	if got := silent.ask(t.Context()); got != "" {
		t.Errorf("a silent network: %q", got)
	}
}

// It asks while it is active, tells of what it found, and forgets it then.
func TestActive(t *testing.T) {
	news := make(chan struct{}, 1)
	c := intercepted(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://login.hotel.example/", http.StatusFound)
	}, func() { news <- struct{}{} })
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- c.Run(ctx) }()
	c.SetActive(true)
	select {
	case <-news:
	case <-time.After(time.Minute):
		t.Fatal("nothing was found")
	}
	if got := c.Page(); got != "login.hotel.example" {
		t.Errorf("found %q", got)
	}
	c.SetActive(false)
	if got := c.Page(); got != "" {
		t.Errorf("%q is not forgotten", got)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

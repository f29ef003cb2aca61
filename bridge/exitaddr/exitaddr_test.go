package exitaddr

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ztbridge/bridge/pathdial"
)

func TestParse(t *testing.T) {
	for body, want := range map[string]string{
		"203.0.113.7\n":      "203.0.113.7 ",
		" 2001:db8::7 ":      "2001:db8::7 ",
		"::ffff:203.0.113.7": "203.0.113.7 ",
		"fl=1\nip=203.0.113.7\nts=1.2\nloc=NL\nkex=X\n":                   "203.0.113.7 NL",
		"ip=203.0.113.7\nloc=XX":                                          "203.0.113.7 ",
		"ip=203.0.113.7\nloc=T1":                                          "203.0.113.7 ",
		`{"ip":"203.0.113.7","country":"Netherlands","country_iso":"NL"}`: "203.0.113.7 NL",
		`{"query":"203.0.113.7","countryCode":"DE","lat":1.5}`:            "203.0.113.7 DE",
		`{"ip":"203.0.113.7","country":"NL"}`:                             "203.0.113.7 NL",
		`{"ip":["203.0.113.7"]}`:                                          "",
		`{"ip":"203.0.113.7"`:                                             "",
		`{"ip":"203.0.113.7","country":"\u001b]0;owned"}`:                 "203.0.113.7 ",
		"fe80::1%eth0": "",
		"<html>":       "",
		"a=b":          "",
		"":             "",
	} {
		addr, country, err := parse([]byte(body))
		got := fmt.Sprint(addr, " ", country)
		if err != nil {
			got = ""
		}
		if got != want {
			t.Errorf("%q: %q, want %q", body, got, want)
		}
	}
}

// FuzzParse: whatever comes, it is an address and two letters, or nothing.
func FuzzParse(f *testing.F) {
	f.Add([]byte("ip=203.0.113.7\nloc=NL"))
	f.Add([]byte(`{"ip":"203.0.113.7","country_iso":"NL"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		addr, country, err := parse(body)
		if err != nil {
			return
		}
		if !addr.IsValid() || addr.Zone() != "" || country != "" && !countryRE.MatchString(country) {
			t.Errorf("%q: %v %q", body, addr, country)
		}
	})
}

// serve answers like a service, and returns a configuration that asks it.
func serve(t *testing.T, handle http.HandlerFunc) (Config, string) {
	s := httptest.NewTLSServer(handle)
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return Config{Roots: roots, Notify: func() {}, Logger: slog.New(slog.DiscardHandler)}, s.URL
}

func loopback(key string) Path {
	return Path{Path: pathdial.Path{Iface: "lo"}, Key: key, InUse: true}
}

// A service that does not answer as it should costs nothing but the question, and the next one is
// asked.
func TestBadAnswersAreThrownAway(t *testing.T) {
	for name, handle := range map[string]http.HandlerFunc{
		"another page": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"an error": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, "203.0.113.9")
		},
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/good" {
				http.Redirect(w, r, "/good", http.StatusFound)
				return
			}
			fmt.Fprint(w, "203.0.113.9")
		},
		"a flood": func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := fmt.Fprint(w, strings.Repeat(" ", 1<<16)); err != nil {
					return
				}
			}
		},
		"a flood of headers": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Much", strings.Repeat("x", 1<<20))
			fmt.Fprint(w, "203.0.113.9")
		},
		"a private address": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "10.0.0.1") },
		"the other version": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "2001:db8::1") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg, bad := serve(t, handle)
			good, url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprint(w, "ip=203.0.113.7\nloc=NL\n")
			})
			cfg.Roots = nil
			if _, err := New(cfg).ask(t.Context(), loopback("a"), url); err == nil {
				t.Error("a service for which nobody vouches is believed")
			}
			cfg.Roots = good.Roots
			if answer, err := New(cfg).ask(t.Context(), loopback("a"), bad); err == nil {
				t.Errorf("answer %+v", answer)
			}
			cfg.Services = []string{bad, url}
			if got := New(cfg).askAll(t.Context(), loopback("a")); got.Country != "NL" ||
				got.Addr != netip.MustParseAddr("203.0.113.7") || got.Service != "127.0.0.1" {
				t.Errorf("answer %+v", got)
			}
		})
	}
}

// Without its interface, or the resolvers for a name, nobody is asked.
func TestNothingLeavesByAnotherPath(t *testing.T) {
	var asked atomic.Int32
	cfg, url := serve(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	gone := loopback("gone")
	gone.Iface = "nosuchif0"
	for _, tt := range []struct {
		path Path
		url  string
	}{
		{gone, url}, {loopback("names"), strings.Replace(url, "127.0.0.1", "localhost", 1)},
		{Path{Path: pathdial.Path{Iface: "lo", IPv6: true}, Key: "6", InUse: true}, url},
	} {
		if answer, err := New(cfg).ask(t.Context(), tt.path, tt.url); err == nil {
			t.Errorf("%s: %+v", tt.path.Key, answer)
		}
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("asked %d times", n)
	}
}

// It asks when a path is new, keeps what it knows while the session lasts, and forgets it after.
func TestAsksOncePerSession(t *testing.T) {
	var asked atomic.Int32
	cfg, url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "203.0.113.%d", asked.Add(1))
	})
	told := make(chan struct{}, 1)
	cfg.Services, cfg.Notify = []string{url}, func() { told <- struct{}{} }
	a := New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	p, standby := loopback("a"), loopback("b")
	standby.InUse = false
	a.Set([]Path{p, standby})
	select {
	case <-told:
	case <-time.After(30 * time.Second):
		t.Fatal("nobody was asked")
	}
	p.InUse = false
	a.Set([]Path{p, standby})
	if got := a.Status(); len(got) != 1 || got["a"].Addr.String() != "203.0.113.1" {
		t.Errorf("while the path is unused: %+v", got)
	}
	p.Session, p.InUse = "another", true
	a.Set([]Path{p, standby})
	if got := a.Status(); len(got) != 0 {
		t.Errorf("in another session: %+v", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

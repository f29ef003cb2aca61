package zerotier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const testToken = "secretsecretsecretsecret"

// homeOf makes a home directory whose service is h.
func homeOf(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	home := t.TempDir()
	_, port, _ := strings.Cut(strings.TrimPrefix(srv.URL, "http://"), ":")
	for name, text := range map[string]string{"zerotier-one.port": port + "\n",
		"authtoken.secret": testToken + "\n"} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return home
}

// What may answer on the port, and what becomes of it. No answer makes the token appear anywhere.
func TestStrangeAnswers(t *testing.T) {
	good := `{"address":"375530c131","clock":1795301845405,"version":"1.14.1","online":true}`
	cases := []struct {
		name    string
		handler http.HandlerFunc
		want    error
		state   ServiceState
	}{
		{"unauthorised", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(401)
			io.WriteString(w, "{}")
		}, ErrRefused, ServiceRefused},
		{"empty object", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "{}") },
			ErrUnexpected, ServiceBroken},
		{"nothing", func(w http.ResponseWriter, r *http.Request) {}, ErrUnexpected, ServiceBroken},
		{"HTML", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<html>") },
			ErrUnexpected, ServiceBroken},
		{"two values", func(w http.ResponseWriter,
			r *http.Request) {
			io.WriteString(w, good+good)
		}, ErrUnexpected, ServiceBroken},
		{"truncated", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, good[:40]) },
			ErrUnexpected, ServiceBroken},
		{"HTTP 500", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) },
			ErrUnexpected, ServiceBroken},
		{"elsewhere", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusTemporaryRedirect)
		}, ErrUnexpected, ServiceBroken},
		{"endless", func(w http.ResponseWriter, r *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		}, ErrUnexpected, ServiceBroken},
		{"hang", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
			context.DeadlineExceeded, ServiceBroken},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := NewLocal(homeOf(t, c.handler)).node(t.Context())
			if !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			st := serviceStatus(facts{err: err, program: true})
			if st.State != c.state || st.Cause == "" || st.Remedy == "" {
				t.Errorf("told as %+v, want %s with cause and remedy", st, c.state)
			}
			if strings.Contains(fmt.Sprintf("%v %+v", err, st), testToken) {
				t.Error("the token is shown")
			}
		})
	}
}

func TestServiceStates(t *testing.T) {
	home := t.TempDir()
	_, err := NewLocal(home).node(t.Context())
	if st := serviceStatus(facts{err: err, program: false}); st.State != ServiceNotInstalled {
		t.Errorf("without a program: %+v", st)
	}
	if st := serviceStatus(facts{err: err, program: true}); st.State != ServiceNotRunning {
		t.Errorf("never started: %+v", st)
	}
	// A port of which somebody else took hold and let go.
	stale := homeOf(t, func(http.ResponseWriter, *http.Request) {})
	if err := os.WriteFile(filepath.Join(stale, "zerotier-one.port"), []byte("1"),
		0o600); err != nil {
		t.Fatal(err)
	}
	_, err = NewLocal(stale).node(t.Context())
	if st := serviceStatus(facts{err: err, program: true}); st.State != ServiceNotRunning ||
		!errors.Is(err, ErrNotRunning) {
		t.Errorf("stale port: %+v", st)
	}
	for _, port := range []string{"0", "65536", "x", "-1"} {
		if err := os.WriteFile(filepath.Join(stale, "zerotier-one.port"), []byte(port),
			0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := NewLocal(stale).node(t.Context()); !errors.Is(err, ErrUnexpected) {
			t.Errorf("port %q: %v", port, err)
		}
	}
}

func TestTokenThatIsNone(t *testing.T) {
	home := homeOf(t, func(w http.ResponseWriter,
		r *http.Request) {
		t.Error("a request was sent")
	})
	for _, token := range []string{"", "\n", "line\nX-Evil: 1", "sp ace", "caf\u00e9"} {
		if err := os.WriteFile(filepath.Join(home, "authtoken.secret"), []byte(token),
			0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := NewLocal(home).node(t.Context()); !errors.Is(err, ErrNoToken) {
			t.Errorf("token %q: %v", token, err)
		}
	}
}

// An idle connection would delay the service's exit by 5 s.
func TestNoIdleConnections(t *testing.T) {
	var open atomic.Int64
	srv := httptest.NewUnstartedServer(
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "[]") }))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		}
	}
	srv.Start()
	t.Cleanup(srv.Close)
	home := homeOf(t, nil)
	_, port, _ := strings.Cut(strings.TrimPrefix(srv.URL, "http://"), ":")
	if err := os.WriteFile(filepath.Join(home, "zerotier-one.port"), []byte(port),
		0o600); err != nil {
		t.Fatal(err)
	}
	c := NewLocal(home)
	for range 20 {
		if _, err := c.peers(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	deadline := time.Now().Add(10 * time.Second)
	for open.Load() != 0 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	if n := open.Load(); n != 0 {
		t.Errorf("%d connections stay open", n)
	}
}

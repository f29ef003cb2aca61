package endpoint

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"ztbridge/bridge/openvpn/management"
)

// fakeRegistry counts how often it is read.
type fakeRegistry struct {
	mu      sync.Mutex
	clients map[string]Client
	err     error
	reads   int // of the clients
	renewed int // Keys was asked for
}

func (f *fakeRegistry) Keys() (Keys, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.renewed++
	return Keys{}, nil
}

func (f *fakeRegistry) Client(string) (Client, error) {
	return Client{}, errors.New("a look-up that waits for rules, where nothing may wait")
}

func (f *fakeRegistry) Clients() (map[string]Client, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	return f.clients, f.err
}

func (f *fakeRegistry) Stamp() string { return "" }

func (f *fakeRegistry) renewals() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.renewed
}

// fakeLink remembers what it was told.
type fakeLink struct{ said []string }

func (l *fakeLink) notify(_ int, message string) error {
	l.said = append(l.said, message)
	return nil
}

func (l *fakeLink) disconnect(name string) error {
	l.said = append(l.said, "kill "+name)
	return nil
}

func testServer(t *testing.T, r *fakeRegistry, now func() time.Time,
	networks func() []netip.Prefix) *Server {
	t.Helper()
	s, err := New(Config{
		Listeners: []Listener{testListener(t, "udp", 1194,
			0)}, Registry: r, Now: now, Networks: networks,
		Log: slog.New(slog.DiscardHandler), RuntimeDir: "/run/ztb-test",
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// connected enters a client as one that carries traffic.
func (s *Server) connected(cid int, c Client, networks []netip.Prefix, ender sessionEnder) {
	k := sessionKey{"udp/1194", cid}
	s.sessions.admitted(k, &session{
		status: ClientStatus{
			Name: c.Name}, serial: c.Serial, ender: ender, networkOnly: c.NetworkOnly,
		networks: networks,
	})
	s.sessions.established(k, time.Now())
}

// hungLink is of a process that answers nothing until it is released.
type hungLink struct{ released chan struct{} }

func (l *hungLink) notify(int, string) error {
	<-l.released
	return management.ErrClosed
}

func (l *hungLink) disconnect(string) error { return management.ErrClosed }

// signalLink tells when a session ends.
type signalLink struct{ ended chan struct{} }

func (l *signalLink) notify(int, string) error { return nil }

func (l *signalLink) disconnect(string) error {
	close(l.ended)
	return nil
}

// An openvpn that hangs keeps no session of another one open.
func TestHungListenerDelaysNoOther(t *testing.T) {
	r := &fakeRegistry{clients: map[string]Client{"phone": {Name: "phone", Serial: "4f01",
		Expires: time.Now().Add(time.Hour), Revoked: true}}}
	s := testServer(t, r, nil, nil)
	hung, other := &hungLink{make(chan struct{})}, &signalLink{make(chan struct{})}
	s.connected(1, r.clients["phone"], nil, hung)
	s.connected(2, r.clients["phone"], nil, other)
	done := make(chan struct{})
	go func() {
		s.endInvalid()
		close(done)
	}()
	select {
	case <-other.ended:
	case <-time.After(10 * time.Second):
		t.Error("the session on the other listener goes on")
	}
	close(hung.released)
	<-done
}

// However many sessions there are, the clients are read once before the first of them ends.
func TestEvictReadsTheClientsOnce(t *testing.T) {
	r := &fakeRegistry{clients: map[string]Client{}}
	s := testServer(t, r, nil, nil)
	links := map[string]*fakeLink{}
	for i := range 200 {
		c := Client{Name: fmt.Sprintf("client%d", i), Serial: "4f01",
			Expires: time.Now().Add(time.Hour), Revoked: i%50 == 0}
		if i != 1 {
			r.clients[c.Name] = c
		}
		links[c.Name] = &fakeLink{}
		s.connected(i, c, nil, links[c.Name])
	}
	s.endInvalid()
	if r.reads != 1 {
		t.Errorf("the clients were read %d times", r.reads)
	}
	for i := range 200 {
		name := fmt.Sprintf("client%d", i)
		want := "[]"
		switch {
		case i == 1:
			want = "[HALT,this profile is not known here; ask for a new one kill client1]"
		case i%50 == 0:
			want = "[HALT,this profile was revoked kill " + name + "]"
		}
		if got := fmt.Sprint(links[name].said); got != want {
			t.Errorf("%s was told %s, want %s", name, got, want)
		}
	}
	r.err = errors.New("disk")
	s.endInvalid()
	if got := links["client2"].said; got != nil {
		t.Errorf("an unreadable store: client2 was told %v", got)
	}
}

// A client with routes to networks alone connects again when there is one more, and only then.
func TestNewNetworksReachOldSessions(t *testing.T) {
	one, two := netip.MustParsePrefix("10.147.17.0/24"), netip.MustParsePrefix("10.147.18.0/24")
	var networks []netip.Prefix
	s := testServer(t, &fakeRegistry{}, nil, func() []netip.Prefix { return networks })
	var only, full fakeLink
	s.connected(1, Client{Name: "only", NetworkOnly: true}, []netip.Prefix{one}, &only)
	s.connected(2, Client{Name: "full"}, []netip.Prefix{one}, &full)
	for _, networks = range [][]netip.Prefix{{one}, nil, {one}} {
		if s.endWithoutRoutes(); only.said != nil {
			t.Fatalf("with %v it was told %v", networks, only.said)
		}
	}
	networks = []netip.Prefix{one, two}
	if s.endWithoutRoutes(); len(only.said) != 2 ||
		!strings.HasPrefix(only.said[0], restartMessage) {
		t.Errorf("with a new network it was told %v", only.said)
	}
	if full.said != nil {
		t.Errorf("a client that sends everything was told %v", full.said)
	}
}

// Keys are asked for when the time has come, though nothing has changed: after an hour, and at once
// when the clock was set or the machine slept.
func TestKeysAreRenewedByTime(t *testing.T) {
	for name, step := range map[string]time.Duration{"an hour": renewInterval,
		"two years": 2 * 365 * 24 * time.Hour, "set back": -time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			clock := time.Now()
			r := &fakeRegistry{}
			s := testServer(t, r, func() time.Time {
				mu.Lock()
				defer mu.Unlock()
				return clock
			}, nil)
			var wg sync.WaitGroup
			defer wg.Wait()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			wg.Go(func() { s.watch(ctx) })
			time.Sleep(3 * pollInterval)
			if n := r.renewals(); n != 0 {
				t.Errorf("before the time has come the keys were asked for %d times", n)
			}
			mu.Lock()
			clock = clock.Add(step)
			mu.Unlock()
			for deadline := time.Now().Add(10 * time.Second); r.renewals() == 0; time.Sleep(
				pollInterval / 5) {
				if time.Now().After(deadline) {
					t.Fatal("the keys were not asked for")
				}
			}
			time.Sleep(3 * pollInterval)
			if n := r.renewals(); n != 1 {
				t.Errorf("the keys were asked for %d times", n)
			}
		})
	}
}

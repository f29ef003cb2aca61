package services

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/bridgetest"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/pki"
	"ztbridge/bridge/status"
)

// testEndpoint returns an endpoint's driver whose state is in a directory of its own.
func testEndpoint(t *testing.T, text string) (e *Endpoint, pkiDir string) {
	t.Helper()
	cfg := bridgetest.Parse(t, text)
	listeners, err := decide.ListenersOf(cfg)
	if err != nil {
		t.Fatal(err)
	}
	env := Env{StateDir: t.TempDir(), RuntimeDir: t.TempDir(),
		Logger: slog.New(slog.DiscardHandler)}
	d := New(t.Context(), env, User{}, NewTrigger())
	next := newServices()
	d.endpointTask(newServices(), next, &Spec{Config: cfg, Listeners: listeners})
	return next.endpoint, filepath.Join(env.StateDir, "pki")
}

// endpointTrouble returns the conditions of an endpoint as "severity code: message → remedy".
func endpointTrouble(e *Endpoint) string {
	s := decide.Snapshot{Now: time.Now()}
	var list []string
	s.Endpoint, s.Faults = e.status()
	for _, p := range status.EndpointProblems(s) {
		p = p.Fill()
		list = append(list, fmt.Sprintf("%s %s: %s → %s", p.Severity, p.Code, p.Message, p.Remedy))
	}
	return strings.Join(list, "\n")
}

const plainEndpoint = "endpoint: {address: vm.example.org}\n" + homeOnly

const homeOnly = "egress: {home: {wan: {}}}\npolicy: [{from: [endpoint], egress: [home]}]\n"

// An endpoint that cannot start is an error in the status, with what to do, until it can.
func TestEndpointWithoutKeys(t *testing.T) {
	for name, c := range map[string]struct{ index, remedy string }{
		"newer":   {`{"version": 99, "clients": []}`, "a later one"},
		"damaged": {`{"version": 1, "clients": [`, "import-ca --replace"},
	} {
		t.Run(name, func(t *testing.T) {
			e, dir := testEndpoint(t, plainEndpoint)
			if _, err := e.store.Ensure(); err != nil {
				t.Fatal(err)
			}
			good, err := os.ReadFile(filepath.Join(dir, "index.json"))
			if err != nil {
				t.Fatal(err)
			}
			write := func(data []byte) {
				if err := os.WriteFile(filepath.Join(dir, "index.json"), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write([]byte(c.index))
			if err := e.run(t.Context()); err == nil {
				t.Fatal("the endpoint ran without its keys")
			}
			if got := endpointTrouble(e); !strings.HasPrefix(got, "error endpoint-failed: ") ||
				!strings.Contains(got, c.remedy) {
				t.Errorf("the status says %q, want endpoint-failed with a remedy like %q", got,
					c.remedy)
			}
			write(good)
			if _, err := e.registry(t.Context()).Keys(); err != nil {
				t.Fatal(err)
			}
			if got := endpointTrouble(e); got != "" {
				t.Errorf("the keys are in order again, and the status says %q", got)
			}
		})
	}
}

// A certificate that does not go with its key is named, and nobody is sent to look for a TCP
// listener.
func TestLinksWithAWrongKey(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"cert.pem", "key.pem"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("no PEM"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e, _ := testEndpoint(t, "endpoint: {address: vm.example.org, https: {certificate: "+
		filepath.Join(dir, "cert.pem")+
		", key: "+filepath.Join(dir, "key.pem")+"}}\n"+homeOnly)
	links := e.openLinks()
	if links != nil {
		defer links.Close()
	}
	if _, err := e.store.Add(pki.Request{Name: "phone", LastHost: 100}); err != nil {
		t.Fatal(err)
	}
	_, err := e.Link(api.LinkRequest{Client: "phone"})
	if err == nil || !strings.Contains(err.Error(), "cert.pem") ||
		strings.Contains(api.Hint(err), "TCP listener") {
		t.Errorf("%v (%s), want the certificate named", err, api.Hint(err))
	}
	if got := endpointTrouble(e); !strings.HasPrefix(got, "warning links-unavailable: ") ||
		!strings.Contains(got, "endpoint.https") {
		t.Errorf("the status says %q", got)
	}
}

// Revoking a client ends the links that are open to its profile, at once.
func TestRevokedClientsLinkEnds(t *testing.T) {
	e, _ := testEndpoint(t, plainEndpoint)
	links := e.openLinks()
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	wg.Go(func() { _ = links.Run(ctx) })
	web := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	for _, revoke := range []bool{false, true} {
		name := fmt.Sprintf("revoked-%t", revoke)
		if _, err := e.store.Add(pki.Request{Name: name, LastHost: 100}); err != nil {
			t.Fatal(err)
		}
		link, err := e.Link(api.LinkRequest{Client: name})
		if err != nil {
			t.Fatal(err)
		}
		want := http.StatusOK
		if revoke {
			want = http.StatusGone
			if _, err := e.store.Revoke(name); err != nil {
				t.Fatal(err)
			}
		}
		u, err := url.Parse(link.URL)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := web.Get("https://" + links.Addr().String() + u.Path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("revoked %t: the link answers %s, want %d", revoke, resp.Status, want)
		}
	}
}

// A changed `endpoint.clients` reaches every client at its next connection, with its keys as they
// are, while the endpoint runs on; a client with settings of its own keeps them.
func TestClientSettingsFollowTheConfiguration(t *testing.T) {
	e, _ := testEndpoint(t, plainEndpoint)
	r := e.registry(t.Context())
	r.waitForRules = func(pki.Client) error { return nil }
	if _, err := r.Keys(); err != nil {
		t.Fatal(err)
	}
	off := false
	for name, own := range map[string]pki.Settings{"plain": {},
		"own": {Tunnel: pki.TunnelFull, DNS: &off}} {
		if _, err := e.store.Add(pki.Request{Name: name, LastHost: 100,
			Settings: own}); err != nil {
			t.Fatal(err)
		}
	}
	told := func() string {
		var out []string
		for _, name := range []string{"plain", "own"} {
			c, err := r.Client(name)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, fmt.Sprintf("%s %t %t", name, c.NetworkOnly, c.NoDNS))
		}
		return strings.Join(out, ", ")
	}
	if got, want := told(), "plain false false, own false true"; got != want {
		t.Errorf("told %q, want %q", got, want)
	}
	running := newServices()
	load := func(text string) *Endpoint {
		next := newServices()
		cfg := bridgetest.Parse(t, text)
		listeners, err := decide.ListenersOf(cfg)
		if err != nil {
			t.Fatal(err)
		}
		e.d.endpointTask(running, next, &Spec{Config: cfg, Listeners: listeners})
		running.keys = next.keys
		return next.endpoint
	}
	if load(plainEndpoint) == nil {
		t.Fatal("no endpoint")
	}
	running.endpoint = e
	changed := strings.Replace(plainEndpoint, "example.org}",
		"example.org, clients: {tunnel: zerotier, dns: false}}", 1)
	if got := load(changed); got != e {
		t.Error("other settings of clients restart the endpoint")
	}
	if got, want := told(), "plain true true, own false true"; got != want {
		t.Errorf("after the change, told %q, want %q", got, want)
	}
}

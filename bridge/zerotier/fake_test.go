package zerotier

import (
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeNode answers the local API as zerotier-one 1.14.1 does: its answers are recorded ones with
// the facts of the moment filled in, and it behaves like the real one (bodies of the wrong type
// are ignored with status 200, leaving what was not joined is fine, a restart says OK from its
// cache).
type fakeNode struct {
	t    *testing.T
	home string

	mu       sync.Mutex
	server   *http.Server
	nets     map[NetworkID]*fakeMembership // joined, with a device
	cached   map[NetworkID]*fakeMembership // what networks.d holds
	stuck    map[NetworkID]bool            // joined, but its device failed
	conf     json.RawMessage               // local.conf as read
	moons    map[Address]bool              // true: waiting
	links    map[string]int
	index    int
	token    string // as read at the start
	tapFails bool
	crashed  int

	// The controller's and the Internet's side.
	network    NetworkID
	authorised bool
	heard      time.Time // when the root last answered
	requests   int
	badTypes   int
}

type fakeMembership struct {
	settings map[string]bool
	joinedAt time.Time
	config   bool // a configuration was received
}

const (
	fakeAddress = "375530c131"
	// fakeDelay stands for the time that a controller takes.
	fakeDelay = 50 * time.Millisecond
)

func newFakeNode(t *testing.T) *fakeNode {
	f := &fakeNode{
		t: t, home: t.TempDir(), network: 0xfe5f2d532b02de82,
		nets: map[NetworkID]*fakeMembership{}, cached: map[NetworkID]*fakeMembership{},
		stuck: map[NetworkID]bool{},
		moons: map[Address]bool{}, links: map[string]int{"lo": 1}, index: 1,
	}
	f.write("authtoken.secret", "0123456789abcdefghijklmn")
	f.write("identity.public", fakeAddress+":0:fb52")
	t.Cleanup(f.stop)
	return f
}

func (f *fakeNode) write(name, text string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.home, name), []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fakeNode) start() {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	f.write("zerotier-one.port", strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	token, err := os.ReadFile(filepath.Join(f.home, "authtoken.secret"))
	if err != nil {
		f.t.Fatal(err)
	}
	f.token = string(token)
	f.conf, _ = os.ReadFile(filepath.Join(f.home, "local.conf"))
	if len(f.conf) > 0 && !json.Valid(f.conf) {
		f.t.Fatalf("the service exits: local.conf is %q", f.conf)
	}
	for id, m := range f.cached {
		f.makeDevice(id, m)
	}
	f.heard = time.Now()
	f.server = &http.Server{Handler: http.HandlerFunc(f.serve)}
	go f.server.Serve(l)
}

// stop ends the service: its devices vanish, its port file stays.
func (f *fakeNode) stop() {
	f.mu.Lock()
	server := f.server
	f.server = nil
	for id := range f.nets {
		delete(f.links, id.Iface())
	}
	clear(f.nets)
	clear(f.stuck)
	f.mu.Unlock()
	if server != nil {
		server.Close()
	}
}

func (f *fakeNode) makeDevice(id NetworkID, m *fakeMembership) bool {
	if f.tapFails {
		f.stuck[id] = true
		return false
	}
	f.nets[id] = m
	f.index++
	f.links[id.Iface()] = f.index
	return true
}

func (f *fakeNode) interfaces() (map[string]int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.links), nil
}

func (f *fakeNode) serve(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests++
	if r.URL.Path != "/health" && r.Header.Get("X-ZT1-Auth") != f.token {
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, "{}")
		return
	}
	body, _ := io.ReadAll(r.Body)
	kind, id, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case r.Method == http.MethodGet && id == "":
		f.get(w, kind)
	case kind == "network":
		nwid, err := ParseNetworkID(id)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		f.serveNetwork(w, r.Method, nwid, body)
	case kind == "moon":
		a, err := ParseAddress(id)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		f.serveMoon(w, r.Method, a, body)
	default:
		http.NotFound(w, r)
	}
}

func (f *fakeNode) get(w http.ResponseWriter, kind string) {
	now := time.Now().UnixMilli()
	switch kind {
	case "status":
		a := recorded[map[string]any](f.t, "gw-status.json")
		a["clock"], a["address"] = now, fakeAddress
		answer(w, a)
	case "network":
		list := []any{}
		for _, id := range slices.Sorted(maps.Keys(f.nets)) {
			list = append(list, f.describe(id))
		}
		answer(w, list)
	case "peer":
		list := recorded[[]map[string]any](f.t, "gw-peer.json")
		for _, p := range list {
			for _, path := range p["paths"].([]any) {
				path := path.(map[string]any)
				path["lastReceive"] = f.heard.UnixMilli()
				path["localSocket"] = json.Number("18446744073709551615")
			}
		}
		answer(w, list)
	case "moon":
		list := []any{}
		for a, waiting := range f.moons {
			m := recorded[[]map[string]any](f.t, "gw-moon.json")[0]
			m["id"], m["waiting"] = "000000"+a.String(), waiting
			list = append(list, m)
		}
		answer(w, list)
	case "config":
		// the real one looks every 10 s
		f.conf, _ = os.ReadFile(filepath.Join(f.home, "local.conf"))
		if len(f.conf) == 0 {
			io.WriteString(w, "{}")
			return
		}
		w.Write(f.conf)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (f *fakeNode) serveNetwork(w http.ResponseWriter, method string, id NetworkID, body []byte) {
	m := f.nets[id]
	switch method {
	case http.MethodDelete:
		_, known := f.cached[id]
		delete(f.nets, id)
		delete(f.stuck, id)
		delete(f.cached, id)
		delete(f.links, id.Iface())
		if !known {
			io.WriteString(w, "{}")
			return
		}
		answer(w, recorded[map[string]any](f.t, "gw-network-leave-response.json"))
		return
	case http.MethodPost:
		if m == nil && !f.stuck[id] {
			m = &fakeMembership{joinedAt: time.Now(),
				settings: map[string]bool{"allowManaged": true}}
			f.cached[id] = m
			if !f.makeDevice(id, m) {
				m = nil
			}
		}
		if m == nil {
			if len(f.nets) > 0 {
				f.crashed++ // the real one dereferences a null pointer here
			}
			io.WriteString(w, "{}")
			return
		}
		f.applySettings(m, body)
	}
	if m == nil {
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, "{}")
		return
	}
	answer(w, f.describe(id))
}

func (f *fakeNode) applySettings(m *fakeMembership, body []byte) {
	var in map[string]any
	if json.Unmarshal(body, &in) != nil {
		return
	}
	for _, key := range []string{"allowManaged", "allowGlobal", "allowDefault", "allowDNS"} {
		if v, ok := in[key].(bool); ok {
			m.settings[key] = v
		} else if in[key] != nil {
			f.badTypes++
		}
	}
}

// describe is the membership as the service tells it.
func (f *fakeNode) describe(id NetworkID) map[string]any {
	m := f.nets[id]
	answered := time.Since(m.joinedAt) > fakeDelay
	status := "REQUESTING_CONFIGURATION"
	switch {
	case id != f.network && answered:
		status = "NOT_FOUND"
	case f.authorised && answered:
		status, m.config = "OK", true
	case answered:
		status = "ACCESS_DENIED"
	}
	var a map[string]any
	if m.config {
		a = recorded[[]map[string]any](f.t, "gw-network.json")[0]
	} else {
		a = recorded[map[string]any](f.t, "gw-network-join-response.json")
	}
	a["id"], a["nwid"], a["status"], a["portDeviceName"] = id.String(), id.String(), status,
		id.Iface()
	for _, key := range []string{"allowManaged", "allowGlobal", "allowDefault", "allowDNS"} {
		a[key] = m.settings[key]
	}
	return a
}

func (f *fakeNode) serveMoon(w http.ResponseWriter, method string, id Address, body []byte) {
	if method == http.MethodDelete {
		delete(f.moons, id)
		os.Remove(filepath.Join(f.home, "moons.d", "000000"+id.String()+".moon"))
		io.WriteString(w, `{"result":true}`)
		return
	}
	var in struct{ Seed string }
	if json.Unmarshal(body, &in) == nil && in.Seed != "" {
		_, known := f.moons[id]
		_, err := os.Stat(filepath.Join(f.home, "moons.d", "000000"+id.String()+".moon"))
		if !known || err == nil {
			f.moons[id] = err != nil
		}
	}
	answer(w, recorded[map[string]any](f.t, "dev-moon-post.json"))
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

// recorded decodes a recorded answer, keeping numbers as they are written.
func recorded[T any](t *testing.T, name string) (v T) {
	t.Helper()
	raw, err := os.Open(filepath.Join("testdata", "api", name))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	d := json.NewDecoder(raw)
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

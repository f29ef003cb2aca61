package controllertest

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Token is what the servers accept.
const Token = "test-token-0123456789"

// Node is the address of the node whose controller OnBox stands for.
const Node = "375530c131"

// API names the interface that a Server speaks.
type API string

// The interfaces.
const (
	V1    API = "v1"
	V2    API = "v2"
	OnBox API = "local"
)

// Fault says what a server does instead of answering a request.
type Fault int

// The faults.
const (
	None Fault = iota
	// DropBefore ends the connection before the request is carried out, DropAfter after it.
	DropBefore
	DropAfter
)

// Server is one controller. Its fields may be changed between requests.
type Server struct {
	URL string
	// At is called with the number of each request, from 1; nil: no faults.
	At func(n int, r *http.Request) Fault
	// Instead returns what answers a request in the place of the controller; nil: it does. Done
	// says whether it carries the request out all the same.
	Instead func(n int, r *http.Request) (answer http.HandlerFunc, done bool)
	// Status, when not 0, is the answer to each request but Free of them.
	Status, Free int
	// Header goes with Status.
	Header http.Header
	// NoController makes OnBox answer as a zerotier-one that was built without a controller.
	NoController bool
	// Forgetful makes the server accept changes of networks without carrying them out.
	Forgetful bool

	t   *testing.T
	api API

	mu       sync.Mutex
	n        int
	networks map[string]*network
	paths    []string
}

type network struct {
	name    string
	config  map[string]json.RawMessage
	members map[string]*member
}

type member struct {
	Name       string
	Authorized bool
	Addrs      []string
}

// New starts a server, which ends with the test.
func New(t *testing.T, api API) *Server {
	s := &Server{t: t, api: api, networks: map[string]*network{}}
	web := httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(web.Close)
	s.URL = web.URL
	return s
}

// AddNetwork adds a network with settings in the interface's own names.
func (s *Server) AddNetwork(id, name, config string) {
	s.t.Helper()
	n := s.fresh(name)
	var given map[string]json.RawMessage
	if err := json.Unmarshal([]byte(config), &given); err != nil {
		s.t.Fatal(err)
	}
	maps.Copy(n.config, given)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.networks[id] = n
}

// AddMember adds a member of a network.
func (s *Server) AddMember(id, node, name string, authorized bool, addrs ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.networks[id].members[node] = &member{name, authorized, addrs}
}

// State returns everything that the server knows, as text that can be compared.
func (s *Server) State() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(s.networks)) {
		n := s.networks[id]
		fmt.Fprintf(&b, "network %s %q\n", id, n.name)
		for _, key := range slices.Sorted(maps.Keys(n.config)) {
			var value any // for the order of keys
			if err := json.Unmarshal(n.config[key], &value); err != nil {
				s.t.Errorf("%s of network %s: %v", key, id, err)
			}
			fmt.Fprintf(&b, "  %s %v\n", key, value)
		}
		for _, node := range slices.Sorted(maps.Keys(n.members)) {
			fmt.Fprintf(&b, "  member %s %+v\n", node, *n.members[node])
		}
	}
	return b.String()
}

// Requests returns how many requests came, and their methods and paths.
func (s *Server) Requests() (int, []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n, slices.Clone(s.paths)
}

func (s *Server) fresh(name string) *network {
	n := &network{name: name, members: map[string]*member{}, config: map[string]json.RawMessage{}}
	set := func(key, value string) { n.config[key] = json.RawMessage(value) }
	set("private", "true")
	set("routes", "[]")
	set("mtu", "2800")
	switch s.api {
	case V2:
		set("v4IpAssignmentPools", "[]")
		set("v4AssignmentMode", `{"zt":false}`)
		set("v6AssignmentMode", `{"6plane":false,"rfc4193":false,"zt":false}`)
		set("dns", `{"domain":"","servers":[]}`)
	default:
		set("ipAssignmentPools", "[]")
		set("v4AssignMode", `{"zt":false}`)
		set("v6AssignMode", `{"6plane":false,"rfc4193":false,"zt":false}`)
		set("dns", `{"domain":"","servers":[]}`)
		if s.api == OnBox {
			set("dns", "[]")
		}
	}
	return n
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	s.paths = append(s.paths, r.Method+" "+r.URL.String())
	fault := None
	if s.At != nil {
		fault = s.At(s.n, r)
	}
	if fault == DropBefore {
		panic(http.ErrAbortHandler)
	}
	if s.Status != 0 {
		if s.Free--; s.Free < 0 {
			maps.Copy(w.Header(), s.Header)
			s.fail(w, s.Status, "as the test wants, for "+Token)
			return
		}
	}
	var instead http.HandlerFunc
	done := true
	if s.Instead != nil {
		instead, done = s.Instead(s.n, r)
	}
	var answer any
	status := 0
	if instead == nil || done {
		answer, status = s.authorized(r, body)
	}
	if instead != nil {
		instead(w, r)
		return
	}
	if fault == DropAfter {
		panic(http.ErrAbortHandler)
	}
	if status != http.StatusOK {
		s.fail(w, status, http.StatusText(status))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // the client went away: the next request says so
}

func (s *Server) fail(w http.ResponseWriter, status int, text string) {
	w.WriteHeader(status)
	if s.api == V2 {
		_ = json.NewEncoder(w).Encode(map[string]any{"code": status, "message": text,
			"details": []any{}})
	}
}

func (s *Server) authorized(r *http.Request, body []byte) (answer any, status int) {
	header, want := "Authorization", "token "+Token
	switch s.api {
	case V2:
		want = "Bearer " + Token
	case OnBox:
		header, want = "X-ZT1-Auth", Token
	}
	if r.Header.Get(header) != want {
		return nil, http.StatusUnauthorized
	}
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch s.api {
	case V1:
		return s.v1(r.Method, path, body)
	case V2:
		return s.v2(r.Method, path, body)
	}
	return s.onBox(r.Method, path, body)
}

// newID returns an id that no network has yet.
func (s *Server) newID(prefix string) string {
	return fmt.Sprintf("%s%06x", prefix, len(s.networks)+1)
}

// update merges settings that are known into a network; others are an error, or ignored by OnBox.
func (s *Server) update(n *network, given map[string]json.RawMessage) bool {
	for key, value := range given {
		if key == "name" {
			_ = json.Unmarshal(value, &n.name)
			continue
		}
		_, known := n.config[key]
		if key == "v6IpAssignmentPools" {
			known = s.api == V2
		}
		if s.api == OnBox && (!known || key == "dns" && value[0] != '{') {
			continue
		}
		if !known {
			return false
		}
		if !s.Forgetful {
			n.config[key] = value
		}
	}
	return true
}

func now() int64 { return time.Now().UnixMilli() }

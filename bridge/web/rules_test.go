package web

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// visitor is a browser without scripts.
type visitor struct {
	t      *testing.T
	base   string
	client *http.Client
}

func visit(t *testing.T, base string) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{t, base, &http.Client{Jar: jar, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}}}
}

// ask sends a request, changed by edits, and returns the status and the body.
func (v *visitor) ask(method, path string, form url.Values,
	edits ...func(*http.Request)) (*http.Response, string) {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), method, v.base+path,
		strings.NewReader(form.Encode()))
	if err != nil {
		v.t.Fatal(err)
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", v.base)
	}
	for _, edit := range edits {
		edit(r)
	}
	response, err := v.client.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return response, string(body)
}

func (v *visitor) login(password string) int {
	v.t.Helper()
	response, _ := v.ask(http.MethodPost, "/login", url.Values{"password": {password}})
	return response.StatusCode
}

// as logs in as a viewer or the owner, and returns what the page's forms carry then. Anybody else
// does not log in, and has nothing.
func (v *visitor) as(who string) string {
	v.t.Helper()
	switch who {
	case "viewer":
		v.login(viewerPassword)
	case "owner":
		v.login(ownerPassword)
	default:
		return ""
	}
	return v.token()
}

// foreign are the ways in which other web pages make a browser send a form.
var foreign = map[string]func(*http.Request){
	"another origin": header("Origin", "http://evil.example"),
	"a null origin":  header("Origin", "null"),
	"cross-site":     header("Sec-Fetch-Site", "cross-site"),
	"same-site":      header("Sec-Fetch-Site", "same-site"),
	"rebinding":      host("evil.example"),
}

var tokenRE = regexp.MustCompile(`name="token" value="([^"]+)"`)

// token returns what the page's forms carry.
func (v *visitor) token() string {
	v.t.Helper()
	_, body := v.ask(http.MethodGet, "/", nil)
	m := tokenRE.FindStringSubmatch(body)
	if m == nil {
		v.t.Fatalf("there is no form in:\n%s", body)
	}
	return m[1]
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func host(name string) func(*http.Request) {
	return func(r *http.Request) { r.Host = name }
}

// TestRolesAndActions asks for everything as everybody.
func TestRolesAndActions(t *testing.T) {
	for _, who := range []string{"nobody", "viewer", "owner"} {
		t.Run(who, func(t *testing.T) {
			of := &box{}
			of.set(working())
			s, server := served(t, of)
			v := visit(t, server.URL)
			token := v.as(who)
			for _, a := range actions {
				form := url.Values{"token": {token}}
				for name, value := range a.form {
					form.Set(name, value)
				}
				response, body := v.ask(a.method, a.path, form)
				want := a.want[who]
				if response.StatusCode != want {
					t.Errorf("%s %s: %d, want %d:\n%s", a.method, a.path, response.StatusCode, want,
						body)
				}
			}
			var want []string
			if who == "owner" {
				want = []string{"use backup", "reset", "reload", "keep", "disconnect phone"}
			}
			if !slices.Equal(of.did, want) {
				t.Errorf("the box was told to %v, want %v", of.did, want)
			}
			if entries, err := s.audit.last(100); who == "owner" &&
				(err != nil || len(entries) != len(want)+4) { // log-in, two failures, log-out
				t.Errorf("the log has %+v, %v", entries, err)
			}
		})
	}
}

// action is something that a browser can ask for, and what each role is answered.
type action struct {
	method, path string
	form         map[string]string
	want         map[string]int
}

func answers(nobody, viewer, owner int) map[string]int {
	return map[string]int{"nobody": nobody, "viewer": viewer, "owner": owner}
}

// actions has every route; the one that ends the session is the last.
var actions = []action{
	{http.MethodGet, "/", nil, answers(303, 200, 200)},
	{http.MethodGet, "/activity", nil, answers(303, 403, 200)},
	{http.MethodGet, "/nowhere", nil, answers(404, 404, 404)},
	{http.MethodPost, "/", nil, answers(404, 404, 404)},
	{http.MethodPost, "/exits/use", map[string]string{"exit": "backup"}, answers(401, 403, 303)},
	{http.MethodPost, "/exits/use", map[string]string{"exit": "nosuch"}, answers(401, 403, 404)},
	{http.MethodPost, "/exits/reset", nil, answers(401, 403, 303)},
	{http.MethodPost, "/reload", nil, answers(401, 403, 303)},
	{http.MethodPost, "/reload/keep", nil, answers(401, 403, 303)},
	{http.MethodPost, "/clients/disconnect", map[string]string{"client": "phone"},
		answers(401, 403, 303)},
	{http.MethodGet, "/profile", nil, answers(303, 403, 200)},
	{http.MethodGet, "/profile/progress", nil, answers(303, 403, 200)},
	{http.MethodPost, "/profile", nil, answers(401, 403, 403)},
	{http.MethodPost, "/profile/apply", nil, answers(401, 403, 500)},
	{http.MethodPost, "/profile/discard", nil, answers(401, 403, 303)},
	{http.MethodPost, "/logout", nil, answers(401, 303, 303)},
}

// TestForeignRequestsChangeNothing sends forms as other web pages could make a browser send them.
func TestForeignRequestsChangeNothing(t *testing.T) {
	of := &box{}
	of.set(working())
	_, server := served(t, of)
	v := visit(t, server.URL)
	if code := v.login(ownerPassword); code != http.StatusSeeOther {
		t.Fatalf("logging in: %d", code)
	}
	token := v.token()
	edits := maps.Clone(foreign)
	maps.Copy(edits, map[string]func(*http.Request){
		"rebinding, IPv6":  host("[2001:db8::1]"),
		"another address":  host("10.1.2.3"),
		"no host":          host(" "),
		"a name that ends": host("ztbridge.local.evil.example"),
	})
	for name, edit := range edits {
		response, body := v.ask(http.MethodPost, "/logout", url.Values{"token": {token}}, edit)
		if code := response.StatusCode; code < 400 || code == 404 {
			t.Errorf("%s: %d\n%s", name, code, body)
		}
	}
	for _, bad := range []string{"", "x", token + "x", token[1:]} {
		response, _ := v.ask(http.MethodPost, "/logout", url.Values{"token": {bad}})
		if response.StatusCode != http.StatusForbidden {
			t.Errorf("token %q: %d", bad, response.StatusCode)
		}
	}
	if response, _ := v.ask(http.MethodGet, "/", nil); response.StatusCode != http.StatusOK {
		t.Errorf("the session has ended: %d", response.StatusCode)
	}
	if response, _ := v.ask(http.MethodGet, "/", nil,
		host("ztbridge.local")); response.StatusCode != http.StatusSeeOther {
		t.Errorf("the box's own name, for which there is no cookie: %d", response.StatusCode)
	}
}

// TestHeaders: no answer of any kind may be framed, sniffed, or load or run what is not its own.
func TestHeaders(t *testing.T) {
	of := &box{}
	of.set(working())
	_, server := served(t, of)
	v := visit(t, server.URL)
	for _, path := range []string{"/login", "/", "/nowhere", "/events"} {
		response, _ := v.ask(http.MethodGet, path, nil)
		policy := response.Header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "script-src 'self'",
			"style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
			if !strings.Contains(policy, part) {
				t.Errorf("%s: the policy %q has no %s", path, policy, part)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
			t.Errorf("%s: the policy is open: %s", path, policy)
		}
		if response.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s may be sniffed", path)
		}
		if response.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s may be kept", path)
		}
	}
}

// TestWrongPasswordsAreLimited: the right one is refused, too, while there were too many.
func TestWrongPasswordsAreLimited(t *testing.T) {
	of := &box{}
	of.set(working())
	s, server := served(t, of)
	now := time.Now()
	clock := func() time.Time { return now }
	s.config.Now = clock
	s.limitBy(clock)
	v := visit(t, server.URL)
	for i := range wrongBurst {
		if code := v.login(fmt.Sprintf("wrong password %d", i)); code != http.StatusUnauthorized {
			t.Fatalf("attempt %d: %d", i, code)
		}
	}
	response, body := v.ask(http.MethodPost, "/login", url.Values{"password": {ownerPassword}})
	if response.StatusCode != http.StatusTooManyRequests ||
		response.Header.Get("Retry-After") == "" || !strings.Contains(body, "Too many") {
		t.Fatalf("the right password after too many wrong ones: %d\n%s", response.StatusCode, body)
	}
	now = now.Add(wrongEvery)
	if code := v.login(ownerPassword); code != http.StatusSeeOther {
		t.Fatalf("after the wait: %d", code)
	}
	entries, err := s.audit.last(20)
	if err != nil || len(entries) != wrongBurst+2 || entries[0].Failed != "" ||
		entries[1].Failed == "" {
		t.Errorf("the log has %+v, %v", entries, err)
	}
}

// TestSessionsEnd by log-out, time, and a new password.
func TestSessionsEnd(t *testing.T) {
	of := &box{}
	of.set(working())
	ends := map[string]func(*Server, *visitor, *time.Time){
		"log-out": func(_ *Server, v *visitor, _ *time.Time) {
			v.ask(http.MethodPost, "/logout", url.Values{"token": {v.token()}})
		},
		"idle": func(_ *Server, _ *visitor, now *time.Time) {
			*now = now.Add(idleLife + time.Minute)
		},
		"age": func(_ *Server, v *visitor, now *time.Time) {
			for range int(maxLife/idleLife)*2 + 1 {
				*now = now.Add(idleLife / 2)
				v.ask(http.MethodGet, "/", nil)
			}
		},
		"a new password": func(s *Server, _ *visitor, _ *time.Time) {
			if err := s.accounts.Set(Owner, "another one of them"); err != nil {
				t.Error(err)
			}
		},
		"no password": func(s *Server, _ *visitor, _ *time.Time) {
			if err := s.accounts.Remove(Owner); err != nil {
				t.Error(err)
			}
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			s, server := served(t, of)
			now := time.Now()
			s.sessions.now = func() time.Time { return now }
			v := visit(t, server.URL)
			v.login(ownerPassword)
			if response, _ := v.ask(http.MethodGet, "/", nil); response.StatusCode != 200 {
				t.Fatalf("logged in: %d", response.StatusCode)
			}
			cookies := v.client.Jar.Cookies(mustURL(t, server.URL))
			end(s, v, &now)
			v.client.Jar.SetCookies(mustURL(t, server.URL), cookies) // a thief keeps his copy
			if response, _ := v.ask(http.MethodGet, "/", nil); response.StatusCode != 303 {
				t.Errorf("afterwards: %d", response.StatusCode)
			}
		})
	}
}

func mustURL(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// TestCookie: no script reads it, no other site's request carries it.
func TestCookie(t *testing.T) {
	of := &box{}
	of.set(working())
	_, server := served(t, of)
	v := visit(t, server.URL)
	response, _ := v.ask(http.MethodPost, "/login", url.Values{"password": {ownerPassword}})
	if c := response.Cookies(); len(c) != 1 || !c[0].HttpOnly ||
		c[0].SameSite != http.SameSiteStrictMode || c[0].Path != "/" || c[0].Domain != "" {
		t.Errorf("the cookie is %+v", c)
	}
}

// TestFloodOfRequests is answered by refusals, and another source is served all the same.
func TestFloodOfRequests(t *testing.T) {
	of := &box{}
	of.set(working())
	now := time.Now()
	s := New(Config{Backend: of, Dir: t.TempDir(), Box: "b", Log: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return now }})
	ask := func(from string) int {
		r := httptest.NewRequest(http.MethodGet, "/login", nil)
		r.RemoteAddr = from + ":1234"
		r.Host = "b"
		s.config.Names = []string{"b"}
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		return w.Code
	}
	refused := 0
	for range requestBurst + 50 {
		if ask("10.1.1.1") == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused != 50 {
		t.Errorf("%d requests were refused", refused)
	}
	if code := ask("10.1.1.2"); code != http.StatusOK {
		t.Errorf("another source: %d", code)
	}
}

// TestStreamsAreLimited for each source and all together.
func TestStreamsAreLimited(t *testing.T) {
	s := streams{of: map[source]int{}}
	a := addrs("10.1.1.1")[0]
	for i := range maxSourceStreams + 1 {
		if got, want := s.open(a), i < maxSourceStreams; got != want {
			t.Errorf("stream %d: %t", i, got)
		}
	}
	open := maxSourceStreams
	for i := range maxStreams {
		if s.open(addrs(fmt.Sprintf("10.2.0.%d", i))[0]) {
			open++
		}
	}
	if open != maxStreams {
		t.Errorf("%d streams are open", open)
	}
	s.close(a)
	if !s.open(a) {
		t.Error("a closed stream still counts")
	}
}

// TestPasswordsAreKeptAsHashes, and short ones are refused.
func TestPasswordsAreKeptAsHashes(t *testing.T) {
	a := OpenAccounts(t.TempDir())
	if err := a.Set(Owner, "short"); err == nil {
		t.Error("a short password was taken")
	}
	password := NewPassword()
	if err := a.Set(Owner, password); err != nil {
		t.Fatal(err)
	}
	all, err := a.read()
	if err != nil || strings.Contains(fmt.Sprint(all), password) {
		t.Errorf("kept as %v, %v", all, err)
	}
	if role, _, ok, err := a.Check(password); role != Owner || !ok || err != nil {
		t.Errorf("the right password: %s, %t, %v", role, ok, err)
	}
	for _, wrong := range []string{"", password + "x", strings.ToUpper(password)} {
		if _, _, ok, _ := a.Check(wrong); ok {
			t.Errorf("%q is let in", wrong)
		}
	}
	if other := NewPassword(); other == password || len(other) != len(password) {
		t.Errorf("passwords are %s and %s", password, other)
	}
}

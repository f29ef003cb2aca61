package web

import (
	"html"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"ztbridge/bridge/api"
	"ztbridge/bridge/web/browsertest"
)

// endSessions has every browser logged out, as a restart of the daemon does.
func endSessions(s *Server) {
	s.sessions.mu.Lock()
	defer s.sessions.mu.Unlock()
	clear(s.sessions.all)
}

var hiddenRE = regexp.MustCompile(`type="hidden" name="([^"]+)" value="([^"]*)"`)

// hiddenIn returns the hidden fields of a page's last form.
func hiddenIn(page string) url.Values {
	out := url.Values{}
	for _, m := range hiddenRE.FindAllStringSubmatch(page[strings.LastIndex(page, "<form"):], -1) {
		out.Add(m[1], html.UnescapeString(m[2]))
	}
	return out
}

// TestFormOutlivesItsSession: what was typed survives a wrong password, and is carried out only
// when its sender says so, by the rights of the new log-in.
func TestFormOutlivesItsSession(t *testing.T) {
	t.Parallel()
	of := remembering()
	of.set(working())
	s, server := served(t, of)
	roster := newRoster(t)
	withClients(s, roster)
	v := visit(t, server.URL)
	token := v.as("owner")
	names := func() (out []string) {
		list, err := roster.List()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range list {
			out = append(out, c.Name)
		}
		return out
	}
	endSessions(s)
	sent := url.Values{"token": {token}, "name": {"phone"}, "password": {"do not show"}}
	response, page := v.ask(http.MethodPost, "/clients/add", sent)
	if response.StatusCode != http.StatusUnauthorized || !strings.Contains(page, "is kept") {
		t.Fatalf("%d:\n%s", response.StatusCode, page)
	}
	for _, password := range []string{"wrong", ownerPassword} {
		login := hiddenIn(page)
		login.Set("password", password)
		_, page = v.ask(http.MethodPost, "/login", login)
	}
	if !strings.Contains(page, `<bdi>phone</bdi>`) || strings.Contains(page, "<bdi>do not show") ||
		len(names()) > 0 {
		t.Fatalf("the clients are %q, and the page:\n%s", names(), page)
	}
	again := hiddenIn(page)
	if again.Get("name") != "phone" || again.Get("token") == token {
		t.Errorf("the form has %v", again)
	}
	if _, page = v.ask(http.MethodPost, "/clients/add", again); len(names()) != 1 {
		t.Errorf("the clients are %q, and the page:\n%s", names(), page)
	}
	// A form of an earlier log-in is asked about likewise; a viewer may still not send it.
	again.Set("token", token)
	again.Set("name", "tablet")
	response, page = v.ask(http.MethodPost, "/clients/add", again)
	if response.StatusCode != http.StatusForbidden || hiddenIn(page).Get("name") != "tablet" {
		t.Errorf("%d:\n%s", response.StatusCode, page)
	}
	viewer := visit(t, server.URL)
	again.Set("token", viewer.as("viewer"))
	if response, _ = viewer.ask(http.MethodPost, "/clients/add",
		again); response.StatusCode != 403 ||
		len(names()) != 1 {
		t.Errorf("a viewer: %d, %q", response.StatusCode, names())
	}
}

// TestLoginLeadsBack to the page that was asked for, and to no other site.
func TestLoginLeadsBack(t *testing.T) {
	t.Parallel()
	of := &box{}
	of.set(working())
	_, server := served(t, of)
	v := visit(t, server.URL)
	response, _ := v.ask(http.MethodGet, "/activity", nil, header("Accept", "text/html"))
	if at := response.Header.Get("Location"); at != "/login?back=%2Factivity" {
		t.Errorf("it leads to %q", at)
	}
	for back, want := range map[string]string{"/activity": "/activity", "//evil.example": "/",
		"http://evil.example/": "/", `/\evil.example`: "/", "": "/"} {
		login := url.Values{"password": {ownerPassword}, "back": {back}}
		if want == "/" {
			login.Set("path", back)
		}
		response, _ := v.ask(http.MethodPost, "/login", login)
		if at := response.Header.Get("Location"); at != want {
			t.Errorf("back to %q leads to %q", back, at)
		}
	}
}

// TestSecondSending of a form does nothing again, and is answered as the first one.
func TestSecondSending(t *testing.T) {
	t.Parallel()
	of := remembering()
	of.set(working())
	s, server := served(t, of)
	withClients(s, newRoster(t))
	service := serveImports(t, s, works)
	service.hold = make(chan struct{})
	v := visit(t, server.URL)
	token := v.as("owner")
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			body, kind := form(token, "a.ovpn", "client\n", "target", "=provider")
			response, page := v.ask(http.MethodPost, "/profile?form=one", nil,
				header("Content-Type", kind), with(body))
			if response.StatusCode != http.StatusSeeOther {
				t.Errorf("%d:\n%s", response.StatusCode, page)
			}
		})
	}
	wg.Wait()
	close(service.hold)
	v.shows("Put it in force")
	if _, _, n := service.last(); n != 1 {
		t.Errorf("the service was asked %d times", n)
	}
	add := func(name, form string) (int, string) {
		response, page := v.ask(http.MethodPost, "/clients/add?form="+form,
			url.Values{"token": {token}, "name": {name}})
		return response.StatusCode, page
	}
	_, first := add("phone", "two")
	if code, page := add("phone", "two"); code != http.StatusOK || page != first {
		t.Errorf("a second time: %d\n%s", code, page)
	}
	if code, page := add("phone", "three"); code != http.StatusUnprocessableEntity {
		t.Errorf("another form: %d\n%s", code, page)
	}
	if code, page := add("tablet", "three"); code != http.StatusOK {
		t.Errorf("a form that came to nothing, again: %d\n%s", code, page)
	}
}

// TestLoggedOutWhileTyping: text and file stay in the page, and are sent after a log-in elsewhere.
func TestLoggedOutWhileTyping(t *testing.T) {
	t.Parallel()
	of := remembering()
	of.set(working())
	s, server := served(t, of)
	withClients(s, newRoster(t))
	serveImports(t, s, works)
	file := filepath.Join(t.TempDir(), "nl.ovpn")
	if err := os.WriteFile(file, []byte("client\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := browsertest.New(t, browsertest.Options{Allowed: []string{"401", "net::ERR", "Failed"}})
	b.Login(server.URL, ownerPassword)
	elsewhere := func() {
		t.Helper()
		b.WaitFor(`(window.login ??= fetch("/login", {method: "POST",
			body: new URLSearchParams({password: "` + ownerPassword + `"})}).then(
			() => { window.loggedIn = true })) && window.loggedIn`)
	}
	b.Open(server.URL + "/clients")
	b.Type("#name", "phone")
	endSessions(s)
	b.WaitFor(`!document.querySelector("#ended").hidden`) // the list of clients asks again
	b.WaitFor(`document.querySelector("#name").value === "phone"`)
	elsewhere()
	b.Type("#name", "\n")
	b.WaitFor(`document.querySelector("#shown").textContent.includes("phone")`)
	b.Click("#go-on")
	b.WaitFor(`document.querySelector("h1").textContent === "phone is added"`)

	b.Open(server.URL + uploadPage)
	b.Choose("#file", file)
	b.Type("#username", "anna")
	endSessions(s)
	b.Click("#upload")
	b.WaitFor(`!document.querySelector("#ended").hidden`)
	b.WaitFor(`document.querySelector("#username").value === "anna" &&
		document.querySelector("#file").files.length === 1`)
	elsewhere()
	b.Click("#upload")
	b.WaitFor(`document.querySelector("#apply")`)
	s.upload.mu.Lock()
	defer s.upload.mu.Unlock()
	if r := s.upload.request; r.Username != "anna" || r.Verb != api.ImportTry {
		t.Errorf("tried %q by %q", r.Verb, r.Username)
	}
}

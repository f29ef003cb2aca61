package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"ztbridge/bridge/api"
	"ztbridge/bridge/web/browsertest"
)

// importService stands for the service that may write the configuration.
type importService struct {
	mu       sync.Mutex
	requests []api.ImportRequest
	files    []string
	// answer gives what it says, and when that is over.
	answer func(api.ImportRequest) []api.Progress
	hold   chan struct{} // not nil: the last line waits for it
}

// serveImports starts the service for a page.
func serveImports(t *testing.T, s *Server,
	answer func(api.ImportRequest) []api.Progress) *importService {
	t.Helper()
	dir, err := os.MkdirTemp("", "page")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	i := &importService{answer: answer}
	s.config.ImportSocket = filepath.Join(dir, "s")
	l, err := net.Listen("unix", s.config.ImportSocket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go i.serve(conn)
		}
	}()
	return i
}

func (i *importService) serve(conn net.Conn) {
	defer conn.Close()
	r, file, err := api.ReadImport(conn, maxUpload)
	if err != nil {
		return
	}
	content, err := io.ReadAll(file)
	if err != nil {
		return
	}
	i.mu.Lock()
	i.requests, i.files = append(i.requests, r), append(i.files, string(content))
	hold := i.hold
	i.mu.Unlock()
	out := json.NewEncoder(conn)
	lines := i.answer(r)
	for n, line := range lines {
		if n == len(lines)-1 && hold != nil {
			<-hold
		}
		_ = out.Encode(line)
	}
}

func (i *importService) last() (api.ImportRequest, string, int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := len(i.requests)
	if n == 0 {
		return api.ImportRequest{}, "", 0
	}
	return i.requests[n-1], i.files[n-1], n
}

// works answers as a profile does that is good.
func works(r api.ImportRequest) []api.Progress {
	if r.Verb == api.ImportTry {
		return []api.Progress{{Text: "connecting: udp 203.0.113.9:1194"}, {Connected: true},
			{Text: "connected  udp 203.0.113.9:1194 in 1s"}, {Done: true}}
	}
	return []api.Progress{{Text: "reading the configuration"},
		{Text: r.Egress + " is up, by udp 203.0.113.9:1194"}, {Done: true}}
}

// form is a form with a file, in the order of the page.
func form(token, file, content string, fields ...string) (body *bytes.Buffer, kind string) {
	body = &bytes.Buffer{}
	w := multipart.NewWriter(body)
	_ = w.WriteField("token", token)
	if file != "" {
		part, _ := w.CreateFormFile("file", file)
		_, _ = io.WriteString(part, content)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		_ = w.WriteField(fields[i], fields[i+1])
	}
	_ = w.Close()
	return body, w.FormDataContentType()
}

// upload sends a form.
func (v *visitor) upload(body io.Reader, kind string) (int, string) {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), http.MethodPost, v.base+"/profile", body)
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("Content-Type", kind)
	r.Header.Set("Origin", v.base)
	response, err := v.client.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// shows waits until the page of uploads says something, and returns it.
func (v *visitor) shows(text string) string {
	v.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		_, body := v.ask(http.MethodGet, "/profile", nil)
		if strings.Contains(body, text) {
			return body
		}
		if time.Now().After(end) {
			v.t.Fatalf("the page never says %q:\n%s", text, body)
		}
	}
}

const uploadSecret = "correct horse battery"

// TestUploadRules sends what may not be sent; the service hears of nothing, and no file is left.
func TestUploadRules(t *testing.T) {
	of := &box{}
	of.set(working())
	s, server := served(t, of)
	service := serveImports(t, s, works)
	owner, viewer := visit(t, server.URL), visit(t, server.URL)
	owner.login(ownerPassword)
	viewer.login(viewerPassword)
	token := owner.token()
	good := []string{"target", "=provider", "username", "u", "password", uploadSecret}
	for _, tt := range []struct {
		name    string
		who     *visitor
		token   string
		file    string
		content string
		fields  []string
		want    int
	}{
		{"nobody", visit(t, server.URL), token, "a.ovpn", "client", good, 401},
		{"a viewer", viewer, viewer.token(), "a.ovpn", "client", good, 403},
		{"no token", owner, "", "a.ovpn", "client", good, 403},
		{"another token", owner, token + "x", "a.ovpn", "client", good, 403},
		{"no file", owner, token, "", "", good, 422},
		{"an empty file", owner, token, "a.ovpn", "", good, 422},
		{"no name", owner, token, "a.ovpn", "client", []string{"target", "+"}, 422},
		{"a long field", owner, token, "a.ovpn", "client",
			[]string{"target", "+", "name", strings.Repeat("a", maxField+1)}, 422},
		{"many fields", owner, token, "a.ovpn", "client",
			append(strings.Split(strings.Repeat("rule,1,", maxParts), ",")[:2*maxParts],
				good...), 422},
		{"a large file", owner, token, "a.zip", strings.Repeat("x", maxUpload+maxForm), good, 422},
	} {
		code, text := tt.who.upload(form(tt.token, tt.file, tt.content, tt.fields...))
		if code != tt.want {
			t.Errorf("%s: %d, want %d:\n%s", tt.name, code, tt.want, text)
		}
		if strings.Contains(text, uploadSecret) {
			t.Errorf("%s: the answer holds the password", tt.name)
		}
	}
	// What is behind a token that is not there is never written.
	body, kind := form(token, "a.ovpn", "client", good...)
	late := strings.Replace(body.String(), `name="token"`, `name="other"`, 1)
	if code, text := owner.upload(strings.NewReader(late), kind); code != http.StatusForbidden {
		t.Errorf("no token at first: %d\n%s", code, text)
	}
	if _, _, n := service.last(); n != 0 {
		t.Errorf("the service was asked %d times", n)
	}
	if _, err := os.Lstat(s.uploadPath()); !os.IsNotExist(err) {
		t.Errorf("a file is left: %v", err)
	}
	for _, path := range []string{"/profile/apply", "/profile/discard"} {
		for who, v := range map[string]*visitor{"viewer": viewer, "nobody": visit(t, server.URL)} {
			if r, _ := v.ask(http.MethodPost, path, nil); r.StatusCode/100 != 4 {
				t.Errorf("%s by a %s: %d", path, who, r.StatusCode)
			}
		}
	}
	if r, _ := owner.ask(http.MethodPost, "/profile/apply",
		map[string][]string{"token": {token}}); r.StatusCode/100 == 3 {
		t.Errorf("what was not tried is put in force: %d", r.StatusCode)
	}
}

// TestUpload takes a profile all the way: only one at a time, as it was typed, and no secret stays.
func TestUpload(t *testing.T) {
	of := &box{}
	of.set(working())
	s, server := served(t, of)
	service := serveImports(t, s, works)
	service.hold = make(chan struct{})
	owner := visit(t, server.URL)
	owner.login(ownerPassword)
	token := owner.token()
	send := func(fields ...string) (int, string) {
		return owner.upload(form(token, "nl 1.ovpn", "client\n", append(fields, "username", "anna",
			"password", uploadSecret)...))
	}
	if code, text := send("target", "+", "name", "extra", "rule", "2", "legacy", "1"); code != 303 {
		t.Fatalf("%d\n%s", code, text)
	}
	owner.shows("connecting: udp 203.0.113.9:1194")
	if code, text := send("target", "=provider"); code != 422 ||
		!strings.Contains(text, "another profile is being dealt with") {
		t.Errorf("a second one: %d\n%s", code, text)
	}
	if info, err := os.Stat(s.uploadPath()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
	close(service.hold)
	if text := owner.shows("Put it in force"); strings.Contains(text, uploadSecret) {
		t.Error("the page holds the password")
	}
	request, content, _ := service.last()
	if got, want := fmt.Sprint(request.Verb, request.Egress, request.File, request.Rules,
		request.LegacyCrypto, content), "try"+"extra"+"nl 1.ovpn"+"[2] true client\n"; request.Password !=
		uploadSecret || strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ", "") {
		t.Errorf("asked for %q, want %q", got, want)
	}
	owner.ask(http.MethodPost, "/profile/apply", map[string][]string{"token": {token}})
	owner.shows("Extra is up, by udp 203.0.113.9:1194.")
	if request, _, _ := service.last(); request.Verb != api.ImportAdd ||
		request.Password != uploadSecret {
		t.Errorf("asked for %s", request.Verb)
	}
	if _, err := os.Lstat(s.uploadPath()); !os.IsNotExist(err) {
		t.Errorf("the file is left: %v", err)
	}
	if s.upload.request.Password != "" {
		t.Error("the password is kept")
	}
	err := filepath.WalkDir(s.config.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(uploadSecret)) {
			t.Errorf("%s holds the password", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	entries, err := s.audit.last(3)
	if err != nil || entries[0].What != `put "nl 1.ovpn" in force as the exit "extra"` {
		t.Errorf("the log: %+v, %v", entries, err)
	}
}

// TestRefusedFormsLeaveOthersAlone: while a file comes in, other forms are refused, do not make
// room for a third one, and leave no file themselves.
func TestRefusedFormsLeaveOthersAlone(t *testing.T) {
	of := &box{}
	of.set(working())
	s, server := served(t, of)
	service := serveImports(t, s, works)
	owner := visit(t, server.URL)
	owner.login(ownerPassword)
	token := owner.token()
	body, kind := form(token, "a.ovpn", "client\n", "target", "=provider")
	slow, rest := io.Pipe()
	half := bytes.Index(body.Bytes(), []byte("client\n")) + 3
	answered := make(chan int)
	go func() {
		code, _ := owner.upload(slow, kind)
		answered <- code
	}()
	if _, err := rest.Write(body.Next(half)); err != nil {
		t.Fatal(err)
	}
	owner.shows("Receiving a file")
	for _, file := range []string{"", "b.ovpn", "c.ovpn"} {
		if code, text := owner.upload(form(token, file, "other\n", "target", "=provider")); code != 422 {
			t.Errorf("%q: %d\n%s", file, code, text)
		}
		if _, text := owner.ask(http.MethodGet, "/profile", nil); !strings.Contains(text, "Receiving") {
			t.Errorf("%q ends what is received:\n%s", file, text)
		}
	}
	if _, err := io.Copy(rest, body); err != nil {
		t.Fatal(err)
	}
	_ = rest.Close()
	if code := <-answered; code != http.StatusSeeOther {
		t.Errorf("the first one: %d", code)
	}
	owner.shows("Put it in force")
	if _, content, n := service.last(); content != "client\n" || n != 1 {
		t.Errorf("tried %q, after %d requests", content, n)
	}
	owner.ask(http.MethodPost, "/profile/discard", map[string][]string{"token": {token}})
	owner.upload(form(token, "a.ovpn", "client\n", "target", "+")) // without a name
	if _, err := os.Lstat(s.uploadPath()); !os.IsNotExist(err) {
		t.Errorf("a file is left: %v", err)
	}
}

// TestUploadWithoutService says what to do by hand.
func TestUploadWithoutService(t *testing.T) {
	of := &box{}
	of.set(working())
	s, server := served(t, of)
	s.config.ImportSocket = filepath.Join(t.TempDir(), "none")
	owner := visit(t, server.URL)
	owner.login(ownerPassword)
	owner.shows("ztbridge egress add NAME FILE")
	owner.upload(form(owner.token(), "a.ovpn", "client\n", "target", "=provider"))
	owner.shows("That did not work: this box cannot change its configuration from the page.")
}

// TestUploadIsForgotten when its owner leaves it alone.
func TestUploadIsForgotten(t *testing.T) {
	of := &box{}
	of.set(working())
	s, server := served(t, of)
	serveImports(t, s, works)
	owner := visit(t, server.URL)
	owner.login(ownerPassword)
	owner.upload(form(owner.token(), "a.ovpn", "client\n", "target", "=provider"))
	owner.shows("Put it in force")
	now := time.Now().Add(keepUpload)
	s.config.Now = func() time.Time { return now }
	s.expire()
	owner.shows("Upload and try")
	if _, err := os.Lstat(s.uploadPath()); !os.IsNotExist(err) {
		t.Errorf("the file is left: %v", err)
	}
}

// TestUploadInBrowser: a mistake is shown at the form, a good profile is put in force.
func TestUploadInBrowser(t *testing.T) {
	t.Parallel()
	of := &box{}
	of.set(working())
	s, server := served(t, of)
	service := serveImports(t, s, func(r api.ImportRequest) []api.Progress {
		if r.Verb == api.ImportTry && r.Password != uploadSecret {
			return []api.Progress{{Text: "connecting: udp 203.0.113.9:1194"}, {Done: true,
				Error: "nl.ovpn:3: the server rejected the user name or password",
				Hint:  "type them again"}}
		}
		return works(r)
	})
	file := filepath.Join(t.TempDir(), "nl.ovpn")
	if err := os.WriteFile(file, []byte("client\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := browsertest.New(t, browsertest.Options{})
	b.Login(server.URL, ownerPassword)
	b.Click("#to-profile")
	fill := func(password string) {
		b.See("#file")
		b.Choose("#file", file)
		b.Type("#password", password+"\n")
	}
	b.See("#username")
	b.Type("#username", "anna")
	fill("wrong")
	b.WaitFor(`document.querySelector("#fault").textContent.includes("nl.ovpn:3: the server rejected")`)
	b.WaitFor(`document.querySelector("#username").value === "anna"`)
	service.mu.Lock()
	service.hold = make(chan struct{})
	service.mu.Unlock()
	fill(uploadSecret)
	b.WaitFor(`document.querySelector("#lines").textContent.includes("connected  udp")`)
	close(service.hold)
	b.WaitFor(`document.querySelector("#apply")`)
	b.Do(chromedp.Click(chromedp.CSS("#apply")))
	b.WaitFor(`document.querySelector("#done").textContent.includes("is up, by udp")`)
	if r, _, _ := service.last(); r.Verb != api.ImportReplace || r.Egress != "provider" ||
		r.Username != "anna" {
		t.Errorf("asked to %s %s", r.Verb, r.Egress)
	}
}

// with gives a request another body.
func with(body *bytes.Buffer) func(*http.Request) {
	return func(r *http.Request) {
		r.Body, r.ContentLength = io.NopCloser(body), int64(body.Len())
	}
}

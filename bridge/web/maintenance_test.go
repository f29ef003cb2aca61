package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"ztbridge/bridge/api"
	"ztbridge/bridge/health"
	"ztbridge/bridge/web/browsertest"
)

// fakeBox carries out commands, and says what it did.
type fakeBox struct {
	mu       sync.Mutex
	did      []string
	fails    error         // of every command
	half     bool          // it fails in the middle
	begun    chan struct{} // when not nil, a command says so here and waits for go on
	goOn     chan struct{}
	restarts int
	updates  int

	network fakeNetwork
}

func (f *fakeBox) serve(s *Server) {
	s.config.Tools = Tools{Run: f.run, Restart: func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.restarts++
	}, Update: func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.updates++
		return nil
	}, Network: func(context.Context, NetworkOptions) (Network, error) {
		return &f.network, nil
	}}
}

func (f *fakeBox) run(_ context.Context, in io.Reader, out io.Writer, args ...string) error {
	if f.begun != nil {
		f.begun <- struct{}{}
		<-f.goOn
	}
	fed := ""
	if in != nil {
		all, err := io.ReadAll(in)
		if err != nil {
			return err
		}
		fed = string(all)
	}
	f.mu.Lock()
	f.did = append(f.did, strings.Join(args, " ")+" < "+fed)
	f.mu.Unlock()
	if f.fails != nil && !f.half {
		return f.fails
	}
	if _, err := out.Write([]byte("content of " + args[0])); err != nil {
		return err
	}
	return f.fails
}

const passphrase = "nine tall giraffes"

func backupForm(token, first, again string) url.Values {
	return url.Values{"token": {token}, "passphrase": {first}, "again": {again}}
}

// TestMaintenanceRoles: only the owner, on this page, has the box do something, and each is noted.
func TestMaintenanceRoles(t *testing.T) {
	t.Parallel()
	longest := strings.Repeat("ä", maxPassword)
	for _, who := range []string{"nobody", "viewer", "owner"} {
		of := &box{}
		status := working()
		status.Conditions = []api.Condition{{Code: health.UpdateAvailable, Severity: health.Info,
			Message: "Version 2.0.0 is there; this box's turn is tomorrow."}}
		of.set(status)
		s, server := served(t, of)
		fake := &fakeBox{}
		fake.serve(s)
		v := visit(t, server.URL)
		token := v.as(who)
		if who == "owner" {
			for name, edit := range foreign {
				for _, path := range []string{"restart", "update", "support", "backup", "messages"} {
					response, _ := v.ask(http.MethodPost, "/maintenance/"+path,
						backupForm(token, passphrase, passphrase), edit)
					if response.StatusCode < 400 {
						t.Errorf("%s, %s: %d", path, name, response.StatusCode)
					}
				}
			}
		}
		for _, a := range []action{
			{http.MethodGet, "/maintenance", nil, answers(303, 403, 200)},
			{http.MethodPost, "/maintenance/restart", nil, answers(401, 403, 202)},
			{http.MethodPost, "/maintenance/update", nil, answers(401, 403, 202)},
			{http.MethodPost, "/maintenance/support", nil, answers(401, 403, 200)},
			{http.MethodGet, "/maintenance/support", nil, answers(404, 404, 404)},
			// This box tells nobody: see TestTestMessages.
			{http.MethodPost, "/maintenance/messages", nil, answers(401, 403, 404)},
			{http.MethodPost, "/maintenance/backup", map[string]string{"passphrase": passphrase,
				"again": passphrase}, answers(401, 403, 200)},
			{http.MethodPost, "/maintenance/backup", map[string]string{"passphrase": longest,
				"again": longest}, answers(401, 403, 200)},
			{http.MethodPost, "/maintenance/backup", map[string]string{"passphrase": longest + "ä",
				"again": longest + "ä"}, answers(401, 403, 422)},
			{http.MethodPost, "/maintenance/backup", map[string]string{"passphrase": passphrase,
				"again": "nine tall girafes"}, answers(401, 403, 422)},
			{http.MethodPost, "/maintenance/backup", map[string]string{"passphrase": passphrase},
				answers(401, 403, 422)},
			{http.MethodPost, "/maintenance/backup", map[string]string{
				"passphrase": "nine tall\ngiraffes", "again": "nine tall\ngiraffes"},
				answers(401, 403, 422)},
		} {
			form := url.Values{"token": {token}}
			for name, value := range a.form {
				form.Set(name, value)
			}
			response, body := v.ask(a.method, a.path, form)
			if response.StatusCode != a.want[who] {
				t.Errorf("%s: %s %s %v: %d, want %d:\n%s", who, a.method, a.path, a.form,
					response.StatusCode, a.want[who], body)
			}
			if response.StatusCode == 200 && a.method == http.MethodPost &&
				(!strings.HasPrefix(response.Header.Get("Content-Disposition"), "attachment;") ||
					response.Header.Get("Cache-Control") != "no-store") {
				t.Errorf("%s is sent with %v", a.path, response.Header)
			}
		}
		var want []string
		restarts := 0
		if who == "owner" {
			restarts, want = 1, []string{"support -o - < ",
				"backup -o - --passphrase-file /dev/stdin < " + passphrase + "\n",
				"backup -o - --passphrase-file /dev/stdin < " + longest + "\n"}
		}
		if !slices.Equal(fake.did, want) || fake.restarts != restarts ||
			fake.updates != restarts {
			t.Errorf("%s had it do %q and restart %d times", who, fake.did, fake.restarts)
		}
		log, err := os.ReadFile(filepath.Join(s.config.Dir, auditFile))
		if who == "owner" && (err != nil || strings.Count(string(log), "make a backup") != 6 ||
			!strings.Contains(string(log), "restart the gateway")) {
			t.Errorf("the log has %v\n%s", err, log)
		}
		if strings.Contains(string(log), passphrase) {
			t.Error("the log has the passphrase")
		}
	}
}

// TestUpdateWhereNothingWaits is refused, and not offered.
func TestUpdateWhereNothingWaits(t *testing.T) {
	t.Parallel()
	of := &box{}
	of.set(working())
	s, server := served(t, of)
	fake := &fakeBox{}
	fake.serve(s)
	v := visit(t, server.URL)
	v.login(ownerPassword)
	if _, body := v.ask(http.MethodGet, "/maintenance", nil); strings.Contains(body, "Update now") {
		t.Error("an update is offered")
	}
	response, body := v.ask(http.MethodPost, "/maintenance/update", url.Values{"token": {v.token()}})
	if response.StatusCode < 400 || fake.updates != 0 || !strings.Contains(body, "No newer version") {
		t.Errorf("%d\n%s", response.StatusCode, body)
	}
}

// TestFilesThatFail are told in words, and half of one never looks like a whole one.
func TestFilesThatFail(t *testing.T) {
	t.Parallel()
	of := &box{}
	of.set(working())
	s, server := served(t, of)
	fake := &fakeBox{fails: &api.HintedError{Err: errors.New("the passphrase is too short"),
		Hint: "use several words"}}
	fake.serve(s)
	v := visit(t, server.URL)
	v.login(ownerPassword)
	token := v.token()
	response, body := v.ask(http.MethodPost, "/maintenance/backup", backupForm(token, "x", "x"))
	if response.StatusCode != http.StatusUnprocessableEntity ||
		response.Header.Get("Content-Disposition") != "" ||
		!strings.Contains(body, "The passphrase is too short. Use several words.") {
		t.Errorf("refused: %d %v\n%s", response.StatusCode, response.Header, body)
	}
	response, body = v.ask(http.MethodPost, "/maintenance/support", url.Values{"token": {token}})
	if response.StatusCode != http.StatusInternalServerError || !strings.Contains(body, "too short") {
		t.Errorf("failed: %d\n%s", response.StatusCode, body)
	}
	fake.half = true
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
		server.URL+"/maintenance/support", strings.NewReader(url.Values{"token": {token}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Origin", server.URL)
	answer, err := v.client.Do(request)
	if err == nil {
		_, err = io.ReadAll(answer.Body)
		_ = answer.Body.Close()
	}
	if err == nil {
		t.Error("half a file came to a good end")
	}
}

// TestOneFileAtATime: a second one is told to wait.
func TestOneFileAtATime(t *testing.T) {
	t.Parallel()
	of := &box{}
	of.set(working())
	s, server := served(t, of)
	fake := &fakeBox{begun: make(chan struct{}), goOn: make(chan struct{})}
	fake.serve(s)
	v := visit(t, server.URL)
	v.login(ownerPassword)
	form := url.Values{"token": {v.token()}}
	var first sync.WaitGroup
	first.Go(func() {
		if response, _ := v.ask(http.MethodPost, "/maintenance/support", form); response.StatusCode != 200 {
			t.Errorf("the first: %d", response.StatusCode)
		}
	})
	<-fake.begun
	response, body := v.ask(http.MethodPost, "/maintenance/support", form)
	if response.StatusCode != http.StatusInternalServerError ||
		!strings.Contains(body, "Another file is being made") {
		t.Errorf("the second: %d\n%s", response.StatusCode, body)
	}
	close(fake.goOn)
	first.Wait()
}

// TestMaintenanceInBrowser asks before it restarts, and tells of passphrases that differ.
func TestMaintenanceInBrowser(t *testing.T) {
	t.Parallel()
	of := &box{}
	of.set(working())
	s, server := served(t, of)
	fake := &fakeBox{}
	fake.serve(s)
	b := browsertest.New(t, browsertest.Options{Allowed: []string{"422"}})
	b.Login(server.URL, ownerPassword)
	b.Click(`nav a[href="/maintenance"]`)
	b.See("#passphrase")
	b.Type("#passphrase", passphrase)
	b.Type("#again", "nine tall girafes\r")
	b.WaitFor(`document.querySelector("#fault").textContent == "The two passphrases differ."`)
	b.WaitFor(`document.activeElement.id == "passphrase"`)
	restart := `form[action^="/maintenance/restart"] button`
	b.ClickAndAnswer(restart, false)
	b.See(restart)
	b.ClickAndAnswer(restart, true)
	b.WaitFor(`document.querySelector("h1").textContent == "The gateway is restarting."`)
	fake.mu.Lock()
	defer fake.mu.Unlock()
	if fake.restarts != 1 || len(fake.did) != 0 {
		t.Errorf("it restarted %d times, and did %q", fake.restarts, fake.did)
	}
}

package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/zerotier/controllertest"
)

// says answers with a status and a body.
func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// oddAnswers are what no controller says, and what is then told.
var oddAnswers = map[string]struct {
	answer      http.HandlerFunc
	want        string
	isEmptyList bool // where a list is asked for
}{
	"a sign-in page":     {says(200, "\n <!DOCTYPE html><title>Sign in</title>"), "it is a web page", false},
	"an empty answer":    {says(200, ""), "", false},
	"half an answer":     {says(200, `{"id":"a1b2c3d4e5000001","config":{"rou`), "unexpected end", false},
	"null":               {says(200, "null"), "", true},
	"an empty object":    {says(200, "{}"), "", true},
	"another network":    {says(200, `{"id":"ffffffffff000009","config":{"routes":[]}}`), "", false},
	"an error as answer": {says(200, `{"error":"down for maintenance"}`), "", false},
	"types swapped":      {says(200, `{"id":5,"config":"x","items":[{"id":true}]}`), "", false},
	"a huge answer": {func(w http.ResponseWriter, _ *http.Request) {
		block := []byte(strings.Repeat(" ", 1<<20))
		for range 20 {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}, "", false},
}

// TestNetworkOddAnswers answers one request of a set-up with what is no answer, and has the
// controller carry it out, or not. The run fails with an error that says what to do, or ends as it
// should. Nothing else is changed by it; the next run finishes, and teardown takes all back.
func TestNetworkOddAnswers(t *testing.T) {
	everyAPI(t, func(t *testing.T, api controllertest.API) {
		clean := usualBox(t, api)
		before := clean.server.State()
		clean.must("setup", "--yes")
		want := clean.server.State()
		total, _ := clean.server.Requests()
		t.Parallel()
		i := 0
		for name, odd := range oddAnswers {
			i++
			for k := 1; k <= total; k++ {
				b := usualBox(t, api)
				b.server.Instead = func(n int, r *http.Request) (http.HandlerFunc, bool) {
					if n == k && !(odd.isEmptyList && strings.HasSuffix(r.URL.Path, "/member")) {
						return odd.answer, (i+k)%2 == 0
					}
					return nil, true
				}
				where := fmt.Sprintf("%s at request %d", name, k)
				b.expectOdd(where, odd.want, want, "setup", "--yes")
				if n := strings.Count(b.server.State(), "network "); n != 1 {
					t.Errorf("%s: there are %d networks", where, n)
				}
				b.server.Instead = nil
				b.must("setup", "--yes")
				if got := b.server.State(); got != want {
					t.Errorf("%s: the next run leads to\n%s\nwant\n%s", where, got, want)
				}
				b.must("teardown", "--yes")
				compareStates(t, api, before, b.server.State())
			}
		}
	})
}

// expectOdd expects a command to lead to a state, or to fail with an error and a hint.
func (b *netBox) expectOdd(where, says, state string, args ...string) {
	b.t.Helper()
	code, stdout, stderr := b.run(args...)
	if code == exitOK {
		if got := b.server.State(); got != state {
			b.t.Errorf("%s: done, but it is\n%s\nwant\n%s%s", where, got, state, stdout)
		}
		return
	}
	if !strings.Contains(stderr, "hint: ") || strings.Contains(stderr, "Go struct") ||
		strings.Count(stderr, "\n") > 4 {
		b.t.Errorf("%s: %s", where, stderr)
	}
	if b.api != controllertest.OnBox && !strings.Contains(stderr, says) {
		b.t.Errorf("%s: want %q: %s", where, says, stderr)
	}
}

// A sign-in page in the place of a controller takes no network away, though teardown asks for it.
func TestNetworkTeardownIsNotBelieved(t *testing.T) {
	everyAPI(t, func(t *testing.T, api controllertest.API) {
		b := newNetBox(t, api, "  networks: [your-16-digit-network-id]\n")
		b.must("setup", "--yes")
		b.server.Instead = func(_ int, r *http.Request) (http.HandlerFunc, bool) {
			if r.Method == http.MethodDelete {
				return says(200, "<html>Sign in"), false
			}
			return nil, true
		}
		if code, stdout, _ := b.run("teardown", "--yes"); code == exitOK {
			t.Errorf("done:\n%s", stdout)
		}
		b.server.Instead = nil
		b.must("teardown", "--yes")
		if got := b.server.State(); strings.Contains(got, "network ") {
			t.Errorf("what is left:\n%s", got)
		}
	})
}

// The token goes to no other host, and is kept only where a controller took it.
func TestNetworkTokenGoesNowhereElse(t *testing.T) {
	for _, api := range []controllertest.API{controllertest.V1, controllertest.V2} {
		var got []string
		thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			got = append(got, r.Header.Get("Authorization"))
		}))
		defer thief.Close()
		for _, kind := range []string{"", "--controller=central-" + string(api)} {
			for name, answer := range map[string]http.HandlerFunc{
				"a redirect": func(w http.ResponseWriter, r *http.Request) {
					http.Redirect(w, r, thief.URL+"/network", http.StatusTemporaryRedirect)
				},
				"a sign-in page": says(200, "<html>Sign in"), "a failure": says(503, ""),
			} {
				b := usualBox(t, api)
				b.server.Instead = func(int, *http.Request) (http.HandlerFunc, bool) {
					return answer, false
				}
				args := []string{"setup", "--yes"}
				if kind != "" {
					args = append(args, kind)
				}
				code, stdout, stderr := b.run(args...)
				if code == exitOK || !strings.Contains(stderr, "hint: ") {
					t.Errorf("%s: %s%s", name, stdout, stderr)
				}
				if _, err := os.Stat(filepath.Join(b.dir, "state", "zerotier-token")); err == nil {
					t.Errorf("%s: the token is kept, though nobody took it", name)
				}
			}
		}
		if len(got) > 0 {
			t.Errorf("the other host was asked: %q", got)
		}
	}
}

// Who asks to wait for longer than a minute is not asked again before; the time is told.
func TestNetworkLongWait(t *testing.T) {
	for _, wait := range []string{"86400", "99999999999999999999",
		time.Now().Add(48 * time.Hour).UTC().Format(http.TimeFormat)} {
		b := usualBox(t, controllertest.V1)
		before := b.server.State()
		b.server.Status, b.server.Header = 429, http.Header{"Retry-After": {wait}}
		code, _, stderr := b.run("setup", "--yes", "--controller", "central-v1")
		n, _ := b.server.Requests()
		if code != exitError || !strings.Contains(stderr, "asks to wait until") || n != 1 {
			t.Errorf("%q: %d requests: %s", wait, n, stderr)
		}
		if b.server.State() != before {
			t.Error("something was changed")
		}
	}
}

// A certificate for another name, or of another time, gets no token, and the hint is its own.
func TestNetworkCertificates(t *testing.T) {
	impostor := httptest.NewUnstartedServer(http.HandlerFunc(
		func(_ http.ResponseWriter, r *http.Request) { t.Errorf("asked: %s", r.URL) }))
	impostor.Config.ErrorLog = log.New(io.Discard, "", 0)
	impostor.StartTLS()
	defer impostor.Close()
	b := usualBox(t, controllertest.V2)
	b.server.URL = impostor.URL
	code, _, stderr := b.run("setup", "--yes")
	if code != exitError || !strings.Contains(stderr, "certificate") ||
		!strings.Contains(stderr, "sign-in page or a proxy") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// Numbers as text, what is null, and members named again are read as what they mean.
func TestNetworkLooseAnswers(t *testing.T) {
	b := usualBox(t, controllertest.V1)
	b.server.Instead = func(_ int, r *http.Request) (http.HandlerFunc, bool) {
		if !strings.HasSuffix(r.URL.Path, "/member") {
			return nil, true
		}
		one := `{"nodeId":"0000000001","name":null,"lastSeen":"1700000000000",` +
			`"config":{"authorized":true,"ipAssignments":["10.147.17.1"]}}`
		return says(200, "["+one+","+one+`,{"nodeId":"0000000002","lastSeen":1.7e12,`+
			`"config":{"authorized":null,"ipAssignments":null}}]`), true
	}
	table, _ := b.must("members")
	if strings.Count(table, "0000000001") != 1 || strings.Count(table, "0000000002") != 1 {
		t.Errorf("members:\n%s", table)
	}
}

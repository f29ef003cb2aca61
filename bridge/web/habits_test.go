package web

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"ztbridge/bridge/api"
	"ztbridge/bridge/clients"
	"ztbridge/bridge/web/browsertest"
	"ztbridge/bridge/zerotier/controllertest"
)

// TestDoubleClicks do what one click does, and show what came of it.
func TestDoubleClicks(t *testing.T) {
	t.Parallel()
	plan := newPlanBox(t, controllertest.OnBox, plannedNetwork)
	s := plan.page
	roster := newRoster(t)
	// slowly answers later than the second click comes.
	slowly := func() { time.Sleep(300 * time.Millisecond) }
	s.config.Clients = func() (*clients.Roster, error) { slowly(); return roster, nil }
	plan.controller.At = func(_ int, r *http.Request) controllertest.Fault {
		if r.Method == http.MethodPost {
			slowly()
		}
		return controllertest.None
	}
	service := serveImports(t, s, works)
	file := filepath.Join(t.TempDir(), "nl.ovpn")
	if err := os.WriteFile(file, []byte("client\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	plan.write("ztbridge.yaml", "zerotier: {home: zt, networks: [your-16-digit-network-id]}\n")
	b := browsertest.New(t, browsertest.Options{})
	double := func(selector string) {
		t.Helper()
		b.WaitFor(`(() => {
			const button = document.querySelector(` + strconv.Quote(selector) + `)
			if (document.readyState !== "complete") { // its script does not run yet
				return false
			}
			window.before = true
			button.click()
			setTimeout(() => button.click(), 100)
			return true
		})()`)
		b.WaitFor(`!window.before && document.readyState === "complete"`)
	}
	b.Login(plan.served.URL, ownerPassword)
	double(`form[action="/exits/use"]:has([value=backup]) button`)
	b.Open(plan.served.URL + "/clients")
	b.Type("#name", "phone")
	double(`form[action^="/clients/add"] button`)
	b.WaitFor(`document.querySelector("h1").textContent === "phone is added"`)
	b.Open(plan.served.URL + uploadPage)
	b.Choose("#file", file)
	double("#upload")
	double("#apply")
	b.WaitFor(`document.querySelector("#done").textContent.includes("is up, by udp")`)
	if _, _, n := service.last(); n != 2 {
		t.Errorf("the service was asked %d times, want to try and to replace", n)
	}
	b.Open(plan.served.URL + planPage)
	double("#apply")
	b.WaitFor(`document.querySelector("#nothing")`)
	entries, err := s.audit.last(100)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, e := range entries {
		if count[e.What]++; e.Failed != "" || count[e.What] > 1 {
			t.Errorf("%d times: %s: %s", count[e.What], e.What, e.Failed)
		}
	}
}

// TestWithoutScripts acts by plain forms, and says what is missing.
func TestWithoutScripts(t *testing.T) {
	t.Parallel()
	of := remembering()
	of.set(working())
	s, server := served(t, of)
	withClients(s, newRoster(t))
	b := browsertest.New(t, browsertest.Options{})
	b.Do(func(ctx context.Context, tab *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, tab, emulation.SetScriptExecutionDisabled,
			emulation.SetScriptExecutionDisabledParams{Value: true})
		return chromedp.Void{}, err
	})
	b.Login(server.URL, ownerPassword)
	b.See("#no-script")
	if text := b.Text("#charts"); !strings.Contains(text, "provider") {
		t.Errorf("the past is:\n%s", text)
	}
	b.Click(`form[action="/exits/use"]:has([value=backup]) button`)
	used := func() bool {
		of.box.mu.Lock()
		defer of.box.mu.Unlock()
		return slices.Contains(of.did, "use backup")
	}
	for !used() { // else the next click would take the place of this one
		select {
		case <-t.Context().Done():
			t.Fatal("the box was told nothing")
		case <-time.After(20 * time.Millisecond):
		}
	}
	b.Click(`nav a[href="/clients"]`)
	b.Type("#name", "phone\n")
	b.See("#code")
}

// TestBackAndReload act on nothing again, and show the box as it is.
func TestBackAndReload(t *testing.T) {
	t.Parallel()
	of := &box{}
	of.set(working())
	_, server := served(t, of)
	b := browsertest.New(t, browsertest.Options{})
	b.Login(server.URL, ownerPassword)
	// loaded waits until the browser has left the page that it is on for another one.
	loaded := func(leave func(), condition string) {
		t.Helper()
		b.WaitFor(`document.readyState === "complete" && (window.before = true)`)
		leave()
		b.WaitFor(`!window.before && document.readyState === "complete" && ` + condition)
	}
	const live = `document.querySelector("#live")`
	loaded(func() { b.Click(`form[action="/exits/use"]:has([value=backup]) button`) }, live)
	loaded(func() { b.Do(chromedp.Reload()) }, live)
	loaded(func() { b.Click(`nav a[href="/activity"]`) }, `location.pathname === "/activity"`)
	of.set(onBackup())
	loaded(func() { b.Do(chromedp.NavigateBack()) },
		`document.querySelector("h1").textContent.includes("backup exit")`)
	loaded(func() { b.Do(chromedp.NavigateForward()) },
		`document.querySelector("main").textContent.includes("select the exit")`)
	loaded(func() { b.Click(`form[action="/logout"] button`) }, `document.querySelector("#password")`)
	loaded(func() { b.Do(chromedp.NavigateBack()) }, `document.querySelector("#password")`)
	of.mu.Lock()
	defer of.mu.Unlock()
	if len(of.did) != 1 {
		t.Errorf("the box did %q", of.did)
	}
}

// TestForeignPageHearsNothing of the stream, of a page or of a fragment, though the browser is
// logged in and both are the same site to it.
func TestForeignPageHearsNothing(t *testing.T) {
	t.Parallel()
	of := &box{}
	of.set(working())
	_, server := served(t, of)
	foreign := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<!doctype html><title>elsewhere</title><p>elsewhere</p>`))
	}))
	defer foreign.Close()
	b := browsertest.New(t, browsertest.Options{Allowed: []string{"CORS", "Failed to load",
		"ERR_", "net::", "403", "frame", "Content Security Policy"}})
	b.Login(server.URL, ownerPassword)
	b.Open(foreign.URL)
	heard := browsertest.Get(b, chromedp.Evaluate[string](`(async () => {
		const box = "`+server.URL+`", out = []
		await new Promise((done) => {
			const stream = new EventSource(box + "/events", {withCredentials: true})
			stream.addEventListener("status", (e) => out.push("stream " + e.data))
			stream.onerror = () => { stream.close(); done() }
		})
		for (const path of ["/", "/events", "/charts", "/clients", "/activity"]) {
			const how = {credentials: "include"}
			await fetch(box + path, how).then(async (r) => out.push(await r.text()), () => {})
		}
		await fetch(box + "/exits/use", {method: "POST", credentials: "include", mode: "no-cors",
			body: new URLSearchParams({exit: "backup"})}).catch(() => {})
		return out.join("\n")
	})()`, chromedp.EvalAwaitPromise))
	if heard != "" {
		t.Errorf("another page hears:\n%.300s", heard)
	}
	of.mu.Lock()
	defer of.mu.Unlock()
	if len(of.did) > 0 {
		t.Errorf("the box did %q", of.did)
	}
}

// TestStrangersNames steer neither the page nor the reading direction of what follows.
func TestStrangersNames(t *testing.T) {
	const evil = "\u202egnp.exe</h2><script>alert(1)</script>\u2066"
	of := &box{}
	status := working()
	status.Networks[0].Title = evil
	status.Conditions = []api.Condition{{Code: "tunnel-auth-failed", Subject: "provider",
		Message: evil, Remedy: evil}}
	for range 50 {
		status.Clients = append(status.Clients, api.Client{Name: evil, Listener: "udp/1194",
			Addresses: addrs("10.83.64.9")})
	}
	status.Egresses, status.Policies = nil, status.Policies[:2]
	of.set(status)
	_, server := served(t, of)
	v := visit(t, server.URL)
	v.as("owner")
	_, page := v.ask(http.MethodGet, "/", nil)
	if strings.ContainsAny(page, "\u202e\u2066") || strings.Contains(page, "<script>alert") ||
		strings.Count(page, "gnp.exe") < 50 {
		t.Errorf("the page is:\n%s", page)
	}
}

package notify

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/health"
)

// start runs a notifier until the test, or what is returned, ends it.
func start(t *testing.T, dir, url string, status func() api.Status) (*Notifier, func()) {
	t.Helper()
	n := New(dir, func() {}, slog.New(slog.DiscardHandler))
	n.Configure(Settings{Kinds: allKinds, DownAfter: time.Minute},
		[]Target{{Name: "webhook", By: []string{"wan"}, Sender: NewWebhook(url, "")}})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { n.Run(ctx, status, nil) })
	stop := func() { cancel(); running.Wait() }
	t.Cleanup(stop)
	return n, stop
}

// What was not delivered before a restart is delivered after it, once; the failure is a problem
// until then.
func TestOverARestart(t *testing.T) {
	dir := t.TempDir()
	arrived, attempts := make(chan Message, 10), make(chan bool, 100)
	var broken sync.Mutex
	refuse := true
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		broken.Lock()
		defer broken.Unlock()
		attempts <- true
		if refuse {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		var m Message
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			t.Error(err)
		}
		arrived <- m
	})
	// a machine that has news to deliver
	w := newBench(t)
	w.m.SetSenders([]string{"webhook"})
	w.status.Conditions = []api.Condition{{Code: health.EndpointFailed, Severity: health.Error}}
	for range 20 {
		w.now.Elapsed += look
		w.m.Step(w.now, w.status, w.settings)
	}
	text, err := json.Marshal(w.m)
	if err == nil {
		err = os.WriteFile(dir+"/"+fileName, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	status := func() api.Status { return w.status }
	n, stop := start(t, dir, url, status)
	<-attempts
	for n.Problems() == nil {
		time.Sleep(time.Millisecond) // until the outcome is noted
	}
	if p := n.Problems()[0]; p.Code != health.NotifyFailed || p.Subject != "webhook" ||
		!strings.Contains(p.Message, "403") || !strings.Contains(p.Remedy, "token") {
		t.Errorf("%+v", p)
	}
	stop()
	kept, err := os.ReadFile(dir + "/" + fileName)
	if err != nil || strings.Contains(string(kept), url) {
		t.Fatalf("%v, %s", err, kept)
	}
	// the person has corrected the token, and the time to wait is over
	broken.Lock()
	refuse = false
	broken.Unlock()
	changed := strings.Replace(string(kept), `"retry_at":`, `"retry_at":0,"was":`, 1)
	if err := os.WriteFile(dir+"/"+fileName, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	n, stop = start(t, dir, url, status)
	if m := <-arrived; len(m.Events) != 1 || m.Events[0].Code != health.EndpointFailed {
		t.Errorf("%+v", m)
	}
	for n.Problems() != nil {
		time.Sleep(time.Millisecond)
	}
	stop()
	_, stop = start(t, dir, url, status)
	deadline := time.Now().Add(10 * time.Second)
	for {
		if info, err := os.Stat(dir + "/" + fileName); err == nil && info.Size() > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nothing is kept")
		}
	}
	stop()
	if len(arrived) > 0 {
		t.Errorf("told again: %+v", <-arrived)
	}
}

func TestTestMessages(t *testing.T) {
	url := serve(t, func(http.ResponseWriter, *http.Request) {})
	n := New(t.TempDir(), func() {}, slog.New(slog.DiscardHandler))
	if _, err := n.NotifyTest(t.Context(), ""); !errors.Is(err, api.ErrNobodyTold) {
		t.Errorf("nobody is configured: %v", err)
	}
	n.Configure(Settings{}, []Target{
		{Name: "webhook", By: []string{"wan"}, Sender: NewWebhook(url, "")},
		{Name: "ntfy", By: []string{"wan"}, Sender: NewNtfy("https://ntfy.invalid/x", "")}})
	got, err := n.NotifyTest(t.Context(), "")
	if err != nil || len(got) != 2 || got[0].Error != "" || got[1].Error == "" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := n.NotifyTest(t.Context(), "telegram"); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("telegram is not configured: %v", err)
	}
	sent := 1
	for ; sent < 2*testBurst && err == nil; sent++ {
		_, err = n.NotifyTest(t.Context(), "webhook")
	}
	if !errors.Is(err, api.ErrTestsTooOften) {
		t.Errorf("after %d test messages: %v", sent, err)
	}
}

// Who is taken out of the configuration, and named again later, is not told of what was before.
func TestForgets(t *testing.T) {
	dir := t.TempDir()
	n, stop := start(t, dir, "https://127.0.0.1:1", func() api.Status { return newBench(t).status })
	await := func(there bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			if _, err := os.Stat(dir + "/" + fileName); (err == nil) == there {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("kept: %v", !there)
			}
		}
	}
	await(true)
	n.Configure(Settings{}, nil)
	await(false)
	stop()
}

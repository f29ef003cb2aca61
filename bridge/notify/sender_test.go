package notify

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/health"
	"ztbridge/bridge/pathdial"
)

const secret = "123456:AAbb-5ecret_5ecret"

var sample = Message{Box: "box", Time: time.Unix(1_800_000_000, 0).UTC(), Title: "box: Ü is down",
	Severity: health.Error, Text: "Ü is down.\nWhat to do: wait", Events: []Event{{Kind: Down,
		State: Began, Subject: "Ü", Severity: health.Error, Message: "m", Times: 1}}}

// serve answers by HTTPS like a service, and returns its address.
func serve(t *testing.T, handle http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewUnstartedServer(handle)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}

// direct is the path to servers of these tests, on loopback.
var direct = dialBy(nil)

func TestWhatSendersSend(t *testing.T) {
	var got struct {
		path, auth string
		body       map[string]any
	}
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		got.path, got.auth, got.body = r.URL.Path, r.Header.Get("Authorization"), nil
		if err := json.NewDecoder(r.Body).Decode(&got.body); err != nil || r.Method != "POST" {
			t.Errorf("%s: %v", r.Method, err)
		}
	})
	send := func(s Sender) {
		t.Helper()
		if err := s.Send(t.Context(), direct, sample); err != nil {
			t.Error(err)
		}
	}
	send(NewWebhook(url+"/hook", "tk"))
	if events, _ := got.body["events"].([]any); got.path != "/hook" || got.auth != "Bearer tk" ||
		got.body["title"] != sample.Title || got.body["severity"] != "error" || len(events) != 1 {
		t.Errorf("webhook: %+v", got)
	}
	send(NewNtfy(url+"/sub/my-topic", ""))
	if got.path != "/sub" || got.auth != "" || got.body["topic"] != "my-topic" ||
		got.body["message"] != sample.Text || got.body["priority"] != 4.0 {
		t.Errorf("ntfy: %+v", got)
	}
	send(NewTelegram(url+"/", secret, "-1001"))
	if text, _ := got.body["text"].(string); got.path != "/bot"+secret+"/sendMessage" ||
		got.body["chat_id"] != "-1001" || !strings.Contains(text, sample.Text) {
		t.Errorf("telegram: %+v", got)
	}
	long := sample
	long.Text = strings.Repeat("Ü", 9000)
	if err := NewTelegram(url, secret, "1").Send(t.Context(), direct, long); err != nil {
		t.Error(err)
	}
	if text, _ := got.body["text"].(string); len(text) > 4096 || !strings.HasSuffix(text, "Ü…") {
		t.Errorf("%d bytes of a long text", len(text))
	}
}

// Whatever goes wrong, no error holds what opens something, or what a terminal would obey.
func TestErrorsHoldNoSecret(t *testing.T) {
	hijack := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				fmt.Fprint(conn, text)
				conn.Close()
			}
		}
	}
	for name, handle := range map[string]http.HandlerFunc{
		"an echo": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			_ = json.NewEncoder(w).Encode(map[string]string{"description": "no bot " +
				r.URL.Path + " " + r.Header.Get("Authorization") + "\x1b[2J"})
		},
		"an echo of the last part": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			parts := strings.FieldsFunc(r.URL.Path,
				func(c rune) bool { return c == '/' || c == ':' })
			_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_token " +
				strings.TrimSuffix(strings.Join(parts, " "), " sendMessage") + " " +
				r.URL.Query().Get("key")})
		},
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://127.0.0.1:1"+r.URL.Path, http.StatusFound)
		},
		"an early end":   hijack(""),
		"another answer": hijack("HTTP/9.9 \x1b[2J " + secret + "\r\n\r\n"),
		"a flood of headers": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Much", strings.Repeat(secret, 1<<12))
		},
		"a flood": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, strings.Repeat(secret, 1<<14))
		},
	} {
		url := serve(t, handle)
		for _, s := range []Sender{NewTelegram(url, secret, "1"), NewWebhook(url+"/"+secret, secret),
			NewNtfy(url+"/5ecret", secret), NewTelegram("https://127.0.0.1:1", secret, "1"),
			NewWebhook(url+"/services/T0/AAbb-5ecret_5ecret?key=also-5ecret", ""),
			NewWebhook("https://nowhere.invalid/"+secret, "")} {
			err := s.Send(t.Context(), direct, sample)
			if err == nil {
				t.Errorf("%s: nothing is wrong", name)
				continue
			}
			for _, text := range []string{err.Error(), fmt.Sprintf("%+v %#v", err, err)} {
				if strings.Contains(text, "5ecret") || strings.ContainsRune(text, '\x1b') ||
					len(err.Error()) > 300 {
					t.Errorf("%s: %q", name, text)
				}
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	for status, want := range map[int]string{401: "token", 404: "address", 302: "leads to",
		400: "chat", 500: "", 429: ""} {
		url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "90")
			w.WriteHeader(status)
		})
		err := NewWebhook(url, "").Send(t.Context(), direct, sample)
		var r *Refusal
		if !errors.As(err, &r) || !strings.Contains(r.Remedy, want) ||
			r.RetryAfter != 90*time.Second {
			t.Errorf("%d: %#v", status, err)
		}
	}
}

// A server that says nothing, in whatever part of the conversation, holds nobody up.
func TestSilentServers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	for _, s := range []Sender{NewWebhook("https://"+l.Addr().String(), ""),
		NewMail(MailConfig{Host: "127.0.0.1", Port: port, Security: StartTLS, From: "a@b.org",
			To: []string{"a@b.org"}}),
		NewMail(MailConfig{Host: "127.0.0.1", Port: port, Security: TLS, From: "a@b.org",
			To: []string{"a@b.org"}})} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		began := time.Now()
		if err := s.Send(ctx, direct, sample); err == nil {
			t.Error("a silent server took a message")
		}
		cancel()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%T waited for %v", s, took)
		}
	}
}

// Without a path nothing is sent, and what is sent by one does not leave by another.
func TestPaths(t *testing.T) {
	asked := 0
	url := serve(t, func(http.ResponseWriter, *http.Request) { asked++ })
	other := strings.Replace(url, "127.0.0.1", "127.0.0.1.", 1) // a name
	for _, paths := range [][]pathdial.Path{nil, {{Iface: "nosuchdevice", HostResolvers: true}},
		{{Iface: "lo", IPv6: true}}} {
		if err := NewWebhook(other, "").Send(t.Context(), dialBy(paths), sample); err == nil {
			t.Errorf("sent by %+v", paths)
		}
	}
	if asked != 0 {
		t.Errorf("asked %d times", asked)
	}
	err := deliver(t.Context(), Target{Sender: NewWebhook(other, ""), By: []string{"a", "wan"}}, nil,
		sample)
	if !errors.Is(err, ErrPathDown) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v", err)
	}
}

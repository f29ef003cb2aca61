package onetime

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// FuzzServeHTTP asks for what strangers may ask, with headers of their choice, beside an open link.
// Only its token gets the profile, whatever else is in the request, and only a GET of all of it
// spends the link.
func FuzzServeHTTP(f *testing.F) {
	const token = "TOKEN" // stands for the open link's
	f.Add("GET", "/"+token, "", "")
	f.Add("GET", "/"+token+"?null", "Range", "bytes=0-0")
	f.Add("HEAD", "/"+token, "Sec-Purpose", "prefetch")
	f.Add("GET", "/"+token, "Range", "bytes=-1,0-3, 5-")
	f.Add("GET", "//"+token, "If-Range", "x")
	f.Add("GET", "/"+strings.Repeat("A", tokenLen), "", "")
	f.Add("POST", "/", "Purpose", "")
	f.Add("GET", "/../"+token+"/", "Range", "bytes=99999999999999999999-")
	f.Fuzz(func(t *testing.T, method, path, header, value string) {
		now := time.Unix(1e9, 0)
		s := &Server{tickets: newTickets(make([]byte, 32), func() time.Time { return now }),
			log: slog.New(slog.DiscardHandler), lastByteDelay: time.Nanosecond}
		content := []byte("the secret profile")
		real, _, err := s.tickets.issue("phone", content, func() bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		r := &http.Request{Method: method, Header: http.Header{header: {value}},
			URL: &url.URL{Path: strings.ReplaceAll(path, token, real)}}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r.WithContext(t.Context()))
		body := w.Body.String()
		mine := r.URL.Path == "/"+real || r.URL.Path == real
		if strings.Contains(body, "secret") && (!mine || method != http.MethodGet) {
			t.Errorf("%s %q with %s: %q gives the profile away", method, r.URL.Path, header, value)
		}
		if len(s.tickets.open) != 1 {
			t.Fatalf("%d links are open, want 1", len(s.tickets.open))
		}
		if spent := s.tickets.open[0].delivered; spent != strings.Contains(body, string(content)) &&
			!strings.HasPrefix(w.Header().Get("Content-Type"), "multipart/") {
			t.Errorf("%s %q with %s: %q: spent is %v, and it gave %q", method, path, header, value,
				spent, body)
		}
	})
}

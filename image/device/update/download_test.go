package update

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An older system, though signed, would bring back the holes that newer ones closed.
func TestOlderVersionsNeedAWord(t *testing.T) {
	tests := []struct {
		running, offered string
		refused          bool
	}{
		{"2.0.0", "1.0.0", true},
		{"2.0.0", "1.99.99", true},
		{"2.0.0", "2.0.0~rc1", true},
		{"10.0", "9.0", true},
		{"1.2.3+5+gabc", "1.2.3", true},
		{"2.0.0", "2.0.0", false},
		{"2.0.0", "2.0.1", false},
		{"9.0", "10.0", false},
		{"2.0.0~rc1", "2.0.0", false},
		{"devel", "2.0.0", true}, // not comparable
	}
	for _, tt := range tests {
		t.Run(tt.running+" to "+tt.offered, func(t *testing.T) {
			f := newFixture(t)
			f.write(t, "image.json",
				[]byte(`{"target":"cloud-amd64","version":"`+tt.running+`"}`))
			bundle := f.bundleWith(t, Manifest{Target: "cloud-amd64", Version: tt.offered}, f.key)
			before := f.read(t, "run/slot-b")
			_, err := f.Apply(context.Background(), bytes.NewReader(bundle), false)
			if got := errors.Is(err, ErrDowngrade); got != tt.refused {
				t.Fatalf("error = %v", err)
			}
			if !tt.refused {
				return
			}
			if !bytes.Equal(before, f.read(t, "run/slot-b")) || f.state(t) != InUse {
				t.Error("the refused bundle changed something")
			}
			if _, err := f.Apply(context.Background(), bytes.NewReader(bundle), true); err != nil {
				t.Errorf("allowed by a person: %v", err)
			}
		})
	}
}

func TestAgeOfBundle(t *testing.T) {
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	for days, told := range map[int]bool{0: false, 89: false, 91: true, 400: true} {
		m := Manifest{Created: now.AddDate(0, 0, -days)}
		if got := m.Age(now); (got != "") != told {
			t.Errorf("after %d days: %q", days, got)
		}
	}
	if got := (Manifest{}).Age(now); got != "" {
		t.Errorf("of unknown age: %q", got)
	}
	if got := (Manifest{Created: now.AddDate(0, 0, -100)}).Age(now); !strings.Contains(got,
		"older than 100 days") {
		t.Errorf("told as %q", got)
	}
}

// endless serves zeros until the client has enough, after headers that tell the given size.
func endless(size string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if size != "" {
			w.Header().Set("Content-Length", size)
		}
		zeros := make([]byte, 64<<10)
		for {
			if _, err := w.Write(zeros); err != nil {
				return
			}
		}
	}
}

func TestDownload(t *testing.T) {
	f := newFixture(t)
	mux := http.NewServeMux()
	mux.HandleFunc("/bundle", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "content")
	})
	mux.HandleFunc("/endless", endless(""))
	mux.HandleFunc("/huge", endless("99999999999"))
	plain := httptest.NewServer(mux)
	defer plain.Close()
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plain.URL+"/bundle", http.StatusFound)
	})
	secure := httptest.NewTLSServer(mux)
	defer secure.Close()
	tests := []struct {
		name, address string
		insecure      bool
		want          error // nil: any
		good          bool
	}{
		{name: "http", address: plain.URL + "/bundle", want: ErrInsecure},
		{name: "http, allowed", address: plain.URL + "/bundle", insecure: true, good: true},
		{name: "unknown certificate", address: secure.URL + "/bundle"},
		{name: "unknown certificate, allowed", address: secure.URL + "/bundle", insecure: true,
			good: true},
		{name: "a file of this machine", address: "file:///etc/passwd", insecure: true,
			want: ErrInsecure},
		{name: "not found", address: plain.URL + "/other", insecure: true},
		{name: "without end", address: plain.URL + "/endless", insecure: true, want: ErrTooLarge},
		{name: "told to be too large", address: plain.URL + "/huge", insecure: true,
			want: ErrTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			name, err := f.Download(t.Context(), tt.address, tt.insecure)
			if tt.good {
				if b, _ := os.ReadFile(name); err != nil || string(b) != "content" {
					t.Fatalf("%q, %v", b, err)
				}
				return
			}
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("error = %v, want %v", err, tt.want)
			}
			left, err := os.ReadDir(filepath.Join(f.DataDir, "update"))
			if err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// A redirect from https must not lead to where anybody on the way can answer.
func TestDownloadFollowsNoRedirectToHTTP(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	secure := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	defer secure.Close()
	trusting := secure.Client().Transport.(*http.Transport).Clone()
	_, _, err := getBy(t.Context(), trusting, secure.URL, false)
	if !errors.Is(err, ErrInsecure) {
		t.Errorf("error = %v", err)
	}
}

func TestSaveKeepsSpaceFree(t *testing.T) {
	name := filepath.Join(t.TempDir(), "bundle")
	zeros := func() io.Reader { return bytes.NewReader(make([]byte, 1000)) }
	if err := save(name, zeros(), 2000, 500); !errors.Is(err, ErrNoSpace) {
		t.Errorf("error = %v", err)
	}
	if info, err := os.Stat(name); err != nil || info.Size() > 501 {
		t.Errorf("written: %v, %v", info, err)
	}
	if err := save(name, zeros(), 1000, 2000); err != nil {
		t.Error(err)
	}
}

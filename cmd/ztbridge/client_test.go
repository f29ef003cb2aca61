package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ztbridge/bridge/api"
)

// Disconnect knows one client, which is connected.
func (b *box) Disconnect(_ context.Context, client string) (int, error) {
	if client != "phone" {
		return 0, &api.HintedError{Err: fmt.Errorf("client %q: %w", client, api.ErrNotFound),
			Hint: "see `ztbridge client list`"}
	}
	return 1, nil
}

// Link gives out a link with a certificate that somebody vouches for, but for one client.
func (b *box) Link(_ context.Context, r api.LinkRequest) (api.Link, error) {
	l := api.Link{
		URL:     "https://vm.example.org/TOKEN",
		Import:  "openvpn://import-profile/https://vm.example.org/TOKEN",
		Expires: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC),
	}
	if r.TCP {
		l.URL += "-TCP"
	}
	if r.Client == "laptop" {
		l.Fingerprint = "00ff"
	}
	return l, nil
}

func TestParseLife(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 0, "90d": 90 * day, "2w": 14 * day, "1y": 365 * day, "36h": 36 * time.Hour,
		"0d": -1, "-5d": -1, "d": -1, "5": -1, "soon": -1, "-3h": -1, "200y": -1,
		"99999999999999999999d": -1, "1.5d": -1,
	} {
		got, err := parseLife(text)
		if (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("parseLife(%q) = %s, %v", text, got, err)
		}
	}
}

// Relative directories work: those that other processes are told are absolute.
func TestRelativeDirectories(t *testing.T) {
	t.Chdir(t.TempDir())
	where, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	p := &program{out: io.Discard, err: io.Discard, env: func(name string) string {
		return map[string]string{"ZTBRIDGE_STATE_DIR": "state"}[name]
	}}
	if code := p.execute(t.Context(), []string{"version", "--runtime-dir", "./run/x"}); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	o := p.options()
	if o.StateDir != filepath.Join(where, "state") ||
		o.RuntimeDir != filepath.Join(where, "run", "x") {
		t.Errorf("directories %s and %s", o.StateDir, o.RuntimeDir)
	}
}

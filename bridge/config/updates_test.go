package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUpdates(t *testing.T) {
	tests := map[string]struct {
		text, want, failed string
	}{
		"nothing":        {"", " 03:00-05:00", ""},
		"both":           {"updates: {channel: stable, window: '01:30-02:00'}", "stable 01:30-02:00", ""},
		"past midnight":  {"updates: {window: '23:30-01:00'}", " 23:30-01:00", ""},
		"off":            {"updates: {channel: off}", "off 03:00-05:00", ""},
		"no such":        {"updates: {channel: beta}", "", "is not known here"},
		"no window":      {"updates: {window: always}", "", "is no part of a day"},
		"empty window":   {"updates: {window: '03:00-03:00'}", "", "is no part of a day"},
		"an hour of 25":  {"updates: {window: '25:00-03:00'}", "", "is no part of a day"},
		"an unknown key": {"updates: {chanel: stable}", "", "unknown key"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "ztbridge.yaml")
			text := "zerotier: {networks: [abcdef0123000001]}\negress: {w: {wan: {}}}\n" +
				"policy: [{from: [zerotier], egress: [w]}]\n" + tt.text + "\n"
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg, _, err := Load(file, nil)
			if tt.failed != "" {
				if err == nil || !strings.Contains(err.Error(), tt.failed) ||
					!strings.Contains(err.Error(), "updates") {
					t.Errorf("error = %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := cfg.Updates.Channel + " " + cfg.Updates.Window.String(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

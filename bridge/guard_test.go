package bridge

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// What the guard closes must not depend on whether the configuration can still be read.
func TestGuardedIfaces(t *testing.T) {
	dir := t.TempDir()
	opts := Options{ConfigPath: filepath.Join(dir, "ztbridge.yaml"), StateDir: dir,
		Logger: slog.New(slog.DiscardHandler)}
	last, err := openIngresses(opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := last.Save([]string{"ing0", "tunztb.udp1194"}); err != nil {
		t.Fatal(err)
	}
	got, err := guardedIfaces(opts)
	if err == nil {
		t.Error("a missing configuration is not reported")
	}
	if want := []string{"ing0", "tunztb.udp1194", "zt*"}; !slices.Equal(got, want) {
		t.Errorf("without a configuration: %v, want %v", got, want)
	}
	if err := os.WriteFile(filepath.Join(dir, "p.ovpn"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	text := "ingress: [lan7]\negress: {p: {openvpn: {profile: p.ovpn}}}\n"
	if err := os.WriteFile(opts.ConfigPath, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err = guardedIfaces(opts)
	if err != nil {
		t.Error(err)
	}
	if want := []string{"ing0", "lan7", "tunztb.udp1194", "zt*"}; !slices.Equal(got, want) {
		t.Errorf("with a configuration: %v, want %v", got, want)
	}
}

// A unit that fails makes a system look broken that merely waits for its owner, or for its cloud.
func TestGuardOfABoxWithoutConfiguration(t *testing.T) {
	dir := t.TempDir()
	got, err := guardedIfaces(Options{ConfigPath: filepath.Join(dir, "ztbridge.yaml"),
		StateDir: dir, Logger: slog.New(slog.DiscardHandler)})
	if want := []string{"zt*"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("closes %v, %v; want %v", got, err, want)
	}
}

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
	if err := saveIngresses(dir, []string{"ing0", "tunztb.udp1194"}); err != nil {
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

// The service's devicemap renames interfaces. The names must be right before the service was ever
// asked: the first pass takes rules and filter from every other interface.
func TestRenamedInterfaceIsKnownAtOnce(t *testing.T) {
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "devicemap"), []byte(testNetwork+"=ztmapped\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	cfg := parse(t, "zerotier: {home: "+home+", networks: ["+testNetwork+
		"]}\negress: {direct: {wan: {}}}\npolicy: [{egress: direct}]\n")
	if got := ingressIfaces(cfg); !slices.Equal(got, []string{"ztmapped"}) {
		t.Errorf("the guard closes %v", got)
	}
	opts := Options{Logger: slog.New(slog.DiscardHandler)}
	none, next := emptyDrivers(opts, openvpnUser{}, newDoorbell()),
		emptyDrivers(opts, openvpnUser{}, newDoorbell())
	if _, err := none.zerotierTask(next, cfg.ZeroTier); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]Snapshot{"daemon": {ZeroTier: next.zerotier.Status()},
		"rehearsal": {ZeroTier: unasked(cfg.ZeroTier)}} {
		if g := Desire(cfg, s).Intent.Ingresses[0]; g.Iface != "ztmapped" {
			t.Errorf("%s: the ingress is %s", name, g.Iface)
		}
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

func TestPreferenceSurvives(t *testing.T) {
	dir := t.TempDir()
	for _, want := range []string{"", "backup", ""} {
		if err := savePreference(dir, want); err != nil {
			t.Fatal(err)
		}
		if got, err := loadPreference(dir); err != nil || got != want {
			t.Errorf("chosen %q, read back %q (%v)", want, got, err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v (%v)", entries, err)
	}
}

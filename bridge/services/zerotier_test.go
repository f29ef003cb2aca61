package services

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"ztbridge/bridge/bridgetest"
	"ztbridge/bridge/decide"
)

// The service's devicemap renames interfaces. The names must be right before the service was ever
// asked: the first pass takes rules and filter from every other interface.
func TestRenamedInterfaceIsKnownAtOnce(t *testing.T) {
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "devicemap"),
		[]byte(bridgetest.Network+"=ztmapped\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	cfg := bridgetest.Parse(t, "zerotier: {home: "+home+", networks: ["+bridgetest.Network+
		"]}\negress: {direct: {wan: {}}}\npolicy: [{egress: direct}]\n")
	if got := decide.IngressIfaces(cfg); !slices.Equal(got, []string{"ztmapped"}) {
		t.Errorf("the guard closes %v", got)
	}
	env := Env{Logger: slog.New(slog.DiscardHandler)}
	d, next := New(t.Context(), env, User{}, NewTrigger()), newServices()
	if _, err := d.zerotierTask(newServices(), next, cfg.ZeroTier); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]decide.Snapshot{"daemon": {ZeroTier: next.zerotier.Status()},
		"dry run": {ZeroTier: decide.UnqueriedNetworks(cfg.ZeroTier)}} {
		if g := decide.Decide(cfg, s).Intent.Ingresses[0]; g.Iface != "ztmapped" {
			t.Errorf("%s: the ingress is %s", name, g.Iface)
		}
	}
}

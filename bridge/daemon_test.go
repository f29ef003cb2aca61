package bridge

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"ztbridge/bridge/bridgetest"
	"ztbridge/bridge/config"
	"ztbridge/bridge/services"
)

// A configuration that cannot be carried out does not replace the one that is.
func TestReloadKeepsWhatWorks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ztbridge.yaml")
	bad := "zerotier: {networks: [" + bridgetest.Network + "]}\ningress: [" + bridgetest.Iface() +
		"]\negress: {direct: {wan: {}}}\npolicy: [{egress: direct}]\n"
	if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
		t.Fatal(err)
	}
	opts := Options{ConfigPath: path, Logger: slog.New(slog.DiscardHandler)}
	running := &services.Spec{Config: &config.Config{}}
	d := &daemon{opts: opts, spec: running, trigger: services.NewTrigger()}
	if err := d.reload(context.Background()); err == nil ||
		d.spec != running || d.refused == nil {
		t.Errorf("reload: %v, the running configuration is kept: %v", err, d.spec == running)
	}
	if _, err := Check(opts); err == nil {
		t.Error("config check accepts it")
	}
}

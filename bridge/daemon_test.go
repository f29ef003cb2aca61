package bridge

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/bridgetest"
	"ztbridge/bridge/config"
	"ztbridge/bridge/devices"
	"ztbridge/bridge/services"
	"ztbridge/bridge/systemd"
	"ztbridge/policyroute/kernel"
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
	d := &daemon{opts: opts, spec: running, trigger: services.NewTrigger(),
		notify: systemd.New(opts.Logger, resync)}
	if err := d.reload(context.Background()); err == nil ||
		d.spec != running || d.refused == nil {
		t.Errorf("reload: %v, the running configuration is kept: %v", err, d.spec == running)
	}
	if _, err := services.Check(path, nil); err == nil {
		t.Error("config check accepts it")
	}
}

// To read the status costs no pass, however often it is read: here no loop runs that could make
// one. It is of now, and of the last pass when the loop hangs.
func TestStatusCostsNoPass(t *testing.T) {
	set := services.New(t.Context(), services.Env{Logger: slog.New(slog.DiscardHandler)},
		services.User{}, services.NewTrigger())
	k, err := kernel.Open(kernel.Options{RecordPath: filepath.Join(t.TempDir(), "record")})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	d := &daemon{services: set, kernel: k, requests: make(chan request)}
	d.totals = devices.NewTotals(d.view, slog.New(slog.DiscardHandler))
	for _, tt := range []struct {
		age time.Duration
		now bool
	}{{time.Second, true}, {resync, true}, {stalled + time.Second, false}} {
		last := time.Now().Add(-tt.age)
		d.published.Store(&published{status: api.Status{Time: last,
			Reconcile: api.Reconcile{Passes: 7}}})
		for range 100 {
			st := d.Status()
			if st.Reconcile.Passes != 7 {
				t.Fatalf("a pass was made: %+v", st.Reconcile)
			}
			if now := time.Since(st.Time) < time.Second; now != tt.now {
				t.Fatalf("%v after a pass, the status is of %v", tt.age, time.Since(st.Time))
			}
		}
	}
}

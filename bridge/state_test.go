package bridge

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ztbridge/policyroute"
)

// A disk that cannot be written to is logged once, and not at each pass.
func TestRememberLogsOnce(t *testing.T) {
	var log strings.Builder
	opts := Options{StateDir: filepath.Join(t.TempDir(), "state"),
		Logger: slog.New(slog.NewTextHandler(&log, nil))}
	d := &daemon{opts: opts}
	d.recorded, _ = openConnected(opts)
	d.guarded, _ = openIngresses(opts)
	in := policyroute.Intent{Ingresses: []policyroute.Ingress{{Iface: "zt1"}}}
	remember := func(warns int) {
		t.Helper()
		d.remember(in, connectedPrefixes{"zt1": {}})
		if got := strings.Count(log.String(), "level=WARN"); got != warns {
			t.Errorf("%d warnings, want %d: %s", got, warns, log.String())
		}
	}
	remember(1)
	remember(1)
	if err := os.Mkdir(opts.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	remember(1)
	if again, err := openIngresses(opts); err != nil || len(again.Value()) != 1 {
		t.Errorf("kept: %v, %v", again.Value(), err)
	}
}

package bridge

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
)

// What a pass cannot do is logged once while it lasts.
func TestLastingFaultIsLoggedOnce(t *testing.T) {
	var log strings.Builder
	d := &daemon{opts: Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}}
	fault := errors.New("ip route replace default: invalid argument")
	for n, tt := range []struct {
		fault error
		warns int
	}{{fault, 1}, {fault, 1}, {errors.New("another"), 2}, {nil, 2}, {fault, 3}} {
		d.warnOf(tt.fault)
		if got := strings.Count(log.String(), "level=WARN"); got != tt.warns {
			t.Errorf("pass %d: %d warnings, want %d\n%s", n+1, got, tt.warns, log.String())
		}
	}
}

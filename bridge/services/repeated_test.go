package services

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
)

// What a pass cannot do is logged once while it lasts.
func TestLastingFaultIsLoggedOnce(t *testing.T) {
	var log strings.Builder
	logger := slog.New(slog.NewTextHandler(&log, nil))
	var said Repeated
	fault := errors.New("ip route replace default: invalid argument")
	for n, tt := range []struct {
		fault error
		warns int
	}{{fault, 1}, {fault, 1}, {errors.New("another"), 2}, {nil, 2}, {fault, 3}} {
		said.Warn(logger, "a pass", tt.fault)
		if got := strings.Count(log.String(), "level=WARN"); got != tt.warns {
			t.Errorf("pass %d: %d warnings, want %d\n%s", n+1, got, tt.warns, log.String())
		}
	}
}

package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Systemd stops and starts our units and zerotier-one's. The zero value is ready.
type Systemd struct{ stopped []string }

const (
	ourUnit      = "ztbridge.service"
	zerotierUnit = "zerotier-one.service"
)

// HasSystemd reports whether systemd manages this machine.
func HasSystemd() bool {
	_, err := os.Stat("/run/systemd/system")
	return err == nil
}

// Stop implements Services. The box stays closed meanwhile: the guard's filter is in the kernel.
func (s *Systemd) Stop(ctx context.Context) error {
	for _, unit := range []string{ourUnit, zerotierUnit} {
		// "activating" is one that systemd starts again and again.
		state := s.ask(ctx, "is-active", unit)
		if !slices.Contains([]string{"active", "activating", "reloading"}, state) {
			continue
		}
		if err := s.run(ctx, "stop", unit); err != nil {
			return errors.Join(err, s.Start(context.WithoutCancel(ctx)))
		}
		s.stopped = append(s.stopped, unit)
	}
	return nil
}

// Start implements Services. Our unit starts as well where it is enabled: a box without a
// configuration had it waiting.
func (s *Systemd) Start(ctx context.Context) error {
	units := slices.Clone(s.stopped)
	slices.Reverse(units) // zerotier-one first
	if !slices.Contains(units, ourUnit) && s.ask(ctx, "is-enabled", ourUnit) == "enabled" {
		units = append(units, ourUnit)
	}
	if len(units) == 0 {
		return nil
	}
	return s.run(ctx, append([]string{"start"}, units...)...)
}

// ask returns systemctl's answer in one word, which is empty if there is none.
func (s *Systemd) ask(ctx context.Context, verb, unit string) string {
	out, _ := exec.CommandContext(ctx, "systemctl", verb, unit).Output() // the word says it all
	return strings.TrimSpace(string(out))
}

func (s *Systemd) run(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("running systemctl %s: %w: %s", strings.Join(args, " "), err,
			strings.TrimSpace(string(out)))
	}
	return nil
}

// errRuns is returned while a program runs that nobody here could stop.
var errRuns = errors.New("zerotier-one is running: stop it first")

// nodeRuns returns errRuns if a zerotier-one runs with that home directory.
func nodeRuns(home string) error {
	text, err := os.ReadFile(filepath.Join(home, "zerotier-one.pid"))
	if err != nil {
		return nil // none was started there
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return nil
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err == nil && strings.TrimSpace(string(name)) == "zerotier-one" {
		return fmt.Errorf("%w (process %d, home %s)", errRuns, pid, home)
	}
	return nil
}

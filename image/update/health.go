package update

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ztbridge/image/grubenv"
)

// Health is what the daemon says of itself, reduced to what a new system is judged by: the errors, each as "code subject".
type Health struct {
	Errors []string `json:"errors"`
}

// worseThan lists the errors that were not there before. An update is not to blame for a provider that was down already.
func (h Health) worseThan(before Health) []string {
	var fresh []string
	for _, e := range h.Errors {
		if !slices.Contains(before.Errors, e) {
			fresh = append(fresh, e)
		}
	}
	return fresh
}

// parseHealth reads `ztbridge status --json`, of which only the conditions count.
func parseHealth(text []byte) (Health, error) {
	var status struct {
		Conditions []struct {
			Code     string `json:"code"`
			Subject  string `json:"subject"`
			Severity string `json:"severity"`
		} `json:"conditions"`
	}
	if err := json.Unmarshal(text, &status); err != nil {
		return Health{}, fmt.Errorf("reading the daemon's status: %w", err)
	}
	h := Health{Errors: []string{}}
	for _, c := range status.Conditions {
		if c.Severity == "error" {
			h.Errors = append(h.Errors, strings.TrimSpace(c.Code+" "+c.Subject))
		}
	}
	return h, nil
}

// daemonHealth asks the running daemon. Its exit code tells that something is wrong, which the answer tells better.
func daemonHealth(ctx context.Context) (Health, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "/usr/bin/ztbridge", "status", "--json").Output()
	if len(out) == 0 {
		return Health{}, fmt.Errorf("asking the daemon: %w", errors.Join(err, errNoAnswer))
	}
	return parseHealth(out)
}

var errNoAnswer = errors.New("no answer")

func (b *Box) healthFile() string { return filepath.Join(b.DataDir, "update", "before.json") }

// rememberHealth notes how the old system fares. A daemon that does not run is noted too: then anything is better.
func (b *Box) rememberHealth(ctx context.Context) error {
	before, err := b.Health(ctx)
	if err != nil {
		before = Health{Errors: []string{noDaemon}}
	}
	text, err := json.Marshal(before)
	if err != nil {
		return fmt.Errorf("noting the present state: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(b.healthFile()), 0o700); err != nil {
		return fmt.Errorf("noting the present state: %w", err)
	}
	if err := os.WriteFile(b.healthFile(), text, 0o600); err != nil {
		return fmt.Errorf("noting the present state: %w", err)
	}
	return nil
}

const noDaemon = "no-daemon"

// ErrUnhealthy reports a system that failed its trial.
var ErrUnhealthy = errors.New("the new system is not as good as the old one")

// Judge ends the trial of the running slot. It returns at once when there is none. Otherwise it asks the daemon until it
// is as healthy as it was before the update, and then makes the slot the active one; or until the time is up, and then
// returns ErrUnhealthy, after which the machine must be restarted: the boot loader starts the old slot.
func (b *Box) Judge(ctx context.Context, patience, every time.Duration) error {
	status, err := b.Status()
	if err != nil {
		return err
	}
	if status.State != Trying {
		return nil
	}
	var before Health
	if text, err := os.ReadFile(b.healthFile()); err == nil {
		_ = json.Unmarshal(text, &before) // unreadable: the new system has to be without any error
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		verdict := b.verdict(ctx, before)
		if verdict == nil {
			return b.setEnv(func(env grubenv.Block) {
				env[grubenv.Active], env[grubenv.Try], env[grubenv.Left] = string(status.Slot), "", "0"
			})
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrUnhealthy, verdict)
		case <-ticker.C:
		}
	}
}

func (b *Box) verdict(ctx context.Context, before Health) error {
	now, err := b.Health(ctx)
	if err != nil {
		return err
	}
	if fresh := now.worseThan(before); len(fresh) > 0 && !slices.Contains(before.Errors, noDaemon) {
		return fmt.Errorf("new errors: %s", strings.Join(fresh, ", "))
	}
	return nil
}

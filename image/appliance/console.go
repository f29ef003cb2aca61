package appliance

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"ztbridge/image/box"
)

// WriteConsole shows a message on every console of the kernel's: the screen and the serial line. There is no login on
// either, so that nothing is disturbed.
func WriteConsole(message string) {
	active, err := os.ReadFile("/sys/class/tty/console/active")
	if err != nil {
		return
	}
	text := "ztbridge: " + strings.ReplaceAll(strings.TrimSpace(message), "\n", "\nztbridge: ") + "\n"
	for _, name := range strings.Fields(string(active)) {
		if tty, err := os.OpenFile(filepath.Join("/dev", name), os.O_WRONLY|os.O_APPEND, 0); err == nil {
			_, _ = tty.WriteString(text) // a console that fails has nowhere to say so
			_ = tty.Close()
		}
	}
}

// Reporter shows the daemon's status on the console whenever it has changed in words, not merely in numbers.
type Reporter struct {
	// Status returns what `ztbridge status` prints; an error means that no daemon answers.
	Status  func(ctx context.Context) (string, error)
	Console func(message string)
	Every   time.Duration
}

// NewReporter reports on the real console.
func NewReporter() *Reporter {
	return &Reporter{Status: daemonStatus, Console: WriteConsole, Every: 5 * time.Second}
}

func daemonStatus(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "/usr/bin/ztbridge", "status").Output()
	if len(out) > 0 {
		// A nonzero exit code says that something is wrong; the text says what. Its last part, what the daemon did to the
		// kernel of late, is for those who ask for it, and would push the rest off a screen.
		answer, _, _ := strings.Cut(string(out), "\nlast pass ")
		return answer, nil
	}
	return "", err
}

// Run reports until the context ends.
func (r *Reporter) Run(ctx context.Context) error {
	ticker := time.NewTicker(r.Every)
	defer ticker.Stop()
	shown, up := "", false
	for {
		status, err := r.Status(ctx)
		switch {
		case err == nil && !up:
			r.Console("daemon up" + uptime())
			up = true
		case err != nil && up:
			r.Console("daemon down: nothing is forwarded until it is back")
			up, shown = false, ""
		}
		if essence := words(status); err == nil && essence != shown {
			r.Console(status)
			shown = essence
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

var numberRE = regexp.MustCompile(`[0-9]+([.:][0-9]+)*\s*([kMGT]?i?B|ms|s|m|h|d)?\b`)

// words is a status without what counts up all the time.
func words(status string) string { return numberRE.ReplaceAllString(status, "#") }

// uptime is the kernel's clock, the one by which starts are compared.
func uptime() string {
	b, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return ""
	}
	seconds, _, _ := strings.Cut(string(b), " ")
	return fmt.Sprintf(" %s s after the kernel, slot %s", seconds, runningSlot())
}

func runningSlot() string {
	slot, err := box.Running(box.RunDir)
	if err != nil {
		return "?"
	}
	return string(slot)
}

package appliance

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"ztbridge/image/device/box"
)

// WriteConsole shows a message on every console of the kernel's: the screen and the serial line.
// There is no login on either, so that nothing is disturbed.
func WriteConsole(message string) {
	active, err := os.ReadFile("/sys/class/tty/console/active")
	if err != nil {
		return
	}
	text := "ztbridge: " + strings.ReplaceAll(strings.TrimSpace(message), "\n", "\nztbridge: ") +
		"\n"
	for name := range strings.FieldsSeq(string(active)) {
		if tty, err := os.OpenFile(filepath.Join("/dev", name), os.O_WRONLY|os.O_APPEND,
			0); err == nil {
			_, _ = tty.WriteString(text) // a console that fails has nowhere to say so
			_ = tty.Close()
		}
	}
}

// Reporter shows the daemon's status on the console whenever its words change, not only its
// numbers. It leaves lasting problems on the FAT partition.
type Reporter struct {
	// Status returns the daemon's status in words. An error means that no daemon answers, or that
	// it is not ready.
	Status func(ctx context.Context) (string, error)
	// Problems returns what has been wrong for a while, empty when all is well. It is asked at a
	// sixth of the rate.
	Problems func(ctx context.Context) (string, error)
	// Tell leaves problems where a person finds them who cannot reach the box; empty ones are taken
	// back.
	Tell    func(problems string) error
	Told    string // what is there already
	Console func(message string)
	Every   time.Duration
	// Impatience is the time between questions until the first answer, with which the box's start
	// is over.
	Impatience time.Duration
	Log        *slog.Logger
}

// NewReporter reports on the real console and FAT partition what the daemon says.
func NewReporter(status func(context.Context) (string, error), log *slog.Logger) *Reporter {
	s := New(log)
	// if it cannot be read, it is written
	told, _ := os.ReadFile(filepath.Join(s.ConfigDir, errorFile))
	return &Reporter{
		Status: status, Problems: s.daemonProblems, Tell: s.writeErrorFile,
		Told: undos(string(told)), Console: WriteConsole,
		Every: 5 * time.Second, Impatience: 200 * time.Millisecond, Log: log,
	}
}

// Run reports until the context ends.
func (r *Reporter) Run(ctx context.Context) error {
	shown, up, wait := "", false, r.Impatience
	file := newProblemFile(r.Told, r.Tell)
	told := time.Now()
	for {
		status, err := r.ask(ctx)
		switch {
		case err == nil && !up:
			r.Console("daemon up" + uptime())
			up, wait = true, r.Every
		case err != nil && up:
			r.Console("daemon down: nothing is forwarded until it is back")
			up, shown = false, ""
		}
		if essence := words(status); err == nil && essence != shown {
			r.Console(status)
			shown = essence
		}
		if time.Since(told) >= 6*r.Every {
			told = time.Now()
			wait = r.Every // who starts that slowly is not looked at that closely
			if err := r.tellProblems(ctx, file); err != nil {
				r.Log.Warn("problems are not told on the boot partition", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

func (r *Reporter) ask(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return r.Status(ctx)
}

func (r *Reporter) tellProblems(ctx context.Context, file *problemFile) error {
	text, err := r.Problems(ctx)
	if err != nil {
		return err
	}
	return file.update(text, time.Now())
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

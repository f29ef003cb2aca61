package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"ztbridge/bridge/health"

	"golang.org/x/time/rate"
)

const (
	// minAge is how long a problem must have lasted to be worth a write to the card. Tunnels come
	// and go.
	minAge = 30 * time.Second
	// problemsEvery is how often the file is written in the long run: a card wears out. A start, in
	// which one cause follows another, has problemsAtOnce writes to itself.
	problemsEvery  = 10 * time.Minute
	problemsAtOnce = 5
)

// daemonProblems returns the lasting problems, for the FAT partition. They are what the setup
// noticed, and the daemon's errors with their remedies. It is empty when all is well.
func (s *Setup) daemonProblems(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	notice, err := os.ReadFile(s.Notice)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("reading the notice: %w", err)
	}
	status, err := exec.CommandContext(ctx, "/usr/bin/ztbridge", "status", "--json").Output()
	switch {
	case len(status) > 0: // the exit code says that something is wrong; the answer says what
		text, err := problems(status)
		return string(notice) + text, err
	case len(notice) > 0:
		return string(notice), nil // which is why no daemon runs
	default:
		last, _ := exec.CommandContext(ctx, "journalctl", "-q", "-b", "-o", "cat", "-n", "3", "-u",
			"ztbridge").Output()
		return fmt.Sprintf(
				"ztbridge does not run, and nothing is forwarded (%v). Its last words:\n%s", err,
				last),
			nil
	}
}

// problems reads `ztbridge status --json`, of which only errors count that last, and of those only
// the causes.
func problems(status []byte) (string, error) {
	var s struct {
		Time       time.Time `json:"time"`
		Conditions []struct {
			Severity  health.Severity `json:"severity"`
			Code      health.Code     `json:"code"`
			Since     time.Time       `json:"since"`
			Message   string          `json:"message"`
			Remedy    string          `json:"remedy"`
			DependsOn []health.Code   `json:"depends_on"`
		} `json:"conditions"`
	}
	if err := json.Unmarshal(status, &s); err != nil {
		return "", fmt.Errorf("reading the daemon's status: %w", err)
	}
	var present []health.Code
	for _, c := range s.Conditions {
		present = append(present, c.Code)
	}
	var b strings.Builder
	for _, c := range s.Conditions {
		follows := slices.ContainsFunc(c.DependsOn,
			func(code health.Code) bool { return slices.Contains(present, code) })
		if c.Severity != health.Error || follows || s.Time.Sub(c.Since) < minAge {
			continue
		}
		fmt.Fprintf(&b, "error: %s\n", c.Message)
		if c.Remedy != "" {
			fmt.Fprintf(&b, "hint: %s\n", c.Remedy)
		}
	}
	return b.String(), nil
}

// problemFile keeps the FAT partition's file as the problems are, with few writes.
type problemFile struct {
	write func(text string) error
	told  string
	spare *rate.Limiter
}

// newProblemFile is a file that says what was told before.
func newProblemFile(told string, write func(text string) error) *problemFile {
	return &problemFile{write: write, told: told,
		spare: rate.NewLimiter(rate.Every(problemsEvery), problemsAtOnce)}
}

// update writes what has changed in words, not merely in numbers.
func (p *problemFile) update(text string, now time.Time) error {
	if words(text) == words(p.told) || p.spare.TokensAt(now) < 1 {
		return nil
	}
	if err := p.write(text); err != nil {
		return err
	}
	p.told = text
	p.spare.AllowN(now, 1)
	return nil
}

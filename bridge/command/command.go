package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"ztbridge/bridge/api"
)

const (
	// maxTime bounds a command.
	maxTime = 5 * time.Minute
	// maxComplaint bounds what is kept of what a command says on standard error, in bytes.
	maxComplaint = 16 << 10
	// endsFirst is the oom_score_adj of a command: where memory runs out, it ends and not a tunnel.
	endsFirst = "800"
)

// Runner runs commands of this program. Safe for concurrent use.
type Runner struct {
	Program string // empty: the file that runs now
	// Flags come before each command: those that say which files are the daemon's.
	Flags []string
}

// Run runs a command to its end, fed by in and writing to out. Secrets belong into in: arguments
// can be read by everybody on the box. An error has the command's own words; its hint is theirs.
func (r Runner) Run(ctx context.Context, in io.Reader, out io.Writer, args ...string) error {
	program := r.Program
	if program == "" {
		var err error
		if program, err = os.Executable(); err != nil {
			return fmt.Errorf("finding this program: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	said := &tail{}
	cmd := exec.CommandContext(ctx, program, slices.Concat(r.Flags, args)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, said
	cmd.WaitDelay = time.Second
	err := cmd.Start()
	if err == nil {
		// A kernel that refuses it kills by size, which names the command as well.
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", cmd.Process.Pid),
			[]byte(endsFirst), 0o600)
		err = cmd.Wait()
	}
	if err != nil {
		return explain(err, said.kept.String())
	}
	return nil
}

// tail keeps the end of what is written to it.
type tail struct{ kept bytes.Buffer }

// Write implements io.Writer.
func (t *tail) Write(b []byte) (int, error) {
	_, _ = t.kept.Write(b) // never fails
	t.kept.Next(max(0, t.kept.Len()-maxComplaint))
	return len(b), nil
}

// explain returns what a command complained of, with its hint; err where it said nothing.
func explain(err error, said string) error {
	var words []string
	hint := ""
	for line := range strings.Lines(said) {
		line = strings.TrimSpace(line)
		if text, ok := strings.CutPrefix(line, "ztbridge: error: "); ok {
			words = append(words, text)
		} else if text, ok := strings.CutPrefix(line, "ztbridge: hint: "); ok {
			hint = text
		}
	}
	if len(words) == 0 {
		return fmt.Errorf("running a command of ztbridge: %w: %s", err, strings.TrimSpace(said))
	}
	return &api.HintedError{Err: errors.New(strings.Join(words, "; ")), Hint: hint}
}

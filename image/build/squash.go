package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// squash writes the tree as a squashfs with zstd and blocks of 128 KiB. Of the settings measured,
// it was both the smallest and the fastest to boot.
func squash(ctx context.Context, t *tree, file string, when time.Time) error {
	if err := os.RemoveAll(file); err != nil {
		return fmt.Errorf("making the root file system: %w", err)
	}
	stamp := fmt.Sprint(when.Unix())
	// Not sqfstar, which is the same program: its 4.5.1 takes no compression level.
	cmd := exec.CommandContext(ctx, "mksquashfs", "-", file, "-tar", "-quiet", "-no-progress",
		"-comp", "zstd", "-Xcompression-level", "19",
		"-b", "128K", "-reproducible", "-mkfs-time", stamp, "-all-time", stamp, "-root-mode",
		"0755", "-root-uid", "0", "-root-gid", "0", "-exit-on-error")
	// squashfs-tools refuse this variable together with an explicit time.
	cmd.Env = slices.DeleteFunc(os.Environ(),
		func(e string) bool { return strings.HasPrefix(e, "SOURCE_DATE_EPOCH=") })
	var output outputTail
	cmd.Stdout, cmd.Stderr = &output, &output
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("making the root file system: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("making the root file system: %w", err)
	}
	writeErr := errors.Join(t.writeTar(stdin, when), stdin.Close())
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("making the root file system: %w: %s", err, output.String())
	}
	// A tar ends with padding, for which the reader need not wait.
	if writeErr != nil && !errors.Is(writeErr, syscall.EPIPE) {
		return fmt.Errorf("making the root file system: %w", writeErr)
	}
	return nil
}

// outputTail keeps the end of a tool's output, for an error's text.
type outputTail struct{ text string }

func (o *outputTail) Write(b []byte) (int, error) {
	o.text += string(b)
	o.text = o.text[max(0, len(o.text)-4096):]
	return len(b), nil
}

// String returns the last lines.
func (o *outputTail) String() string {
	lines := strings.Split(strings.TrimSpace(o.text), "\n")
	return strings.Join(lines[max(0, len(lines)-12):], "\n")
}

package appliance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// The journal lives in RAM. What survives is the tail before a failure, a few times, bounded: a
// card wears out by logs.
const (
	keptLogs     = 5
	keptLogBytes = 128 << 10
	keptLogLines = "600"
)

// KeepLog saves the journal's tail under dir. reason becomes part of the file's name.
func KeepLog(ctx context.Context, dir, reason string) error {
	out, err := exec.CommandContext(ctx, "journalctl", "--no-pager", "-b", "-q", "-o",
		"short-monotonic", "-n", keptLogLines).Output()
	if err != nil {
		return fmt.Errorf("reading the journal: %w", err)
	}
	return keep(dir, reason, time.Now(), out)
}

func keep(dir, reason string, now time.Time, log []byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("keeping the log: %w", err)
	}
	log = log[max(0, len(log)-keptLogBytes):]
	name := filepath.Join(dir, now.UTC().Format("20060102T150405Z")+"-"+reason+".log")
	if err := writeSync(name, log); err != nil {
		return errors.Join(fmt.Errorf("keeping the log: %w", err), os.Remove(name))
	}
	// sorted, and the names begin with the time
	all, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		return fmt.Errorf("bounding the kept logs: %w", err)
	}
	for _, old := range all[:max(0, len(all)-keptLogs)] {
		if err := os.Remove(old); err != nil {
			return fmt.Errorf("bounding the kept logs: %w", err)
		}
	}
	return nil
}

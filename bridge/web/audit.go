package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

const (
	auditFile = "audit.log"
	// maxAudit is the size in bytes at which the log begins again; the one before is kept.
	maxAudit = 256 << 10
)

// Entry is something that a person did on the page, or tried to. It holds no secret.
type Entry struct {
	At     time.Time `json:"at"`
	Who    Role      `json:"who,omitempty"` // empty: nobody who is known
	From   string    `json:"from"`          // the source address
	What   string    `json:"what"`
	Failed string    `json:"failed,omitempty"` // why; empty: it was done
}

// audit is the log of what was done on the page, one JSON value a line. Safe for concurrent use.
type audit struct {
	dir string
	log *slog.Logger
	mu  sync.Mutex
}

// write adds an entry. One that cannot be written to the file is in the daemon's log all the same.
func (a *audit) write(e Entry) {
	a.log.Info("page", "who", string(e.Who), "from", e.From, "did", e.What, "failed", e.Failed)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.append(e); err != nil {
		a.log.Warn("writing the page's log failed", "error", err)
	}
}

func (a *audit) append(e Entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encoding an entry: %w", err)
	}
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return err //nolint:wrapcheck // names the file and what was tried
	}
	path := filepath.Join(a.dir, auditFile)
	if info, err := os.Stat(path); err == nil && info.Size() > maxAudit {
		if err := os.Rename(path, path+".1"); err != nil {
			return err //nolint:wrapcheck // likewise
		}
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err //nolint:wrapcheck // likewise
	}
	// The line's end comes first: one that was cut off by a loss of power spoils no other.
	_, err = f.Write(append([]byte{'\n'}, line...))
	return errors.Join(err, f.Close())
}

// last returns the newest entries, the newest first, at most n.
func (a *audit) last(n int) ([]Entry, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	path := filepath.Join(a.dir, auditFile)
	var out []Entry
	for _, name := range []string{path, path + ".1"} {
		data, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the page's log: %w", err)
		}
		lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
		slices.Reverse(lines)
		for _, line := range lines {
			var e Entry
			// A line that was cut off, and the empty first one, are left out.
			if len(out) < n && json.Unmarshal(line, &e) == nil {
				out = append(out, e)
			}
		}
	}
	return out, nil
}

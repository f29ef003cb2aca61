package pkglock

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// ErrGone reports that the mirror no longer has a locked version: the lock must be renewed.
var ErrGone = errors.New(
	"the mirror no longer has this version; renew the lock with `ztbridge-image lock`")

// Store keeps .debs by their SHA-256, so that a second build needs no network.
type Store struct {
	Dir    string
	Mirror string // base address above debian/ and debian-security/
	Client *http.Client
	// Progress is told after each package how many of how many are there. It may be called from
	// several goroutines.
	Progress func(done, total int)
}

// File is where the .deb of a package lies once fetched.
func (s *Store) File(p Package) string { return filepath.Join(s.Dir, p.SHA256+".deb") }

// Fetch makes every package of the lock present and verified. It is idempotent and resumes after an
// interruption.
func (s *Store) Fetch(ctx context.Context, lock *Lock) error {
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return fmt.Errorf("making package store: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	var done atomic.Int64
	for _, p := range lock.Packages {
		group.Go(func() error {
			if err := s.fetchOne(ctx, p); err != nil {
				return fmt.Errorf("fetching %s %s: %w", p.Name, p.Version, err)
			}
			if n := done.Add(1); s.Progress != nil {
				s.Progress(int(n), len(lock.Packages))
			}
			return nil
		})
	}
	return group.Wait()
}

func (s *Store) fetchOne(ctx context.Context, p Package) error {
	if info, err := os.Stat(s.File(p)); err == nil && info.Size() == p.Size {
		return nil // verified when it was stored: the name is the sum
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Mirror+"/"+escapePath(p.Path),
		nil)
	if err != nil {
		return err
	}
	resp, err := s.Client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return ErrGone
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("mirror answered %s", resp.Status)
	}
	return s.store(p, resp.Body)
}

// store writes the body under its final name only when size and sum are those of the lock.
func (s *Store) store(p Package, body io.Reader) error {
	tmp, err := os.CreateTemp(s.Dir, "fetch-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(tmp, sum), io.LimitReader(body, p.Size+1))
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); n != p.Size || got != p.SHA256 {
		return fmt.Errorf("got %d bytes with sha256 %s, the lock says %d bytes with %s", n, got,
			p.Size, p.SHA256)
	}
	if err := tmp.Chmod(0o644); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), s.File(p))
}

// escapePath writes a pool path as mirrors spell it. Some take '+' and '~' literally, and others do
// not.
func escapePath(path string) string {
	return strings.NewReplacer("+", "%2B", "~", "%7E", ":", "%3A", "%", "%25").Replace(path)
}

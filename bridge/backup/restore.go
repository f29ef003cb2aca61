package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ztbridge/bridge/config"
)

// ErrExists is returned when a restore would replace what makes this box itself, unasked.
var ErrExists = errors.New("this box is set up already")

// Services are the programs that use what a restore replaces.
type Services interface {
	// Stop stops those that run. On an error those that it stopped run again.
	Stop(ctx context.Context) error
	// Start starts those that shall run from now on.
	Start(ctx context.Context) error
}

// Restore says how a backup comes onto a box.
type Restore struct {
	Places
	// Replace allows to replace what is there, which is kept aside.
	Replace bool
	// Check returns what is wrong with the configuration in a file.
	Check func(file string) error
	// Services are stopped while files change. Nil: none can run.
	Services Services
}

// Restored says what a restore has done.
type Restored struct {
	Manifest
	Files int
	Aside []string // directories with what was replaced
}

// Do restores a backup: all of it, or nothing. One that was interrupted by a power cut is finished
// by the next call with the same backup. On an error before that point nothing has changed.
func (r Restore) Do(ctx context.Context, from io.Reader, passphrase string) (Restored, error) {
	data, err := io.ReadAll(io.LimitReader(from, 2*maxBackup))
	if err != nil {
		return Restored{}, fmt.Errorf("reading the backup: %w", err)
	}
	m, all, err := unpack(data, passphrase)
	if err != nil {
		return Restored{}, err
	}
	c := &commit{ID: idOf(data), state: r.State}
	done := Restored{Manifest: m, Files: len(all)}
	pending, err := readCommit(r.State)
	switch {
	case err != nil:
		return Restored{}, err
	case pending != nil && pending.ID == c.ID:
		done.Aside, err = r.carryOut(ctx, pending)
		return done, err
	case pending != nil: // of another backup, whose staged files go now
		if err := pending.end(); err != nil {
			return Restored{}, err
		}
	}
	if err := r.stage(c, all); err != nil {
		return Restored{}, errors.Join(err, c.discard())
	}
	done.Aside, err = r.carryOut(ctx, c)
	return done, err
}

// idOf tells one backup from another.
func idOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// stage puts all files beside their places and checks whether they may go there.
func (r Restore) stage(c *commit, all []file) error {
	byPart := map[part][]file{}
	for _, f := range all {
		byPart[f.part] = append(byPart[f.part], f)
	}
	dir := filepath.Dir(r.Config)
	conf := root{Dir: dir, mode: 0o755,
		Names: map[string]string{configName: filepath.Base(r.Config)}}
	if err := c.add(conf, byPart[configPart]); err != nil {
		return err
	}
	staged := filepath.Join(dir, stagingDir, configName)
	if r.Check != nil {
		if err := r.Check(staged); err != nil {
			return fmt.Errorf("checking the backup's configuration: %w", err)
		}
	}
	restored, err := config.LoadPortable(staged)
	if err != nil {
		return fmt.Errorf("reading the backup's configuration: %w", err)
	}
	home := restored.ZeroTierHome
	if name, err := filepath.Rel(filepath.Join(dir, stagingDir), home); err == nil &&
		filepath.IsLocal(name) {
		home = filepath.Join(dir, name) // relative to the configuration's final place
	}
	if !r.Replace {
		if err := r.conflicts(byPart, home); err != nil {
			return err
		}
	}
	if r.System != "" {
		// What a person gave this box, or what it made already, stays.
		fresh := slices.DeleteFunc(slices.Clone(byPart[systemPart]),
			func(f file) bool { return exists(filepath.Join(r.System, f.name)) })
		if err := c.add(root{Dir: r.System, mode: 0o755}, fresh); err != nil {
			return err
		}
	}
	if err := c.add(root{Dir: r.State, mode: 0o700}, byPart[statePart]); err != nil {
		return err
	}
	return c.add(root{Dir: home, mode: 0o700}, byPart[zerotierPart])
}

// conflicts returns ErrExists with what is there already. A new box has an identity in ZeroTier,
// which zerotier-one made at its first start; it may go as long as it is in no network.
func (r Restore) conflicts(byPart map[part][]file, home string) error {
	var there []string
	if configured(r.Config) {
		there = append(there, r.Config)
	}
	present, err := filesIn(r.State, kept)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(present)) {
		first, _, _ := strings.Cut(name, "/")
		replaced := slices.ContainsFunc(byPart[statePart],
			func(f file) bool { return f.name == first || strings.HasPrefix(f.name, first+"/") })
		if file := filepath.Join(r.State, first); replaced && !slices.Contains(learned, first) &&
			!slices.Contains(learned, name) && !slices.Contains(there, file) {
			there = append(there, file)
		}
	}
	networks, err := filepath.Glob(filepath.Join(home, "networks.d", "*.conf"))
	if err == nil && len(networks) > 0 && len(byPart[zerotierPart]) > 0 {
		there = append(there, networks...)
	}
	if len(there) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrExists, strings.Join(there, ", "))
}

// configured reports whether the file configures anything: the package's first one is all comments.
func configured(file string) bool {
	text, err := os.ReadFile(file)
	if err != nil {
		return exists(file)
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			return true
		}
	}
	return false
}

// carryOut exchanges the files while nobody uses them. From its first step on, only forward leads
// to a whole box.
func (r Restore) carryOut(ctx context.Context, c *commit) ([]string, error) {
	if r.Services != nil {
		if err := r.Services.Stop(ctx); err != nil {
			return nil, errors.Join(err, c.discardUncommitted())
		}
	}
	if err := c.inUse(); err != nil {
		err = errors.Join(err, c.discardUncommitted())
		if r.Services != nil {
			err = errors.Join(err, r.Services.Start(context.WithoutCancel(ctx)))
		}
		return nil, err
	}
	aside, err := c.run(time.Now())
	if err != nil {
		err = fmt.Errorf(
			"putting the files in place (the same command again goes on from here): %w", err)
	}
	if r.Services != nil { // whatever happened: the box works with what is there
		err = errors.Join(err, r.Services.Start(context.WithoutCancel(ctx)))
	}
	return aside, err
}

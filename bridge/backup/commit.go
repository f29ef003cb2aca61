package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"ztbridge/bridge/statefile"
)

// commit exchanges files in several directories so that a power cut leaves the old ones or leads to
// the new ones:
//
//	stage all ─▶ write the commit file ─▶ for each entry: old one aside, new one in ─▶ remove it
//	   │                                       ▲
//	   └─ error: remove what was staged        └─ after a power cut: the same again
//
// An entry that is still staged has not been exchanged yet, so that each step can be repeated.
type commit struct {
	ID    string `json:"id"` // of the backup
	Roots []root `json:"roots"`
	state string
	made  bool // the commit file exists
}

// root is a directory that gets new entries.
type root struct {
	Dir string `json:"dir"`
	// Names are what entries are called there, where that is not what they are called in a backup.
	Names map[string]string `json:"names,omitempty"`
	mode  os.FileMode
	fresh bool // the directory was made for the restore
}

// commitFile is in the state directory while a restore is under way.
const commitFile = ".restore-commit.json"

// readCommit returns the restore that a power cut has interrupted, nil if there is none.
func readCommit(state string) (*commit, error) {
	data, err := os.ReadFile(filepath.Join(state, commitFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	c := &commit{state: state, made: true}
	if err == nil {
		err = json.Unmarshal(data, c)
	}
	if err != nil {
		return nil, fmt.Errorf("reading how far the last restore came: %w", err)
	}
	return c, nil
}

// add stages files below a directory, which is made if need be. They belong to its owner.
func (c *commit) add(r root, files []file) error {
	if len(files) == 0 {
		return nil
	}
	r.fresh = !exists(r.Dir)
	if err := os.MkdirAll(r.Dir, r.mode); err != nil {
		return fmt.Errorf("making %s: %w", r.Dir, err)
	}
	info, err := os.Stat(r.Dir)
	if err != nil {
		return fmt.Errorf("reading %s: %w", r.Dir, err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("reading the owner of %s: not known here", r.Dir)
	}
	staging := filepath.Join(r.Dir, stagingDir)
	c.Roots = append(c.Roots, r)
	if err := os.RemoveAll(staging); err != nil {
		return fmt.Errorf("clearing %s: %w", staging, err)
	}
	if err := os.Mkdir(staging, 0o700); err != nil {
		return fmt.Errorf("making %s: %w", staging, err)
	}
	within, err := os.OpenRoot(staging)
	if err != nil {
		return fmt.Errorf("opening %s: %w", staging, err)
	}
	defer within.Close()
	for _, f := range files {
		if err := stageFile(within, f, r.mode, int(owner.Uid), int(owner.Gid)); err != nil {
			return fmt.Errorf("staging %s in %s: %w", f.name, r.Dir, err)
		}
	}
	return nil
}

func stageFile(within *os.Root, f file, dirMode os.FileMode, uid, gid int) error {
	own := func(name string) error {
		if os.Geteuid() != 0 {
			return nil // a test, which owns all there is
		}
		return within.Chown(name, uid, gid)
	}
	var dirs []string
	for dir := filepath.Dir(f.name); dir != "."; dir = filepath.Dir(dir) {
		dirs = append(dirs, dir)
	}
	for _, dir := range slices.Backward(dirs) {
		err := within.Mkdir(dir, dirMode)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err := errors.Join(err, own(dir)); err != nil {
			return err
		}
	}
	out, err := within.OpenFile(f.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = out.Write(f.data)
	return errors.Join(err, out.Chmod(f.mode), own(f.name), out.Sync(), out.Close())
}

// begin writes the commit file: from then on only forward leads to a whole box.
func (c *commit) begin() error {
	if c.made {
		return nil
	}
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.state, 0o700); err != nil {
		return fmt.Errorf("making %s: %w", c.state, err)
	}
	if err := statefile.Write(filepath.Join(c.state, commitFile), data); err != nil {
		return fmt.Errorf("beginning: %w", err)
	}
	c.made = true
	return statefile.SyncDir(c.state)
}

// run carries the commit out and returns the directories in which the old files are kept.
func (c *commit) run(now time.Time) (aside []string, err error) {
	if err := c.begin(); err != nil {
		return nil, errors.Join(err, c.discardUncommitted())
	}
	name := asidePrefix + now.UTC().Format("20060102T150405")
	// The configuration comes last: without it nothing of ours starts.
	for _, r := range slices.Backward(c.Roots) {
		replaced, err := r.exchange(name)
		if err != nil {
			return aside, err
		}
		if replaced {
			aside = append(aside, filepath.Join(r.Dir, name))
		}
	}
	return aside, c.end()
}

// end removes the commit file.
func (c *commit) end() error {
	if err := os.Remove(filepath.Join(c.state, commitFile)); err != nil {
		return fmt.Errorf("finishing: %w", err)
	}
	return statefile.SyncDir(c.state)
}

// exchange moves all staged entries to their places, and what was there into a directory of that
// name. It reports whether there was anything.
func (r root) exchange(name string) (replaced bool, err error) {
	staging, aside := filepath.Join(r.Dir, stagingDir), filepath.Join(r.Dir, name)
	entries, err := os.ReadDir(staging)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // done before a power cut
	}
	if err != nil {
		return false, fmt.Errorf("reading %s: %w", staging, err)
	}
	for _, e := range entries {
		final := e.Name()
		if other, ok := r.Names[final]; ok {
			final = other
		}
		to := filepath.Join(r.Dir, final)
		if exists(to) {
			if err := os.MkdirAll(aside, 0o700); err != nil {
				return replaced, fmt.Errorf("making %s: %w", aside, err)
			}
			if err := os.Rename(to, filepath.Join(aside, final)); err != nil {
				return replaced, fmt.Errorf("keeping %s: %w", to, err)
			}
			replaced = true
		}
		if err := os.Rename(filepath.Join(staging, e.Name()), to); err != nil {
			return replaced, fmt.Errorf("installing %s: %w", to, err)
		}
	}
	if err := statefile.SyncDir(r.Dir); err != nil {
		return replaced, err
	}
	return replaced, os.Remove(staging)
}

// discard removes what was staged.
func (c *commit) discard() error {
	var errs error
	for _, r := range c.Roots {
		if err := os.RemoveAll(filepath.Join(r.Dir, stagingDir)); err != nil {
			errs = errors.Join(errs, fmt.Errorf("removing what was staged: %w", err))
		}
		if r.fresh {
			errs = errors.Join(errs, os.Remove(r.Dir))
		}
	}
	return errs
}

// inUse returns an error while a zerotier-one runs whose files are to be exchanged.
func (c *commit) inUse() error {
	var errs error
	for _, r := range c.Roots {
		errs = errors.Join(errs, nodeRuns(r.Dir))
	}
	return errs
}

// discardUncommitted removes what was staged unless the commit has begun.
func (c *commit) discardUncommitted() error {
	if c.made {
		return nil
	}
	return c.discard()
}

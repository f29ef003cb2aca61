package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"ztbridge/bridge/statefile"
)

// disk replaces files so that a crash at any step leaves the old content or the new one.
type disk struct {
	// fault, when set, is asked before every step that changes the disk; an error stands for a
	// crash there.
	fault func(step string) error
}

func (d disk) step(name string) error {
	if d.fault == nil {
		return nil
	}
	return d.fault(name)
}

// write replaces path by data, mode 0600: temporary file, fsync, rename, fsync of the directory.
// renameio does neither the last step nor the tests' faults between the steps.
func (d disk) write(path string, data []byte) (err error) {
	if err := d.step("create " + path); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".tmp-*") // CreateTemp makes it 0600
	if err != nil {
		return fmt.Errorf("creating a file beside %s: %w", path, err)
	}
	defer func() {
		if err != nil && !errors.Is(err, errCrash) {
			_ = os.Remove(tmp.Name())
		}
	}()
	if err := d.fill(tmp, data); err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", path, err), tmp.Close())
	}
	if err := tmp.Close(); err != nil {
		return fmt.Errorf("closing %s: %w", path, err)
	}
	if err := d.step("rename " + path); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return fmt.Errorf("replacing %s: %w", path, err)
	}
	return d.syncDir(filepath.Dir(path))
}

func (d disk) fill(f *os.File, data []byte) error {
	half := len(data) / 2
	if _, err := f.Write(data[:half]); err != nil {
		return err
	}
	if err := d.step("write " + f.Name()); err != nil {
		return err
	}
	if _, err := f.Write(data[half:]); err != nil {
		return err
	}
	return f.Sync()
}

func (d disk) syncDir(dir string) error {
	if err := d.step("sync " + dir); err != nil {
		return err
	}
	return statefile.SyncDir(dir)
}

// mkdir makes a private directory. One that exists keeps its mode, and must not be writable by
// others: what is secret is in private files.
func (d disk) mkdir(dir string) error {
	if err := d.step("mkdir " + dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("creating %s: %w", dir, err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("creating %s: %w", dir, err)
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("%s has mode %04o: other users could replace keys in it; "+
			"run: chmod 700 %s", dir, mode, dir)
	}
	return nil
}

// remove deletes a file; an absent one is no error.
func (d disk) remove(path string) error {
	if err := d.step("remove " + path); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing %s: %w", path, err)
	}
	return nil
}

// errCrash marks a simulated crash, after which nothing is tidied up.
var errCrash = errors.New("simulated crash")

// lockTimeout is how long a command waits for another one; each holds the lock for milliseconds.
const lockTimeout = 5 * time.Second

// lock takes the exclusive lock on path and returns its release. The kernel releases it when the
// process dies.
func lock(path string) (release func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock %s: %w", path, err)
	}
	for deadline := time.Now().Add(lockTimeout); ; time.Sleep(10 * time.Millisecond) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), f.Close())
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(fmt.Errorf("%w: %s", ErrLocked, path), f.Close())
		}
	}
}

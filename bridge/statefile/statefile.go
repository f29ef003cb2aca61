package statefile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"
)

// JSON is a value that is kept in a file of mode 0600. It belongs to one goroutine.
type JSON[T any] struct {
	path string
	kept T
}

// Open reads the value at path. A file that does not exist holds the zero value. The result can be
// saved to even after an error.
func Open[T any](path string) (*JSON[T], error) {
	f := &JSON[T]{path: path}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	var kept T
	if err == nil {
		err = json.Unmarshal(b, &kept)
	}
	if err != nil {
		return f, fmt.Errorf("reading %s: %w", path, err)
	}
	f.kept = kept
	return f, nil
}

// Value returns what was read or saved last. The caller must not change it.
func (f *JSON[T]) Value() T { return f.kept }

// Save writes the value, unless it is what was read or saved last. It keeps v.
func (f *JSON[T]) Save(v T) error {
	if reflect.DeepEqual(v, f.kept) {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", f.path, err)
	}
	if err := Write(f.path, append(b, '\n')); err != nil {
		return err
	}
	f.kept = v
	return nil
}

// ReadLine returns the text of a file without the white space around it. A file that does not exist
// is empty.
func ReadLine(path string) (string, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(b)), err
}

// WriteLine replaces a file with one line. An empty line removes the file.
func WriteLine(path, line string) error {
	if line != "" {
		return Write(path, []byte(line+"\n"))
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// SyncDir returns when a directory's entries are on the disk: what was renamed in it is then there
// after a power cut.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("opening %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("waiting for %s to be written: %w", dir, err)
	}
	return nil
}

// Replace replaces a file at once and durably. The new one has the given mode, and the owner of
// model.
func Replace(path string, data []byte, mode fs.FileMode, model fs.FileInfo) error {
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)),
		renameio.WithStaticPermissions(mode))
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if owner, ok := model.Sys().(*syscall.Stat_t); ok && os.Geteuid() != int(owner.Uid) {
		err = errors.Join(err, f.Chown(int(owner.Uid), int(owner.Gid)))
	}
	if err == nil {
		err = f.CloseAtomicallyReplace()
	}
	return errors.Join(err, f.Cleanup())
}

// Write replaces a file of mode 0600 atomically: after a power cut it has the old content or the
// new one.
func Write(path string, data []byte) error {
	err := renameio.WriteFile(path, data, 0o600, renameio.WithTempDir(filepath.Dir(path)))
	if errno, ok := errors.AsType[syscall.Errno](err); ok { // else it names a temporary file
		err = fmt.Errorf("writing %s: %w", path, errno)
	}
	return err
}

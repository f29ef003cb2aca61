package importer

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ztbridge/bridge/config"
	"ztbridge/bridge/statefile"
)

const (
	// Dir is the directory, beside the configuration, that holds a directory for each import.
	Dir = "profiles"
	// loginFile holds the credentials beside the profile.
	loginFile = "login.auth"
)

// ours recognises the directories of imports.
var ours = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}-[0-9a-f]{8}$`)

// store is the directory of imports. Only one process has it open.
type store struct {
	path string
	lock *os.File
}

// openStore makes the directory if need be, and waits until no other import uses it.
func openStore(etc string) (*store, error) {
	s := &store{path: filepath.Join(etc, Dir)}
	for {
		if err := os.Mkdir(s.path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, fmt.Errorf("making a directory for profiles: %w", err)
		}
		var err error
		if s.lock, err = os.Open(s.path); errors.Is(err, os.ErrNotExist) {
			continue // another import has just removed it
		} else if err != nil {
			return nil, fmt.Errorf("opening the directory of profiles: %w", err)
		}
		if err := unix.Flock(int(s.lock.Fd()), unix.LOCK_EX); err != nil {
			return nil, errors.Join(fmt.Errorf("locking %s: %w", s.path, err), s.lock.Close())
		}
		locked, err := s.lock.Stat()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("reading %s: %w", s.path, err), s.lock.Close())
		}
		if there, err := os.Stat(s.path); err == nil && os.SameFile(locked, there) {
			return s, nil
		}
		_ = s.lock.Close() // it was removed before it was locked
	}
}

// close removes the directory if it is empty.
func (s *store) close() {
	_ = os.Remove(s.path) // it is not, where it is in use
	_ = s.lock.Close()
}

// add writes the files of a source into a new directory, whose name it returns also on an error.
func (s *store) add(name string, from *source, login *config.Credentials,
	at func(string)) (dir string, err error) {
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails
	dir = filepath.Join(s.path, name+"-"+hex.EncodeToString(random[:]))
	if !ours.MatchString(filepath.Base(dir)) {
		return "", fmt.Errorf("%q is not a good name: use up to 31 lower-case letters, digits and "+
			"hyphens, a letter first", name)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", fmt.Errorf("making a directory for the profile: %w", err)
	}
	at("files")
	for file, data := range from.files {
		if err := writeFile(filepath.Join(dir, file), data); err != nil {
			return dir, err
		}
		at("file")
	}
	if login != nil {
		if err := writeFile(filepath.Join(dir, loginFile), loginText(login)); err != nil {
			return dir, err
		}
	}
	return dir, errors.Join(statefile.SyncDir(dir), statefile.SyncDir(s.path))
}

// loginText is the content of a file of credentials.
func loginText(c *config.Credentials) []byte {
	var lines []string
	if c.Username.Reveal() != "" {
		lines = append(lines, c.Username.Reveal(), c.Password.Reveal())
	}
	if c.KeyPassphrase.Reveal() != "" {
		lines = append(lines, c.KeyPassphrase.Reveal())
	}
	return []byte(strings.Join(lines, "\n") + "\n")
}

// named returns the name of a file of an import, relative to the configuration.
func (s *store) named(dir, file string) string {
	return filepath.Join(Dir, filepath.Base(dir), file)
}

// remove removes an import; an empty name is none.
func (s *store) remove(dir string) error {
	if dir == "" {
		return nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("removing what was written: %w", err)
	}
	return nil
}

// clean removes the imports that a configuration no longer names.
func (s *store) clean(path string, text []byte, overrides config.Overrides) error {
	cfg, _, err := config.LoadText(path, text, overrides)
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	entries, err := os.ReadDir(s.path)
	if err != nil {
		return fmt.Errorf("listing the profiles: %w", err)
	}
	files := cfg.Files()
	for _, e := range entries {
		dir := filepath.Join(s.path, e.Name())
		named := slices.ContainsFunc(files,
			func(f string) bool { return strings.HasPrefix(f, dir+string(filepath.Separator)) })
		if !e.IsDir() || !ours.MatchString(e.Name()) || named {
			continue
		}
		if err := s.remove(dir); err != nil {
			return err
		}
	}
	return nil
}

func writeFile(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("writing the profile: %w", err)
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing the profile: %w", err)
	}
	return nil
}

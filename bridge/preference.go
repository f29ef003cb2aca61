package bridge

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// preferenceFile holds the name of the egress that a person chose, so that the choice survives a restart.
const preferenceFile = "egress-chosen"

// loadPreference returns the egress chosen by a person, empty if nobody chose.
func loadPreference(stateDir string) (string, error) {
	b, err := os.ReadFile(filepath.Join(stateDir, preferenceFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading chosen egress: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// savePreference records the choice; an empty name forgets it.
func savePreference(stateDir, egress string) error {
	path := filepath.Join(stateDir, preferenceFile)
	if egress == "" {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forgetting chosen egress: %w", err)
		}
		return nil
	}
	if err := writeFile(path, []byte(egress+"\n"), 0o600); err != nil {
		return fmt.Errorf("recording chosen egress: %w", err)
	}
	return nil
}

// writeFile replaces a file in one step, so that a power cut leaves the old content or the new.
func writeFile(path string, data []byte, mode fs.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

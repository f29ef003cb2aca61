package bridge

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
)

// preferenceFile holds the name of the egress that a person chose, so that the choice survives a
// restart.
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
	if err := writeFile(path, []byte(egress+"\n")); err != nil {
		return fmt.Errorf("recording chosen egress: %w", err)
	}
	return nil
}

// writeFile replaces a file in one step, so that a power cut leaves the old content or the new.
func writeFile(path string, data []byte) error {
	return renameio.WriteFile(path, data, 0o600, renameio.WithTempDir(filepath.Dir(path)))
}

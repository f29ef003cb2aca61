package services

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// MakeDirs makes the directories of the daemon and its services that do not exist yet. Those on the
// way to openvpn's sockets and device nodes get mode 0755 whatever the umask, since openvpn runs as
// another user. A directory that exists keeps its mode: another program may have made it.
func (e Env) MakeDirs() error {
	if err := os.MkdirAll(e.StateDir, 0o755); err != nil {
		return fmt.Errorf("making directory: %w", err)
	}
	if err := MakeRuntimeDir(e.RuntimeDir); err != nil {
		return err
	}
	for _, dir := range []string{"openvpn", "endpoint", "dev"} {
		if err := makeSearchable(filepath.Join(e.RuntimeDir, dir)); err != nil {
			return err
		}
	}
	return nil
}

// MakeRuntimeDir makes the runtime directory and those above it. Idempotent.
func MakeRuntimeDir(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("making directory: %w", err)
	}
	return makeSearchable(dir)
}

// makeSearchable makes a directory of mode 0755 whatever the umask. It leaves one that exists as it
// is.
func makeSearchable(path string) error {
	err := os.Mkdir(path, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil {
		err = os.Chmod(path, 0o755)
	}
	if err != nil {
		return fmt.Errorf("making directory: %w", err)
	}
	return nil
}

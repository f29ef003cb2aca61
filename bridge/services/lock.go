package services

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrRunning reports that a daemon runs, where it must not.
var ErrRunning = errors.New("the daemon is running")

// Lock makes this process the only one that may change the kernel by this runtime directory. It
// fails with ErrRunning if another one is. Closing the file, or dying, releases it.
func Lock(runtimeDir string) (*os.File, error) {
	if err := MakeRuntimeDir(runtimeDir); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(runtimeDir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening lock: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, errors.Join(ErrRunning, f.Close())
	case err != nil:
		return nil, errors.Join(fmt.Errorf("taking lock: %w", err), f.Close())
	}
	return f, nil
}

// Package appliance is what the image's own units run: it makes the data partition at the first start, takes over what a
// person put on the FAT partition, reports on the console, and judges a new slot. None of it is in the Debian package.
package appliance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"ztbridge/image/box"
)

// Setup prepares the box before anything else of ours starts. The fields are the world; New fills in the real one.
type Setup struct {
	RunDir    string
	ConfigDir string // where the FAT partition is mounted
	DataDir   string
	EtcDir    string // the daemon's configuration
	Binds     []bind
	// Run executes a tool and returns its output in the error.
	Run func(ctx context.Context, name string, args ...string) error
	// Mount is unix.Mount; a remount has no source.
	Mount func(source, target, fstype string, flags uintptr, data string) error
	// InCloud says that a metadata service will be asked for a configuration if there is none yet.
	InCloud bool
	// Console is told what a person must know.
	Console func(message string)
	Log     *slog.Logger
}

// New is the setup of the running box.
func New(log *slog.Logger) *Setup {
	return &Setup{
		RunDir: box.RunDir, ConfigDir: box.ConfigMount, DataDir: box.DataMount, EtcDir: "/etc/ztbridge", Binds: binds,
		Run: runTool, Mount: unix.Mount, InCloud: inOracleCloud(), Console: WriteConsole, Log: log,
	}
}

// Perform mounts the partitions and takes over the user's files. Problems with those files are the user's to solve: they
// are written to the FAT partition and the console, and are no error of the setup. It is idempotent over restarts of the
// machine, whatever it was interrupted in.
func (s *Setup) Perform(ctx context.Context) error {
	for _, dir := range []string{s.ConfigDir, s.DataDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making %s: %w", dir, err)
		}
	}
	if err := s.Mount(filepath.Join(s.RunDir, box.ConfigLink), s.ConfigDir, "vfat", unix.MS_RDONLY, "umask=077"); err != nil {
		return fmt.Errorf("mounting the configuration partition: %w", err)
	}
	err := s.prepareData(ctx)
	if s.InCloud && errors.Is(err, errNoConfig) {
		err = nil // not yet
	}
	return errors.Join(err, s.tell(err))
}

func (s *Setup) prepareData(ctx context.Context) error {
	if err := s.mountData(ctx); err != nil {
		return err
	}
	if err := s.bindData(); err != nil {
		return err
	}
	return errors.Join(s.provision(ctx), s.applySystemFiles(ctx))
}

// errorFile is where a person who takes the card to a PC finds out why the box does not work.
const errorFile = "ztbridge-error.txt"

// tell leaves the problem on the FAT partition and the console; a nil problem removes an old one.
func (s *Setup) tell(problem error) error {
	file := filepath.Join(s.ConfigDir, errorFile)
	if problem == nil {
		if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return s.writable(func() error { return os.Remove(file) })
	}
	text := problem.Error() + "\n"
	s.Console("error: " + text)
	if old, err := os.ReadFile(file); err == nil && string(old) == dos(text) {
		return nil
	}
	return s.writable(func() error { return writeSync(file, []byte(dos(text)), 0o600) })
}

// dos ends lines as every editor of every system shows them.
func dos(text string) string {
	return strings.ReplaceAll(text, "\n", "\r\n")
}

func runTool(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// writeSync replaces a file's content and waits until it is on the medium.
func writeSync(name string, data []byte, mode os.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

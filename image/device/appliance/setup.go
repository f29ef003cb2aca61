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

	"ztbridge/image/device/box"
)

// Setup prepares the box before anything else of ours starts. New fills
// in the real one.
type Setup struct {
	RunDir    string
	ConfigDir string // where the FAT partition is mounted
	DataDir   string
	EtcDir    string // the daemon's configuration
	Binds     []bind
	Notice    string // file whose content `ztbridge status` shows
	// Run executes a tool and returns its output in the error.
	Run func(ctx context.Context, name string, args ...string) error
	// Check asks the daemon's program whether a configuration is good, and returns what it remarks
	// of a good one.
	Check func(ctx context.Context, file string) (remarks string, err error)
	// Restore makes this box the one of a backup, all or nothing, before anything uses its files.
	Restore func(ctx context.Context, file, passphraseFile, systemDir string) error
	// ClaimFile exists while the page can be claimed; Code runs `ztbridge page code`.
	ClaimFile string
	Code      func(ctx context.Context, flags ...string) (string, error)
	// Named returns the files that a configuration file names, beside which they lie, whether or
	// not it is good. Nil: none.
	Named func(file string) []string
	// Grow lets the data partition take the rest of its disk.
	Grow func(partition string) error
	// Mount is unix.Mount; a remount has no source.
	Mount func(source, target, fstype string, flags uintptr, data string) error
	// InCloud reports whether a metadata service will be asked for a configuration if there is none
	// yet.
	InCloud bool
	// Console is told what a person must know.
	Console func(message string)
	Log     *slog.Logger
}

// New is the setup of the running box.
func New(log *slog.Logger) *Setup {
	return &Setup{
		RunDir: box.RunDir, ConfigDir: box.ConfigMount, DataDir: box.DataMount,
		EtcDir: "/etc/ztbridge", Binds: binds,
		Notice: box.Notice, Run: runTool, Check: checkConfig, Restore: restoreBackup,
		ClaimFile: box.Claim, Code: pageCode, Grow: growData, Mount: unix.Mount,
		InCloud: inOracleCloud(), Console: WriteConsole, Log: log,
	}
}

// Perform mounts the partitions and takes over the user's files. Problems are told on the FAT
// partition, the console and in the notice, and returned. It is idempotent over restarts of the
// machine, whatever it was interrupted in.
func (s *Setup) Perform(ctx context.Context) error {
	for _, dir := range []string{s.ConfigDir, s.DataDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making %s: %w", dir, err)
		}
	}
	if err := s.Mount(filepath.Join(s.RunDir, box.ConfigLink), s.ConfigDir, "vfat", unix.MS_RDONLY,
		"umask=077"); err != nil {
		return fmt.Errorf("mounting the configuration partition: %w", err)
	}
	remarks, err := s.prepareData(ctx)
	if errors.Is(err, unix.ENOSPC) {
		err = fmt.Errorf(
			"the data partition is full, and what is new on this partition was not taken over: "+
				"%w\n%s", err, hintFull)
	}
	return errors.Join(err, s.tell(remarks, err))
}

const hintFull = "hint: log in by SSH and remove what is not needed on /data (`du -ax /data | " +
	"sort -n | tail` lists what is large), or write the image again"

func (s *Setup) prepareData(ctx context.Context) (remarks string, err error) {
	if err := s.mountData(ctx); err != nil {
		return "", err
	}
	if err := s.bindData(); err != nil {
		return "", err
	}
	remarks, err = s.provision(ctx)
	return remarks, errors.Join(err, s.applySystemFiles(ctx))
}

func runTool(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

func checkConfig(ctx context.Context, file string) (remarks string, err error) {
	var out, problem strings.Builder
	cmd := exec.CommandContext(ctx, "/usr/bin/ztbridge", "config", "check", "--config", file)
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s (%w)", strings.TrimSpace(out.String()+problem.String()), err)
	}
	return warnings(out.String()), nil
}

// warnings returns the warnings of a report with their headings, without what is only information.
// Nearly every profile causes some. A heading is a line that is not indented.
func warnings(report string) string {
	var b strings.Builder
	heading := ""
	for line := range strings.SplitSeq(report, "\n") {
		switch {
		case strings.HasPrefix(strings.TrimSpace(line), "warning: "):
			b.WriteString(heading + line + "\n")
			heading = ""
		case !strings.HasPrefix(line, " "):
			heading = line + "\n"
		}
	}
	return b.String()
}

// writeSync replaces a file's content, for root's eyes only, and waits until it is on the medium.
func writeSync(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

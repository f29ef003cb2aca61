package appliance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"ztbridge/image/device/box"
	"ztbridge/image/device/grubenv"
)

// bind is a folder of the data partition and the place where a program expects it.
type bind struct {
	from string // below box.DataMount
	to   string
	mode os.FileMode
}

// binds is everything that survives a restart and a change of slots.
var binds = []bind{
	{"etc-ztbridge", "/etc/ztbridge", 0o755},
	{"state", "/var/lib/ztbridge", 0o700},
	{"zerotier-one", "/var/lib/zerotier-one", 0o755},
	// its file's time is the clock's floor at the next start
	{"timesync", "/var/lib/systemd/timesync", 0o755},
}

// errDataLost reports a data partition that once was good and cannot be mounted. It is never
// formatted: it may hold the only copy of an identity, and a person may still save it.
var errDataLost = errors.New(
	"the data partition cannot be read; the box stays closed. To begin again, write the image")

// mountData mounts the data partition, making its file system on the very first start. That it was
// made is written to the boot variables only when it is complete, so that a power cut in between
// leads to a second try and later damage never does.
func (s *Setup) mountData(ctx context.Context) error {
	device := filepath.Join(s.RunDir, box.DataLink)
	envFile := filepath.Join(s.ConfigDir, box.GrubEnv)
	env, err := grubenv.Load(envFile)
	if err != nil {
		return err
	}
	if env[grubenv.Data] != "1" {
		if err := s.Grow(device); err != nil {
			s.Log.Warn("the data partition stays as small as the image has it", "error", err)
		}
		// Not discarded first: some cards take minutes for it, and the unit has less.
		if err := s.Run(ctx, "mkfs.ext4", "-q", "-F", "-L", "ztb-data", "-m", "0", "-E",
			"nodiscard,lazy_itable_init=1,lazy_journal_init=1", device); err != nil {
			return fmt.Errorf("making the data file system: %w", err)
		}
		if err := s.Mount(device, s.DataDir, "ext4", unix.MS_NOATIME, ""); err != nil {
			return fmt.Errorf("mounting the new data file system: %w", err)
		}
		unix.Sync()
		env[grubenv.Data] = "1"
		return s.writable(func() error { return env.Save(envFile) })
	}
	// -p repairs what is safe to repair; its exit code says "repaired" as an error, so mounting is
	// the judge.
	_ = s.Run(ctx, "e2fsck", "-p", device)
	if err := s.Mount(device, s.DataDir, "ext4", unix.MS_NOATIME, ""); err == nil {
		return nil
	}
	_ = s.Run(ctx, "e2fsck", "-y", device)
	if err := s.Mount(device, s.DataDir, "ext4", unix.MS_NOATIME, ""); err != nil {
		return fmt.Errorf("%w (%w)", errDataLost, err)
	}
	return nil
}

// bindData puts the data partition's folders in their places.
func (s *Setup) bindData() error {
	for _, b := range s.Binds {
		from := filepath.Join(s.DataDir, b.from)
		for _, dir := range []string{from, b.to} {
			if err := os.MkdirAll(dir, b.mode); err != nil {
				return fmt.Errorf("making %s: %w", dir, err)
			}
		}
		if err := s.Mount(from, b.to, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("binding %s to %s: %w", from, b.to, err)
		}
	}
	return nil
}

// writable makes the configuration partition writable for the time of one function. It is synced
// and read-only otherwise: a power cut then finds it clean, and the boot loader can still read it.
func (s *Setup) writable(write func() error) (err error) {
	unlock, err := box.LockConfig(s.RunDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := s.Mount("", s.ConfigDir, "", unix.MS_REMOUNT|unix.MS_SYNCHRONOUS, ""); err != nil {
		return fmt.Errorf("making the configuration partition writable: %w", err)
	}
	defer func() {
		if remount := s.Mount("", s.ConfigDir, "", unix.MS_REMOUNT|unix.MS_RDONLY,
			""); err == nil && remount != nil {
			err = fmt.Errorf("making the configuration partition read-only: %w", remount)
		}
	}()
	return write()
}

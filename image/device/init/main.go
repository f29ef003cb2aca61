package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// diskTimeout bounds the wait for slow USB and SD hosts.
const diskTimeout = 30 * time.Second

func main() {
	if len(os.Args) == 2 && os.Args[1] == preparing {
		prepare()
		return
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "error: this is the appliance's first process and nothing else")
		os.Exit(2)
	}
	err := boot()
	fmt.Printf("ztbridge-init: error: %v\nztbridge-init: restarting in 5 s\n", err)
	time.Sleep(5 * time.Second) // for a person at the console to read it
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	select {} // an exit of process 1 would panic the kernel, whose own timer might be off
}

func boot() error {
	if err := mountKernelFileSystems(); err != nil {
		return err
	}
	params, err := readParams("/proc/cmdline")
	if err != nil {
		return err
	}
	refusals, err := loadModules("/modules", "order")
	if err != nil {
		return err
	}
	later := loadLater("/modules")
	disk, err := awaitDisk(params.serial, diskTimeout)
	if err != nil {
		return fmt.Errorf("%w; modules that refused to load: %s", err,
			strings.Join(append(refusals, later()...), ", "))
	}
	if err := mountRoot(disk, params.slot); err != nil {
		return err
	}
	if err := disk.publish(params.slot); err != nil {
		return err
	}
	later()
	openTUN()
	if err := startPreparing(); err != nil {
		fmt.Printf("ztbridge-init: the start takes longer: %v\n", err)
	}
	return switchRoot()
}

type mountPoint struct {
	source, target, fstype string
	flags                  uintptr
	data                   string
}

func (m mountPoint) mount() error {
	if err := os.MkdirAll(m.target, 0o755); err != nil {
		return fmt.Errorf("making %s: %w", m.target, err)
	}
	if err := unix.Mount(m.source, m.target, m.fstype, m.flags, m.data); err != nil {
		return fmt.Errorf("mounting %s on %s: %w", m.source, m.target, err)
	}
	return nil
}

func mountKernelFileSystems() error {
	const quiet = unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV
	for _, m := range []mountPoint{
		{"proc", "/proc", "proc", quiet, ""},
		{"sysfs", "/sys", "sysfs", quiet, ""},
		{"devtmpfs", "/dev", "devtmpfs", unix.MS_NOSUID, "mode=0755"},
		{"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755,size=20%"},
	} {
		if err := m.mount(); err != nil {
			return err
		}
	}
	return nil
}

// switchRoot makes /root the root and becomes systemd. It returns only on failure.
func switchRoot() error {
	for _, dir := range []string{"/proc", "/sys", "/dev", "/run"} {
		if err := unix.Mount(dir, "/root"+dir, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("moving %s: %w", dir, err)
		}
	}
	if err := unix.Chdir("/root"); err != nil {
		return fmt.Errorf("entering the new root: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("moving the new root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("changing root: %w", err)
	}
	const systemd = "/usr/lib/systemd/systemd"
	return fmt.Errorf("starting %s: %w", systemd,
		unix.Exec(systemd, []string{systemd}, []string{"TERM=linux"}))
}

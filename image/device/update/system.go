package update

import (
	"context"
	"crypto/tls"
	"os/exec"

	"golang.org/x/sys/unix"

	"ztbridge/image/device/box"
)

// New is the running box.
func New() *Box {
	return &Box{
		RunDir: box.RunDir, ConfigDir: box.ConfigMount, DataDir: box.DataMount,
		ReleaseFile: box.ReleaseFile, KeyFile: box.UpdateKey,
		Config:   box.Config,
		Told:     box.Updates,
		Writable: remount,
		Restart: func(ctx context.Context) error {
			return exec.CommandContext(ctx, "systemctl", "reboot").Run()
		},
		Health: daemonHealth,
		Setup: func(ctx context.Context) error {
			return exec.CommandContext(ctx, "systemctl", "is-active", "--quiet",
				"ztbridge-setup.service").Run()
		},
	}
}

func remount(writable bool) error {
	flags := uintptr(unix.MS_REMOUNT | unix.MS_RDONLY)
	if writable {
		flags = unix.MS_REMOUNT | unix.MS_SYNCHRONOUS
	}
	return unix.Mount("", box.ConfigMount, "", flags, "")
}

// uncheckedTLS is for a person who has said that the server's certificate does not matter.
func uncheckedTLS() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true} //nolint:gosec // asked for on the command line
}

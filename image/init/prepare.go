package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// preparing is the argument by which this program knows that it is not the first process but the one that prepares.
const preparing = "prepare"

// programs are what systemd is to start first, below the new root.
var programs = []string{"usr/lib/systemd/systemd-executor", "usr/lib/ztbridge/ztbridge-appliance", "usr/bin/ztbridge"}

// startPreparing starts a process that has the next things ready before systemd, which takes one processor for seconds to
// read its units, asks for them on the other. It outlives this program and becomes a child of systemd's. Nothing depends on it:
// modules are loaded, and files are read, when they are needed at the latest.
func startPreparing() error {
	p, err := os.StartProcess("/init", []string{"/init", preparing}, &os.ProcAttr{Dir: "/root", Files: []*os.File{nil, nil, nil}})
	if err != nil {
		return fmt.Errorf("preparing for systemd: %w", err)
	}
	return p.Release()
}

// prepare sees the initramfs as its root, wherever the first process has gone, and the new root as its working directory.
func prepare() {
	_, _ = loadModules("/modules", "box")
	openTUN()
	_ = os.RemoveAll("/modules") // the initramfs stays in memory for ever: let go of its bulk
	for _, name := range programs {
		if f, err := os.Open(filepath.Clean(name)); err == nil {
			_, _ = io.Copy(io.Discard, f)
			_ = f.Close()
		}
	}
}

// openTUN gives the node of the tun module the mode that udev's rules have for it, before any of them runs: the daemon,
// which does not wait for udev, hands it to openvpn's own user. The devices are where they are now, or in the new root.
func openTUN() {
	for _, dev := range []string{"/dev", "dev"} {
		_ = os.Chmod(filepath.Join(dev, "net/tun"), 0o666)
	}
}

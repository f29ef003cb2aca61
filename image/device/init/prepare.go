package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// preparing is the argument that makes this program the preparing process instead of the first one.
const preparing = "prepare"

// programs are what systemd is to start first, below the new root.
var programs = []string{"usr/lib/systemd/systemd-executor", "usr/lib/ztbridge/ztbridge-appliance",
	"usr/bin/ztbridge"}

// startPreparing starts a process that loads what systemd needs next. systemd takes one processor
// for seconds to read its units; this process uses the other. It outlives this program and becomes
// a child of systemd's. Nothing depends on it: modules are loaded, and files are read, when they
// are needed at the latest.
func startPreparing() error {
	// Go's runtime opens /dev/null for missing streams, and fails without it. /dev is about to
	// move.
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("preparing for systemd: %w", err)
	}
	defer null.Close()
	p, err := os.StartProcess("/init", []string{"/init", preparing},
		&os.ProcAttr{Dir: "/root", Files: []*os.File{null, null, null}})
	if err != nil {
		return fmt.Errorf("preparing for systemd: %w", err)
	}
	return p.Release()
}

// prepare has the initramfs as its root, whatever root the first process has, and the new root as
// its working directory.
func prepare() {
	_, _ = loadModules("/modules", "box")
	_ = os.RemoveAll("/modules") // the initramfs stays in memory forever: let go of its bulk
	for _, name := range programs {
		if f, err := os.Open(filepath.Clean(name)); err == nil {
			_, _ = io.Copy(io.Discard, f)
			_ = f.Close()
		}
	}
}

package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// loadModules loads the files of a list in dir. The builder has put them in the order of their
// dependencies. Modules for which this machine has no hardware refuse, and so do those that need
// them: only if the disk does not appear do the refusals, which are returned in words, matter.
func loadModules(dir, list string) (refusals []string, err error) {
	order, err := os.Open(filepath.Join(dir, list))
	if err != nil {
		return nil, fmt.Errorf("reading the list of modules: %w", err)
	}
	defer order.Close()
	lines := bufio.NewScanner(order)
	for lines.Scan() {
		if err := loadModule(filepath.Join(dir, lines.Text())); err != nil {
			refusals = append(refusals, fmt.Sprintf("%s: %v", lines.Text(), err))
		}
	}
	return refusals, lines.Err()
}

// loadLater loads the rest while the disk is being found and the root mounted, neither of which is
// much work. What is returned waits for the end of it and says what was refused; it may be called
// once.
func loadLater(dir string) func() []string {
	result := make(chan []string, 1)
	go func() {
		refusals, err := loadModules(dir, "later")
		if err != nil {
			refusals = append(refusals, err.Error())
		}
		result <- refusals
	}()
	return func() []string { return <-result }
}

func loadModule(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) &&
		!errors.Is(err, unix.ENODEV) {
		return err
	}
	return nil
}

// openTUN gives the node of the tun module the mode of udev's rules. The daemon does not wait for
// udev, and hands the node to openvpn's own user. Where the module did not load there is no node,
// and the daemon says so.
func openTUN() { _ = os.Chmod("/dev/net/tun", 0o666) }

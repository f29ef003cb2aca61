package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// loadModules loads the files that dir/order names, which the builder has put in the order of their dependencies. Modules
// for which this machine has no hardware refuse, and so do those that need them: only if the disk does not appear do the
// refusals, which are returned in words, matter.
func loadModules(dir string) (refusals []string, err error) {
	order, err := os.Open(filepath.Join(dir, "order"))
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

func loadModule(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENODEV) {
		return err
	}
	return nil
}

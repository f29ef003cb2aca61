package diskcheck

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ztbridge/bridge/health"
)

const (
	// every is how often the disk is looked at.
	every = time.Minute
	// LeastState is how much must be free for state, in bytes: a few files, a piece of history.
	LeastState = 8 << 20
	// LeastRuntime is how much must be free for the files of running processes, in bytes.
	LeastRuntime = 1 << 20
	// leastFiles is how many files may be made, where the file system limits them.
	leastFiles = 64
	// sysfs tells of devices and of ext4's own count of errors (Documentation/ABI/testing/
	// sysfs-fs-ext4 of the kernel).
	sysfs = "/sys"
)

// Checker looks at the disk of one directory. Safe for concurrent use.
type Checker struct {
	dir    string
	least  uint64 // bytes
	notify func()
	mu     sync.Mutex
	found  []health.Problem
}

// New returns a checker that has not looked yet. It calls a disk full that has less than least
// bytes left. notify is called when it finds something else than before; it must not block.
func New(dir string, least uint64, notify func()) *Checker {
	return &Checker{dir: dir, least: least, notify: notify}
}

// Run looks until ctx ends, and returns nil then. A disk that does not answer blocks it.
func (c *Checker) Run(ctx context.Context) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		c.look()
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (c *Checker) look() {
	found := problemsOf(c.dir, c.least, read(c.dir, sysfs))
	c.mu.Lock()
	changed := !reflect.DeepEqual(found, c.found)
	c.found = found
	c.mu.Unlock()
	if changed {
		c.notify()
	}
}

// Problems returns what was found last.
func (c *Checker) Problems() []health.Problem {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.found
}

// facts are what the kernel says of a file system.
type facts struct {
	err        error // why it says nothing
	readOnly   bool
	free       uint64 // bytes
	files      uint64 // that may still be made
	limitFiles bool   // the file system has so many files and no more
	device     string
	errors     uint64 // that ext4 has counted since it was checked last
}

// read asks the kernel. sys is where sysfs is.
func read(dir, sys string) facts {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return facts{err: err}
	}
	f := facts{readOnly: fs.Flags&unix.ST_RDONLY != 0, free: fs.Bavail * uint64(fs.Bsize),
		files: fs.Ffree, limitFiles: fs.Files > 0}
	var st unix.Stat_t
	if fs.Type != unix.EXT4_SUPER_MAGIC || unix.Stat(dir, &st) != nil {
		return f
	}
	device, err := os.Readlink(filepath.Join(sys, "dev", "block",
		fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))))
	if err != nil {
		return f // a container
	}
	f.device = filepath.Base(device)
	text, err := os.ReadFile(filepath.Join(sys, "fs", "ext4", f.device, "errors_count"))
	if err == nil {
		f.errors, _ = strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	}
	return f
}

// problemsOf says what is wrong. It is pure.
func problemsOf(dir string, least uint64, f facts) []health.Problem {
	var out []health.Problem
	if f.err != nil {
		return []health.Problem{{Code: health.DiskErrors,
			Message: fmt.Sprintf("%s cannot be looked at: %v", dir, f.err),
			Remedy:  "see what the kernel says of the disk: dmesg"}}
	}
	if f.errors > 0 {
		out = append(out, health.Problem{Code: health.DiskErrors,
			Message: fmt.Sprintf("the file system on %s has had %d errors since it was last "+
				"checked: the disk or SD card may be failing", f.device, f.errors),
			Remedy: "make a backup now: ztbridge backup; if dmesg shows errors of the device, " +
				"replace it, else check the file system (fsck) while it is not in use"})
	}
	if f.readOnly {
		out = append(out, health.Problem{Code: health.DiskReadOnly,
			Message: fmt.Sprintf("%s is on a file system that is read-only: nothing new is kept",
				dir),
			Remedy: "see why: dmesg; after an error of the disk or SD card the kernel makes it so"})
		return out
	}
	if f.free < least || f.limitFiles && f.files < leastFiles {
		out = append(out, health.Problem{Code: health.DiskFull,
			Message: fmt.Sprintf("the disk of %s is full: less than %d MiB or %d files are left",
				dir, least>>20, leastFiles),
			Remedy: fmt.Sprintf("see what fills it, and remove what is not needed: df -h %[1]s; "+
				"du -xh $(stat -c %%m %[1]s) | sort -h | tail", dir)})
	}
	return out
}

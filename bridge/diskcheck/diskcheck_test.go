package diskcheck

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ztbridge/bridge/health"
)

func TestProblems(t *testing.T) {
	plenty := facts{free: 1 << 30, files: 1 << 20, limitFiles: true, device: "mmcblk0p3"}
	for name, test := range map[string]struct {
		change func(*facts)
		want   []health.Code
	}{
		"all well":        {func(*facts) {}, nil},
		"full":            {func(f *facts) { f.free = 100 << 10 }, []health.Code{health.DiskFull}},
		"no more files":   {func(f *facts) { f.files = 0 }, []health.Code{health.DiskFull}},
		"files unknown":   {func(f *facts) { f.files, f.limitFiles = 0, false }, nil},
		"read-only":       {func(f *facts) { f.readOnly = true }, []health.Code{health.DiskReadOnly}},
		"errors":          {func(f *facts) { f.errors = 3 }, []health.Code{health.DiskErrors}},
		"no answer":       {func(f *facts) { f.err = unix.EIO }, []health.Code{health.DiskErrors}},
		"a dying card":    {func(f *facts) { f.errors, f.readOnly = 3, true }, []health.Code{health.DiskErrors, health.DiskReadOnly}},
		"read-only, full": {func(f *facts) { f.readOnly, f.free = true, 0 }, []health.Code{health.DiskReadOnly}},
	} {
		f := plenty
		test.change(&f)
		var got []health.Code
		for _, p := range problemsOf("/data", LeastState, f) {
			got = append(got, p.Code)
			if p.Message == "" || p.Remedy == "" {
				t.Errorf("%s: %+v", name, p)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// What the kernel says of this machine is read, and ext4's count of errors where it is.
func TestRead(t *testing.T) {
	dir, sys := t.TempDir(), t.TempDir()
	if f := read(dir, sys); f.err != nil || f.readOnly || f.free == 0 || f.errors != 0 {
		t.Errorf("%+v", f)
	}
	if f := read(filepath.Join(dir, "gone"), sys); !errors.Is(f.err, unix.ENOENT) {
		t.Errorf("%+v", f)
	}
	var fs unix.Statfs_t
	var st unix.Stat_t
	if unix.Statfs(dir, &fs) != nil || unix.Stat(dir, &st) != nil ||
		fs.Type != unix.EXT4_SUPER_MAGIC {
		t.Log("this directory is not on ext4: its count of errors is not read")
		return
	}
	of := filepath.Join(sys, "fs", "ext4", "sda1")
	number := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	if err := errors.Join(os.MkdirAll(of, 0o755),
		os.MkdirAll(filepath.Join(sys, "dev", "block"), 0o755),
		os.Symlink("../../devices/sda/sda1", filepath.Join(sys, "dev", "block", number)),
		os.WriteFile(filepath.Join(of, "errors_count"), []byte("7\n"), 0o444)); err != nil {
		t.Fatal(err)
	}
	if f := read(dir, sys); f.errors != 7 || f.device != "sda1" {
		t.Errorf("%+v", f)
	}
}

// A file system that the kernel makes read-only, and one that is full, are told at the next look,
// once.
func TestRealFileSystem(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: mounting needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=16m"); err != nil {
		t.Skip("SKIPPED: this container may not mount:", err)
	}
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	told := 0
	c := New(dir, LeastState, func() { told++ })
	want := func(want string) {
		t.Helper()
		c.look()
		c.look()
		var codes []string
		for _, p := range c.Problems() {
			codes = append(codes, string(p.Code))
		}
		if got := strings.Join(codes, " "); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	want("")
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, make([]byte, 12<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	want("disk-full")
	if err := os.Remove(big); err != nil {
		t.Fatal(err)
	}
	want("")
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	want("disk-read-only")
	if told != 3 {
		t.Errorf("told %d times", told)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Run(ctx); err != nil {
		t.Error(err)
	}
}

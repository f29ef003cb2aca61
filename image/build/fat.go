package build

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// fat is a FAT32 file system to make.
type fat struct {
	label  string // at most 11 characters
	serial uint32
	size   int64 // bytes
	files  map[string][]byte
	when   time.Time
}

// write makes the file system in a file with mkfs.vfat and mtools, and checks it with fsck.fat.
// Files are copied one by one in sorted order, because the order decides the clusters.
func (f fat) write(ctx context.Context, file string) error {
	env := []string{fmt.Sprintf("SOURCE_DATE_EPOCH=%d", f.when.Unix()), "MTOOLS_SKIP_CHECK=1"}
	if err := os.RemoveAll(file); err != nil {
		return fmt.Errorf("making file system %s: %w", f.label, err)
	}
	err := run(ctx, env, "mkfs.vfat", "--invariant", "-F", "32", "-s", "2", "-n", f.label, "-i",
		fmt.Sprintf("%08x", f.serial),
		"-C", file, fmt.Sprint(f.size/1024))
	if err != nil {
		return fmt.Errorf("making file system %s: %w", f.label, err)
	}
	for _, dir := range f.dirs() {
		if err := run(ctx, env, "mmd", "-i", file, "::/"+dir); err != nil {
			return fmt.Errorf("making folder %s: %w", dir, err)
		}
	}
	if err := f.copyFiles(ctx, env, file); err != nil {
		return err
	}
	if err := run(ctx, nil, "fsck.fat", "-n", file); err != nil {
		return fmt.Errorf("checking file system %s: %w", f.label, err)
	}
	return nil
}

func (f fat) copyFiles(ctx context.Context, env []string, file string) error {
	stage, err := os.MkdirTemp(filepath.Dir(file), "fat-*")
	if err != nil {
		return fmt.Errorf("staging files: %w", err)
	}
	defer os.RemoveAll(stage)
	for _, name := range slices.Sorted(maps.Keys(f.files)) {
		staged := filepath.Join(stage, "file")
		if err := os.WriteFile(staged, f.files[name], 0o644); err != nil {
			return fmt.Errorf("staging %s: %w", name, err)
		}
		if err := os.Chtimes(staged, f.when, f.when); err != nil {
			return fmt.Errorf("staging %s: %w", name, err)
		}
		if err := run(ctx, env, "mcopy", "-m", "-i", file, staged, "::/"+name); err != nil {
			return fmt.Errorf("copying %s: %w", name, err)
		}
	}
	return nil
}

// dirs returns all folders that the files need, parents first.
func (f fat) dirs() []string {
	seen := map[string]bool{}
	for name := range f.files {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			seen[dir] = true
		}
	}
	return slices.SortedFunc(maps.Keys(seen), func(a, b string) int {
		return cmp.Or(strings.Count(a, "/")-strings.Count(b, "/"), cmp.Compare(a, b))
	})
}

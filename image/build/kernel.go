package build

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"ztbridge/image/build/pkglock"
)

// kernelPackages is the prefix of the names of a kernel's packages.
const kernelPackages = "linux-"

// kernel is an unpacked kernel with its modules.
type kernel struct {
	version string
	image   string // file
	modules string // folder lib/modules/VERSION, indexed
	trees   string // folder of device trees; empty where the architecture has none
}

// unpackKernel unpacks all packages of a kernel into one folder of the cache, and indexes its
// modules.
func unpackKernel(ctx context.Context, store *pkglock.Store, packages []pkglock.Package,
	cache string) (kernel, error) {
	sum := sha256.New()
	files := make([]string, 0, len(packages))
	for _, p := range packages {
		fmt.Fprintln(sum, p.Name, p.SHA256)
		files = append(files, store.File(p))
	}
	dir := filepath.Join(cache, fmt.Sprintf("kernel-%x", sum.Sum(nil)[:8]))
	if err := unpack(ctx, dir, files...); err != nil {
		return kernel{}, err
	}
	k, err := findKernel(dir)
	if err != nil {
		return kernel{}, err
	}
	if err := run(ctx, nil, "depmod", "-b", filepath.Join(dir, "usr"), k.version); err != nil {
		return kernel{}, fmt.Errorf("indexing kernel modules: %w", err)
	}
	return k, nil
}

// findKernel finds the kernel in unpacked packages of either of Debian's layouts. Up to Linux 6.18,
// linux-image-VERSION has all of it, with the kernel in boot. Since then, linux-base, -binary and
// -modules have everything below usr/lib/modules/VERSION.
func findKernel(dir string) (kernel, error) {
	image, err := onlyMatch(dir, "boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz")
	if err != nil {
		return kernel{}, fmt.Errorf("finding the kernel in its packages: %w", err)
	}
	modules, err := onlyMatch(dir, "usr/lib/modules/*/kernel")
	if err != nil {
		return kernel{}, fmt.Errorf("finding the kernel's modules: %w", err)
	}
	k := kernel{image: image, modules: filepath.Dir(modules)}
	k.version = filepath.Base(k.modules)
	for _, trees := range []string{filepath.Join(k.modules, "dtb"),
		filepath.Join(dir, "usr/lib/linux-image-"+k.version)} {
		if info, err := os.Lstat(trees); err == nil && info.IsDir() {
			k.trees = trees
		}
	}
	return k, nil
}

// onlyMatch returns the one path below dir that any of the patterns matches.
func onlyMatch(dir string, patterns ...string) (string, error) {
	var all []string
	for _, pattern := range patterns {
		matches, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return "", err
		}
		all = append(all, matches...)
	}
	if len(all) != 1 {
		return "", fmt.Errorf("%d paths match %s, want 1", len(all), strings.Join(patterns, " or "))
	}
	return all[0], nil
}

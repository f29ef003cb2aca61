package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Both of Debian's layouts are known by what the packages hold, whatever the version.
func TestFindKernel(t *testing.T) {
	tests := map[string]struct {
		files         []string
		links         map[string]string
		trees, failed string
	}{
		"one package": {files: []string{"boot/vmlinuz-6.12.1-arm64",
			"usr/lib/modules/6.12.1-arm64/kernel/fs/vfat.ko.xz",
			"usr/lib/linux-image-6.12.1-arm64/broadcom/a.dtb"},
			trees: "usr/lib/linux-image-6.12.1-arm64"},
		"split": {files: []string{"usr/lib/modules/6.12.1-arm64/vmlinuz",
			"usr/lib/modules/6.12.1-arm64/kernel/fs/vfat.ko.xz",
			"usr/lib/modules/6.12.1-arm64/dtb/broadcom/a.dtb"},
			links: map[string]string{
				"usr/lib/linux-image-6.12.1-arm64": "modules/6.12.1-arm64/dtb"},
			trees: "usr/lib/modules/6.12.1-arm64/dtb"},
		"no device trees": {files: []string{"usr/lib/modules/6.12.1-arm64/vmlinuz",
			"usr/lib/modules/6.12.1-arm64/kernel/fs/vfat.ko.xz"}},
		"only a name": {files: []string{"usr/share/doc/linux-image-6.12.1-arm64/copyright"},
			failed: "finding the kernel in its packages"},
		"no modules": {files: []string{"boot/vmlinuz-6.12.1-arm64"}, failed: "kernel's modules"},
		"two": {files: []string{"boot/vmlinuz-6.12.1-arm64", "boot/vmlinuz-6.12.2-arm64"},
			failed: "2 paths match"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, file := range tt.files {
				file = filepath.Join(dir, file)
				must(t, os.MkdirAll(filepath.Dir(file), 0o755))
				must(t, os.WriteFile(file, nil, 0o644))
			}
			for link, to := range tt.links {
				must(t, os.Symlink(to, filepath.Join(dir, link)))
			}
			k, err := findKernel(dir)
			if tt.failed != "" {
				if err == nil || !strings.Contains(err.Error(), tt.failed) {
					t.Errorf("error = %v, want %q", err, tt.failed)
				}
				return
			}
			must(t, err)
			if k.version != "6.12.1-arm64" || !strings.Contains(k.image, "vmlinuz") {
				t.Errorf("found %+v", k)
			}
			if want := tt.trees; want != "" && k.trees != filepath.Join(dir, want) ||
				want == "" && k.trees != "" {
				t.Errorf("device trees in %q, want %q", k.trees, want)
			}
		})
	}
}

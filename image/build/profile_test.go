package build

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ztbridge/image/build/pkglock"
	"ztbridge/image/device/box"
)

var rewrite = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got); run the test with -update if this is meant:\n%s", name, diff)
	}
}

func TestProfilesAreAsReviewed(t *testing.T) {
	reviewed := Profiles()
	reviewed["rpi-arm64-backports"] = variants(t)["rpi-arm64-backports"]
	for name, p := range reviewed {
		text, err := json.MarshalIndent(p, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".profile.json", string(text)+"\n")
		golden(t, name+".grub.cfg", grubConfig(p, 0x5a544252))
	}
}

func TestLayouts(t *testing.T) {
	for name, p := range Profiles() {
		t.Run(name, func(t *testing.T) {
			parts := slices.Clone(p.Partitions)
			slices.SortFunc(parts, func(a, b Partition) int { return int(a.Start) - int(b.Start) })
			end := uint64(34) // behind the table
			for _, part := range parts {
				if part.Start < end {
					t.Errorf("%s begins at sector %d, within what ends at %d", part.Name,
						part.Start, end)
				}
				end = part.Start + part.Size
			}
			if limit := uint64(p.DiskSize/sector) - 33; end > limit {
				t.Errorf("the partitions end at sector %d, the backup table begins at %d", end,
					limit)
			}
			if p.DiskSize&(p.DiskSize-1) != 0 {
				t.Errorf("a size of %d bytes is no power of two", p.DiskSize)
			}
			kinds := map[int]Kind{box.ConfigPartition: ConfigKind, box.SlotAPartition: SlotKind,
				box.SlotBPartition: SlotKind, box.DataPartition: DataKind}
			for _, part := range p.Partitions {
				if want, ok := kinds[part.Number]; ok && part.Kind != want {
					t.Errorf("partition %d is %s; the running box takes it for %s", part.Number,
						part.Kind, want)
				}
			}
		})
	}
}

// variants are all profiles, those on other suites and with other kernels too, by their locks.
func variants(t *testing.T) map[string]Profile {
	t.Helper()
	all := map[string]Profile{}
	for target := range Profiles() {
		for _, v := range []struct {
			suite  string
			kernel KernelSource
		}{{"", ""}, {"forky", ""}, {"", BackportsKernel}} {
			p, err := ProfileOf(target, v.suite, v.kernel)
			if err != nil {
				t.Fatal(err)
			}
			all[strings.TrimSuffix(p.LockName(), ".lock")] = p
		}
	}
	return all
}

func TestProfileOfRefuses(t *testing.T) {
	for _, wrong := range [][3]string{{"rpi", "", ""}, {"rpi-arm64", "sid", ""},
		{"rpi-arm64", "", "newest"}, {"rpi-arm64", "forky", "backports"}} {
		if p, err := ProfileOf(wrong[0], wrong[1], KernelSource(wrong[2])); err == nil {
			t.Errorf("%v: %+v", wrong, p)
		}
	}
}

// A lock that lacks a package of the profile would build an image without it.
func TestLocksCoverProfiles(t *testing.T) {
	for name, p := range variants(t) {
		if p.Suite != stable {
			continue // changes by the day: whoever builds on it makes a lock first
		}
		t.Run(name, func(t *testing.T) {
			file, err := os.Open(filepath.Join("lock", name+".lock"))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			lock, err := pkglock.Parse(file)
			if err != nil {
				t.Fatal(err)
			}
			if lock.Arch != p.Arch || lock.Suite != p.Suite {
				t.Errorf("the lock is for %s on %s", lock.Suite, lock.Arch)
			}
			for _, pkg := range append(slices.Clone(p.Packages), p.Unpack...) {
				if strings.HasPrefix(pkg, "linux-image-") {
					continue // the lock has the versioned package
				}
				if !slices.ContainsFunc(lock.Packages,
					func(p pkglock.Package) bool { return p.Name == pkg }) {
					t.Errorf("no %s in the lock", pkg)
				}
			}
			kernels := 0
			for _, pkg := range lock.Packages {
				if pkg.Role == pkglock.Unpack && strings.HasPrefix(pkg.Name, "linux-image-") {
					kernels++
				}
			}
			if kernels != 1 {
				t.Errorf("%d kernels in the lock, want 1", kernels)
			}
		})
	}
}

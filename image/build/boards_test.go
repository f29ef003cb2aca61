package build

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// unpackedKernels are those that builds have left in the cache, with device trees. Debian's cloud
// kernels lack the drivers of boards.
func unpackedKernels(t *testing.T) []kernel {
	t.Helper()
	cache := os.Getenv("ZTBRIDGE_IMAGE_CACHE")
	if cache == "" {
		cache = "/var/cache/ztbridge-image"
	}
	dirs, err := filepath.Glob(filepath.Join(cache, "kernel-*"))
	if err != nil {
		t.Fatal(err)
	}
	var all []kernel
	for _, dir := range dirs {
		if k, err := findKernel(dir); err == nil && k.trees != "" &&
			!strings.Contains(k.version, "-cloud-") {
			all = append(all, k)
		}
	}
	if len(all) == 0 {
		t.Skip("SKIPPED: no build has left a kernel with device trees in " + cache)
	}
	return all
}

// Every board's own device tree names what the root and the initramfs must have: a driver that is
// left out is found when the image is built, not by whoever has the board.
func TestBoardsHaveTheirDrivers(t *testing.T) {
	for _, k := range unpackedKernels(t) {
		t.Run(k.version, func(t *testing.T) {
			profile := piARM64()
			if _, err := os.Stat(filepath.Join(k.trees,
				"broadcom/bcm2712-d-rpi-5-b.dtb")); err == nil {
				profile = profile.withPi5()
			}
			check := func(p Profile) error {
				root := newTree()
				b := &build{Options: Options{Profile: p}, kernel: k}
				if err := addModules(root, b); err != nil {
					t.Fatal(err)
				}
				return checkBoards(p, k, root)
			}
			profile.Firmware, profile.KeepFirmware = nil, nil
			if err := check(profile); err != nil {
				t.Error(err)
			}
			without := profile
			without.DropMods = append(slices.Clone(profile.DropMods), "drivers/net/ethernet/broadcom")
			if err := check(without); err == nil || !strings.Contains(err.Error(), "genet") {
				t.Errorf("without the network of the Raspberry Pi 4: %v", err)
			}
			if len(profile.Boards) == len(piARM64().Boards) {
				return
			}
			without.DropMods = append(slices.Clone(profile.DropMods), "drivers/net/ethernet/cadence")
			if err := check(without); err == nil || !strings.Contains(err.Error(), "cadence/macb") {
				t.Errorf("without the network of the Raspberry Pi 5: %v", err)
			}
			without = profile
			without.InitModules = piARM64().InitModules
			if err := check(without); err == nil || !strings.Contains(err.Error(), "initramfs") {
				t.Errorf("without the card reader of the Raspberry Pi 5: %v", err)
			}
		})
	}
}

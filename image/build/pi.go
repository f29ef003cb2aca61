package build

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// piConfig starts U-Boot. It offers UEFI, so that the same GRUB and kernel run as on other targets.
const piConfig = `# Read by the Raspberry Pi's firmware.
arm_64bit=1
enable_uart=1
upstream_kernel=1
kernel=u-boot.bin
disable_overscan=1
`

// addPiFiles adds the files that a Pi reads from the first FAT partition when it starts. They are
// the firmware, the boards' device trees and U-Boot.
func addPiFiles(files map[string][]byte, b *build) error {
	files["config.txt"] = []byte(piConfig)
	uboot, err := os.ReadFile(filepath.Join(b.unpacked["u-boot-rpi"],
		"usr/lib/u-boot/rpi_arm64/u-boot.bin"))
	if err != nil {
		return fmt.Errorf("reading U-Boot: %w", err)
	}
	files["u-boot.bin"] = uboot
	firmware := filepath.Join(b.unpacked["raspi-firmware"], "usr/lib/raspi-firmware")
	for _, pattern := range []string{"bootcode.bin", "start*.elf", "fixup*.dat"} {
		if err := addMatches(files, filepath.Join(firmware, pattern)); err != nil {
			return err
		}
	}
	return addMatches(files, filepath.Join(b.kernel.trees, "broadcom/bcm2*.dtb"))
}

func addMatches(files map[string][]byte, pattern string) error {
	matches, _ := filepath.Glob(pattern) // the patterns are well-formed
	if len(matches) == 0 {
		return fmt.Errorf("looking for %s: there is none", filepath.Base(pattern))
	}
	for _, match := range matches {
		name := filepath.Base(match)
		// The variants for cameras and debugging are large and never chosen by our config.txt.
		if strings.Contains(name, "_x.") || strings.Contains(name, "_db.") ||
			strings.Contains(name, "4x.") || strings.Contains(name, "4db.") {
			continue
		}
		data, err := os.ReadFile(match)
		if err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		files[name] = data
	}
	return nil
}

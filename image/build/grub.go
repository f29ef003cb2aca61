package build

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"ztbridge/image/device/box"
	"ztbridge/image/device/grubenv"
)

// grubConfig returns the grub.cfg that chooses the slot, the same for BIOS, UEFI and U-Boot.
// Updates never change it: what a release may want to change is in its slot.
func grubConfig(p Profile, serial uint32) string {
	return fmt.Sprintf(
		`# Chooses the slot to boot. The system and this file share grubenv: active, and for one single start, try.
load_env --file $prefix/grubenv active try left
regexp --set=1:disk '^(hd[0-9]+)' $root

set slot=A
if [ "$active" = B ]; then set slot=B; fi
if [ "$left" = 1 ]; then
  # Cleared before the try is booted: the next start is the active slot's again.
  set left=0
  save_env --file $prefix/grubenv left
  set slot=$try
fi

function boot_slot {
  if [ "$1" = B ]; then set part=%[1]d; else set part=%[2]d; fi
  if linux ($disk,$part)/vmlinuz %[3]s %[4]s=%08[5]x %[6]s=$1; then
    if initrd ($disk,$part)/initrd; then boot; fi
  fi
}

boot_slot $slot
echo "ztbridge: slot $slot does not load, trying the other"
if [ "$slot" = A ]; then boot_slot B; else boot_slot A; fi
echo "ztbridge: no slot loads; write the image again"
sleep 10
reboot
`, box.SlotBPartition, box.SlotAPartition, p.Cmdline, box.ParamBoot, serial, box.ParamSlot)
}

// grubCore makes a boot loader binary that finds the configuration partition by its serial number.
// It works from any disk that the firmware can start it from.
func grubCore(ctx context.Context, g Grub, unpacked, work string, serial uint32) ([]byte, error) {
	early := filepath.Join(work, "early.cfg")
	text := fmt.Sprintf(
		"search.fs_uuid %04X-%04X root\nset prefix=($root)/grub\nconfigfile "+
			"($root)/grub/grub.cfg\n", serial>>16, serial&0xffff)
	if err := os.WriteFile(early, []byte(text), 0o644); err != nil {
		return nil, fmt.Errorf("writing GRUB's embedded configuration: %w", err)
	}
	core := filepath.Join(work, "core."+g.Format)
	args := append([]string{"-d", filepath.Join(unpacked, "usr/lib/grub", g.Format), "-O", g.Format,
		"-o", core, "-c", early, "-p", "/grub"}, g.Modules...)
	if err := run(ctx, nil, "grub-mkimage", args...); err != nil {
		return nil, fmt.Errorf("making GRUB for %s: %w", g.Format, err)
	}
	return os.ReadFile(core)
}

// initialGrubEnv returns boot variables that boot slot A. Every variable that GRUB writes is there
// already, so that it overwrites the block in place.
func initialGrubEnv() ([]byte, error) {
	return grubenv.Block{grubenv.Active: string(box.A), grubenv.Try: "", grubenv.Left: "0",
		grubenv.Data: "0"}.Bytes()
}

// biosBoot holds what grub-bios-setup would write. The code of the first sector loads the core's
// first sector from a fixed place, and that loads the rest of the core from the sectors after it.
type biosBoot struct {
	sector []byte // 440 bytes: the table and the disk's signature begin there
	core   []byte
}

const (
	bootCodeSize     = 440
	bootKernelSector = 0x5c // in boot.img: where the core is
	// in boot.img: a jump over the check for a drive number that some BIOSes get wrong
	bootDriveCheck = 0x66
	coreBlockList  = 0x1f4 // in the core's first sector: where its second sector is
)

func newBIOSBoot(bootImg, core []byte, coreLBA uint64) (biosBoot, error) {
	if len(bootImg) != sector || len(core) < 2*sector {
		return biosBoot{}, fmt.Errorf(
			"preparing BIOS boot: unexpected sizes %d and %d of GRUB's parts", len(bootImg),
			len(core))
	}
	b := biosBoot{sector: bytes.Clone(bootImg[:bootCodeSize]), core: bytes.Clone(core)}
	binary.LittleEndian.PutUint64(b.sector[bootKernelSector:], coreLBA)
	b.sector[bootDriveCheck], b.sector[bootDriveCheck+1] = 0x90, 0x90
	binary.LittleEndian.PutUint64(b.core[coreBlockList:], coreLBA+1)
	return b, nil
}

package box

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Partition numbers, the same on every target.
const (
	ConfigPartition = 1 // FAT: boot loader and the user's files
	SlotAPartition  = 2
	SlotBPartition  = 3
	DataPartition   = 4 // ext4: everything that must survive
)

// RunDir is made by the initramfs. It has links to the partitions' devices and a file that says
// which slot runs.
const RunDir = "/run/ztbridge-boot"

// Links and files in RunDir.
const (
	ConfigLink = "config"
	SlotALink  = "slot-a"
	SlotBLink  = "slot-b"
	DataLink   = "data"
	SlotFile   = "slot"

	configLock = "config.lock"
)

// Places in the running system.
const (
	// the FAT partition, read-only but for the moments somebody writes to it
	ConfigMount = "/boot/ztbridge"
	DataMount   = "/data"
	GrubEnv     = "grub/grubenv" // below ConfigMount
	ReleaseFile = "/usr/lib/ztbridge/image.json"
	UpdateKey   = "/usr/lib/ztbridge/update.pub"
	Notice      = "/run/ztbridge/notice"       // shown by `ztbridge status`
	Updates     = "/run/ztbridge/updates.json" // as well: problems with updates
	UpdateNow   = "/run/ztbridge/update-now"   // made by the page: a person wishes to be current
	// Claim exists while nobody owns the box.
	Claim = "/var/lib/ztbridge/page/claim.json"

	Config = "/etc/ztbridge/ztbridge.yaml"
)

// Parameters of the kernel's command line that the boot loader sets and the initramfs reads.
const (
	ParamBoot = "ztb.boot" // serial number of the FAT partition booted from, eight hex digits
	ParamSlot = "ztb.slot"
)

// Slot is one of the two places for the system.
type Slot string

// The slots.
const (
	A Slot = "A"
	B Slot = "B"
)

// Parse accepts exactly the two names.
func Parse(s string) (Slot, error) {
	switch slot := Slot(strings.TrimSpace(s)); slot {
	case A, B:
		return slot, nil
	default:
		return "", fmt.Errorf("no such slot: %q", s)
	}
}

// Other is the slot that an update of this one goes to.
func (s Slot) Other() Slot {
	if s == A {
		return B
	}
	return A
}

// Partition is the number of the slot's partition.
func (s Slot) Partition() int {
	if s == B {
		return SlotBPartition
	}
	return SlotAPartition
}

// Link is the slot's name in RunDir.
func (s Slot) Link() string {
	if s == B {
		return SlotBLink
	}
	return SlotALink
}

// Running reads which slot the initramfs booted, below the given RunDir.
func Running(runDir string) (Slot, error) {
	b, err := os.ReadFile(filepath.Join(runDir, SlotFile))
	if err != nil {
		return "", fmt.Errorf("finding the running slot: %w", err)
	}
	return Parse(string(b))
}

// LockConfig waits until no other process makes the configuration partition writable. Who makes it
// read-only again must not do so while another one writes.
func LockConfig(runDir string) (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(runDir, configLock), os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the configuration partition: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("locking the configuration partition: %w", err),
			f.Close())
	}
	return f.Close, nil
}

// Release describes an image: written by the builder, read by the updater.
type Release struct {
	Target  string `json:"target"`
	Version string `json:"version"`
	// Updates is the address of the folder with channel files; empty: the box finds none by itself.
	Updates string `json:"updates,omitempty"`
	// AutoUpdate reports whether the box keeps itself current unless its configuration says
	// otherwise.
	AutoUpdate bool `json:"auto_update,omitempty"`
}

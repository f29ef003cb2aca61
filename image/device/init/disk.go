package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ztbridge/image/device/box"
)

// disk is the one we booted from: device files by partition number.
type disk struct{ partitions map[int]string }

// awaitDisk waits until a first partition with that FAT serial number and its three sisters are
// there. Host adapters announce disks whenever they like; looking twenty times a second is simpler
// than a netlink listener and as quick.
func awaitDisk(serial uint32, timeout time.Duration) (disk, error) {
	for deadline := time.Now().Add(timeout); ; {
		d, found, err := findDisk("/sys/class/block", "/dev", serial)
		if err != nil || found {
			return d, err
		}
		if time.Now().After(deadline) {
			return disk{}, fmt.Errorf(
				"waiting for the disk with boot partition %08x: not there after %s", serial,
				timeout)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func findDisk(sysBlock, dev string, serial uint32) (disk, bool, error) {
	entries, err := os.ReadDir(sysBlock)
	if err != nil {
		return disk{}, false, fmt.Errorf("listing block devices: %w", err)
	}
	for _, e := range entries {
		if partitionNumber(filepath.Join(sysBlock, e.Name())) != box.ConfigPartition ||
			fatSerial(filepath.Join(dev, e.Name())) != serial {
			continue
		}
		device, err := filepath.EvalSymlinks(filepath.Join(sysBlock, e.Name()))
		if err != nil {
			return disk{}, false, fmt.Errorf("finding the disk of %s: %w", e.Name(), err)
		}
		d, err := partitionsOf(filepath.Dir(device), dev)
		if err != nil {
			return disk{}, false, err
		}
		if d.complete() {
			return d, true, nil
		}
	}
	return disk{}, false, nil
}

func partitionsOf(sysDisk, dev string) (disk, error) {
	entries, err := os.ReadDir(sysDisk)
	if err != nil {
		return disk{}, fmt.Errorf("listing partitions: %w", err)
	}
	d := disk{partitions: map[int]string{}}
	for _, e := range entries {
		if n := partitionNumber(filepath.Join(sysDisk, e.Name())); n > 0 {
			d.partitions[n] = filepath.Join(dev, e.Name())
		}
	}
	return d, nil
}

func (d disk) complete() bool {
	return !slices.ContainsFunc([]int{box.ConfigPartition, box.SlotAPartition, box.SlotBPartition,
		box.DataPartition}, func(n int) bool { return d.partitions[n] == "" })
}

// publish tells the running system what it cannot know: which disk and slot it came from.
func (d disk) publish(slot box.Slot) error {
	if err := os.MkdirAll(box.RunDir, 0o755); err != nil {
		return fmt.Errorf("making %s: %w", box.RunDir, err)
	}
	for name, n := range map[string]int{box.ConfigLink: box.ConfigPartition,
		box.SlotALink: box.SlotAPartition,
		box.SlotBLink: box.SlotBPartition, box.DataLink: box.DataPartition} {
		if err := os.Symlink(d.partitions[n], filepath.Join(box.RunDir, name)); err != nil {
			return fmt.Errorf("publishing partition %d: %w", n, err)
		}
	}
	if err := os.WriteFile(filepath.Join(box.RunDir, box.SlotFile), []byte(slot+"\n"),
		0o644); err != nil {
		return fmt.Errorf("publishing the slot: %w", err)
	}
	return nil
}

// mountRoot makes /root out of the slot.
func mountRoot(d disk, slot box.Slot) error {
	image := mountPoint{d.partitions[slot.Partition()], "/slot", "vfat", unix.MS_RDONLY, ""}
	if err := image.mount(); err != nil {
		return err
	}
	loop, err := attachLoop("/slot/root.sqfs")
	if err != nil {
		return err
	}
	for _, m := range []mountPoint{
		{loop, "/lower", "squashfs", unix.MS_RDONLY, ""},
		{"tmpfs", "/upper", "tmpfs", 0, "mode=0755,size=25%"},
	} {
		if err := m.mount(); err != nil {
			return err
		}
	}
	for _, dir := range []string{"/upper/data", "/upper/work"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("making %s: %w", dir, err)
		}
	}
	return mountPoint{"overlay", "/root", "overlay", 0,
		"lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work"}.mount()
}

func attachLoop(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("opening the root file system: %w", err)
	}
	defer f.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return "", fmt.Errorf("asking for a loop device: %w", err)
	}
	defer control.Close()
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return "", fmt.Errorf("asking for a loop device: %w", err)
	}
	device := fmt.Sprintf("/dev/loop%d", n)
	loop, err := os.Open(device)
	if err != nil {
		return "", fmt.Errorf("opening %s: %w", device, err)
	}
	defer loop.Close()
	config := unix.LoopConfig{Fd: uint32(f.Fd())}
	config.Info.Flags = unix.LO_FLAGS_READ_ONLY
	if err := unix.IoctlLoopConfigure(int(loop.Fd()), &config); err != nil {
		return "", fmt.Errorf("attaching %s to %s: %w", file, device, err)
	}
	return device, nil
}

// partitionNumber is 0 for what is no partition.
func partitionNumber(sysDevice string) int {
	b, err := os.ReadFile(filepath.Join(sysDevice, "partition"))
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return n
}

// fatSerial is 0 for what is no FAT32 file system.
func fatSerial(device string) uint32 {
	f, err := os.Open(device)
	if err != nil {
		return 0
	}
	defer f.Close()
	sector := make([]byte, 512)
	if _, err := f.ReadAt(sector, 0); err != nil || sector[510] != 0x55 || sector[511] != 0xaa ||
		string(sector[82:87]) != "FAT32" {
		return 0
	}
	return binary.LittleEndian.Uint32(sector[67:])
}

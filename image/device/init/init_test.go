package main

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ztbridge/image/device/box"
)

func TestParseParams(t *testing.T) {
	tests := []struct {
		line string
		want params
		ok   bool
	}{
		{"BOOT_IMAGE=/vmlinuz console=ttyS0 ztb.boot=5a544252 ztb.slot=B quiet\n",
			params{0x5a544252, box.B}, true},
		{"ztb.slot=A", params{}, false},
		{"ztb.boot=5a544252", params{}, false},
		{"ztb.boot=5a544252 ztb.slot=C", params{}, false},
		{"ztb.boot=nothex ztb.slot=A", params{}, false},
	}
	for _, tt := range tests {
		got, err := parseParams(tt.line)
		if (err == nil) != tt.ok || got != tt.want {
			t.Errorf("parseParams(%q) = %+v, %v", tt.line, got, err)
		}
	}
}

// fakeDisk makes sysfs entries and device files of one disk with the given first partition's serial
// number.
func fakeDisk(t *testing.T, sys, dev, name string, serial uint32, partitions int) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	block := filepath.Join(sys, "class/block")
	must(os.MkdirAll(block, 0o755))
	for n := 1; n <= partitions; n++ {
		part := name + "p" + string(rune('0'+n))
		device := filepath.Join(sys, "devices", name, part)
		must(os.MkdirAll(device, 0o755))
		must(os.WriteFile(filepath.Join(device, "partition"), []byte{byte('0' + n), '\n'}, 0o644))
		must(os.Symlink(device, filepath.Join(block, part)))
		sector := make([]byte, 512)
		sector[510], sector[511] = 0x55, 0xaa
		copy(sector[82:], "FAT32   ")
		binary.LittleEndian.PutUint32(sector[67:], serial)
		must(os.WriteFile(filepath.Join(dev, part), sector, 0o644))
	}
}

func TestFindDiskTakesTheOneBootedFrom(t *testing.T) {
	sys, dev := t.TempDir(), t.TempDir()
	fakeDisk(t, sys, dev, "other", 0x11111111, 4)
	fakeDisk(t, sys, dev, "ours", 0x5a544252, 4)
	d, found, err := findDisk(filepath.Join(sys, "class/block"), dev, 0x5a544252)
	if err != nil || !found {
		t.Fatalf("found %v, %v", found, err)
	}
	for n, want := range map[int]string{1: "oursp1", 2: "oursp2", 3: "oursp3", 4: "oursp4"} {
		if got := filepath.Base(d.partitions[n]); got != want {
			t.Errorf("partition %d is %s, want %s", n, got, want)
		}
	}
}

func TestFindDiskWaitsForAllPartitions(t *testing.T) {
	sys, dev := t.TempDir(), t.TempDir()
	fakeDisk(t, sys, dev, "ours", 0x5a544252, 3)
	if _, found, err := findDisk(filepath.Join(sys, "class/block"), dev, 0x5a544252); found ||
		err != nil {
		t.Errorf("a disk without its data partition: found %v, %v", found, err)
	}
}

func TestAwaitDiskGivesUp(t *testing.T) {
	if _, err := awaitDisk(0xffffffff, time.Millisecond); err == nil {
		t.Error("found a disk that does not exist")
	}
}

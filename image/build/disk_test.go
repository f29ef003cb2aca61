package build

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ztbridge/image/device/box"
)

func need(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIPPED: %s is not installed", tool)
		}
	}
}

func writeDisk(t *testing.T, p Profile, dir string) string {
	t.Helper()
	slot := filepath.Join(dir, "slot.img")
	if err := os.WriteFile(slot, bytes.Repeat([]byte("slot"), 1<<18), 0o644); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "disk.img")
	d := disk{profile: p, serial: 0x5a544253, contents: map[int]string{box.SlotAPartition: slot}}
	if p.Table == GPT && p.Arch == "amd64" {
		boot, err := newBIOSBoot(make([]byte, sector), make([]byte, 4*sector), 34)
		if err != nil {
			t.Fatal(err)
		}
		d.bios = &boot
	}
	if err := d.write(file); err != nil {
		t.Fatal(err)
	}
	return file
}

// Other people's tools must agree about our tables.
func TestTablesAgreeWithSfdisk(t *testing.T) {
	need(t, "sfdisk")
	for name, p := range Profiles() {
		t.Run(name, func(t *testing.T) {
			file := writeDisk(t, p, t.TempDir())
			out, err := exec.Command("sfdisk", "--verify", file).CombinedOutput()
			if err != nil {
				t.Errorf("sfdisk --verify: %v: %s", err, out)
			}
			dump, err := exec.Command("sfdisk", "--dump", file).Output()
			if err != nil {
				t.Fatal(err)
			}
			text := strings.ReplaceAll(string(dump), file, "disk")
			text = strings.ReplaceAll(text, filepath.Dir(file), "")
			golden(t, name+".sfdisk", text)
		})
	}
}

func TestDiskIsReproducibleAndSparse(t *testing.T) {
	p := cloudAMD64()
	first, err := os.Stat(writeDisk(t, p, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	if first.Size() != p.DiskSize {
		t.Errorf("the disk has %d bytes, want %d", first.Size(), p.DiskSize)
	}
	read := func() []byte {
		f, err := os.Open(writeDisk(t, p, t.TempDir()))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		head := make([]byte, 2*mib)
		if _, err := f.ReadAt(head, 0); err != nil {
			t.Fatal(err)
		}
		return head
	}
	if !bytes.Equal(read(), read()) {
		t.Error("two disks of one build differ")
	}
}

// The places are GRUB's: what grub-bios-setup would write, where there is one to compare with, is
// written there too.
func TestBIOSBootPatches(t *testing.T) {
	image, core := bytes.Repeat([]byte{0xcc}, sector), bytes.Repeat([]byte{0xdd}, 3*sector)
	boot, err := newBIOSBoot(image, core, 34)
	if err != nil {
		t.Fatal(err)
	}
	if got := binary.LittleEndian.Uint64(boot.sector[0x5c:]); got != 34 {
		t.Errorf("the boot sector loads the core from sector %d", got)
	}
	if got := binary.LittleEndian.Uint64(boot.core[0x1f4:]); got != 35 {
		t.Errorf("the core loads its rest from sector %d", got)
	}
	if len(boot.sector) > 440 {
		t.Errorf("%d bytes of boot code overwrite the table", len(boot.sector))
	}
	if core[0x1f4] != 0xdd {
		t.Error("the caller's core was changed")
	}
}

func TestFATIsReproducibleAndReadable(t *testing.T) {
	need(t, "mkfs.vfat", "mcopy", "mdir", "fsck.fat", "mtype")
	dir := t.TempDir()
	f := fat{label: "ZTBRIDGE", serial: 0x5a544252, size: 128 * mib, when: time.Unix(1700000000, 0),
		files: map[string][]byte{
			"README.txt": []byte("read me"), "EFI/BOOT/BOOTX64.EFI": bytes.Repeat([]byte("x"),
				100000), "ztbridge.yaml.example": []byte("y")}}
	var images [][]byte
	for _, name := range []string{"a.img", "b.img"} {
		if err := f.write(context.Background(), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, data)
	}
	if !bytes.Equal(images[0], images[1]) {
		t.Error("two file systems of the same files differ")
	}
	if got := binary.LittleEndian.Uint32(images[0][67:]); got != 0x5a544252 {
		t.Errorf(
			"the serial number is %08x: the boot loader and the initramfs would not find the disk",
			got)
	}
	out, err := exec.Command("mtype", "-i", filepath.Join(dir, "a.img"),
		"::/ztbridge.yaml.example").Output()
	if err != nil || string(out) != "y" {
		t.Errorf("mtype: %q, %v", out, err)
	}
}

package build

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/diskfs/go-diskfs/partition/mbr"
	"github.com/google/uuid"
)

// disk is a whole disk to write: a table, and files that fill some of its partitions.
type disk struct {
	profile  Profile
	serial   uint32         // also the disk's signature
	contents map[int]string // partition number → file with its content
	bios     *biosBoot
}

// write makes a sparse file of the disk.
func (d disk) write(file string) (err error) {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("making the disk: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(d.profile.DiskSize); err != nil {
		return fmt.Errorf("making the disk: %w", err)
	}
	if err := d.writeTable(f); err != nil {
		return fmt.Errorf("writing the partition table: %w", err)
	}
	for _, p := range d.profile.Partitions {
		if name := d.contents[p.Number]; name != "" {
			if err := copyInto(f, p, name); err != nil {
				return fmt.Errorf("filling partition %s: %w", p.Name, err)
			}
		}
	}
	return d.writeBoot(f)
}

func (d disk) writeTable(f *os.File) error {
	if d.profile.Table == MBR {
		return d.mbrTable().Write(f, d.profile.DiskSize)
	}
	return d.gptTable().Write(f, d.profile.DiskSize)
}

func (d disk) gptTable() *gpt.Table {
	types := map[Kind]gpt.Type{ConfigKind: gpt.EFISystemPartition, SlotKind: gpt.LinuxFilesystem,
		DataKind: gpt.LinuxFilesystem, BIOSKind: gpt.BIOSBoot}
	table := &gpt.Table{LogicalSectorSize: sector, PhysicalSectorSize: sector, ProtectiveMBR: true,
		GUID: d.guid("disk")}
	for _, p := range d.profile.Partitions {
		table.Partitions = append(table.Partitions, &gpt.Partition{
			Index: p.Number, Start: p.Start, End: p.Start + p.Size - 1, Size: p.Size * sector,
			Type: types[p.Kind], Name: p.Name, GUID: d.guid(p.Name)})
	}
	return table
}

// mbrTable returns the MBR. Slots have Linux's type although they are FAT: Windows would show a
// drive for every FAT partition of a card.
func (d disk) mbrTable() *mbr.Table {
	types := map[Kind]mbr.Type{ConfigKind: mbr.Fat32LBA, SlotKind: mbr.Linux, DataKind: mbr.Linux}
	table := &mbr.Table{LogicalSectorSize: sector, PhysicalSectorSize: sector}
	for _, p := range d.profile.Partitions {
		table.Partitions = append(table.Partitions, &mbr.Partition{
			Index: p.Number, Bootable: p.Kind == ConfigKind, Start: uint32(p.Start),
			Size: uint32(p.Size), Type: types[p.Kind]})
	}
	return table
}

// guid derives an identifier from the build and a name, so that equal builds have equal ones.
func (d disk) guid(name string) string {
	return uuid.NewHash(sha256.New(), uuid.NameSpaceURL,
		fmt.Appendf(nil, "ztbridge %s %08x %s", d.profile.Target, d.serial, name), 8).String()
}

func (d disk) writeBoot(f *os.File) error {
	signature := binary.LittleEndian.AppendUint32(nil, d.serial)
	if _, err := f.WriteAt(signature, bootCodeSize); err != nil {
		return fmt.Errorf("writing the disk's signature: %w", err)
	}
	if d.bios == nil {
		return nil
	}
	p := d.profile.partition(BIOSKind)
	if int64(len(d.bios.core)) > p.bytes() {
		return fmt.Errorf("writing GRUB's core: %d bytes do not fit %d", len(d.bios.core),
			p.bytes())
	}
	if _, err := f.WriteAt(d.bios.core, int64(p.Start*sector)); err != nil {
		return fmt.Errorf("writing GRUB's core: %w", err)
	}
	if _, err := f.WriteAt(d.bios.sector, 0); err != nil {
		return fmt.Errorf("writing the boot sector: %w", err)
	}
	return nil
}

// copyInto copies a file to a partition's place and leaves holes for zeros.
func copyInto(f *os.File, p Partition, name string) error {
	src, err := os.Open(name)
	if err != nil {
		return err
	}
	defer src.Close()
	zeros := make([]byte, mib)
	buf := make([]byte, mib)
	for at := int64(0); ; {
		n, err := io.ReadFull(src, buf)
		if at+int64(n) > int64(p.Size*sector) {
			return fmt.Errorf("%s does not fit", name)
		}
		if !bytes.Equal(buf[:n], zeros[:n]) {
			if _, err := f.WriteAt(buf[:n], int64(p.Start*sector)+at); err != nil {
				return err
			}
		}
		at += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

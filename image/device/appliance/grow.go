package appliance

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"ztbridge/image/device/box"
)

// A card is larger than the image written to it. The data partition is the last one: it takes the
// rest, before it gets its file system.

const (
	sectorSize = 512
	// headAndFirst is the GPT's header and the first sector of its entries, which has partitions 1
	// to 4. They lie side by side and are written at once, so that a power cut finds the old table
	// or the new one.
	headAndFirst = 2 * sectorSize
	entrySize    = 128
	entryCount   = 128
	entrySectors = entryCount * entrySize / sectorSize
)

// medium is a disk or a file with the image of one.
type medium interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// GrowTable extends the data partition, the last one, to the end of a disk of the given size. It
// knows GPT and MBR as the images have them. It returns where the partition begins and its length,
// in bytes.
func GrowTable(disk medium, size int64) (start, length int64, err error) {
	sectors := uint64(size / sectorSize)
	table := make([]byte, (2+entrySectors)*sectorSize)
	if _, err := disk.ReadAt(table, 0); err != nil {
		return 0, 0, fmt.Errorf("reading the partition table: %w", err)
	}
	if string(table[sectorSize:sectorSize+8]) == "EFI PART" {
		return growGPT(disk, table, sectors)
	}
	if table[510] == 0x55 && table[511] == 0xaa {
		return growMBR(disk, table[:sectorSize], sectors)
	}
	return 0, 0, errors.New("reading the partition table: it is of no known kind")
}

func growMBR(disk medium, table []byte, sectors uint64) (start, length int64, err error) {
	entry := table[446+16*(box.DataPartition-1):][:16]
	first, count := binary.LittleEndian.Uint32(entry[8:]), binary.LittleEndian.Uint32(entry[12:])
	room := min(sectors, 1<<32-1) - uint64(first)
	if uint64(first) < sectors && room > uint64(count) {
		count = uint32(room)
		binary.LittleEndian.PutUint32(entry[12:], count)
		if err := writeAll(disk, part{table, 0}); err != nil {
			return 0, 0, err
		}
	}
	return int64(first) * sectorSize, int64(count) * sectorSize, nil
}

func growGPT(disk medium, table []byte, sectors uint64) (start, length int64, err error) {
	le := binary.LittleEndian
	header, entries := table[sectorSize:2*sectorSize], table[2*sectorSize:]
	if le.Uint64(header[72:]) != 2 || le.Uint32(header[80:]) != entryCount ||
		le.Uint32(header[84:]) != entrySize {
		return 0, 0, errors.New("reading the partition table: it is not the image's")
	}
	if le.Uint32(header[88:]) != crc32.ChecksumIEEE(entries) {
		return 0, 0, errors.New("reading the partition table: its sum is wrong")
	}
	entry := entries[(box.DataPartition-1)*entrySize:][:entrySize]
	first, last := le.Uint64(entry[32:]), le.Uint64(entry[40:])
	backup := sectors - 1
	if end := backup - entrySectors - 1; end > last {
		last = end
		le.PutUint64(entry[40:], last)
		le.PutUint64(header[48:], last) // the last usable sector
		le.PutUint64(header[32:], backup)
		le.PutUint32(header[88:], crc32.ChecksumIEEE(entries))
		sumHeader(header)
		second := bytes.Clone(header)
		le.PutUint64(second[24:], backup)
		le.PutUint64(second[32:], 1)
		le.PutUint64(second[72:], backup-entrySectors)
		sumHeader(second)
		protect(table, sectors)
		err := writeAll(disk, part{entries, backup - entrySectors}, part{second, backup},
			part{table[sectorSize:][:headAndFirst], 1}, part{table[:sectorSize], 0})
		if err != nil {
			return 0, 0, err
		}
	}
	return int64(first) * sectorSize, int64(last-first+1) * sectorSize, nil
}

func sumHeader(header []byte) {
	size := binary.LittleEndian.Uint32(header[12:])
	binary.LittleEndian.PutUint32(header[16:], 0)
	binary.LittleEndian.PutUint32(header[16:], crc32.ChecksumIEEE(header[:size]))
}

// protect makes the MBR's entry, which only tells old programs that the disk is not empty, cover
// the whole disk.
func protect(table []byte, sectors uint64) {
	binary.LittleEndian.PutUint32(table[446+12:], uint32(min(sectors-1, 1<<32-1)))
}

type part struct {
	data   []byte
	sector uint64
}

// writeAll writes in order: what comes later is not on the medium before what came earlier.
func writeAll(disk medium, parts ...part) error {
	for _, p := range parts {
		if _, err := disk.WriteAt(p.data, int64(p.sector*sectorSize)); err != nil {
			return fmt.Errorf("writing the partition table: %w", err)
		}
		if err := disk.Sync(); err != nil {
			return fmt.Errorf("writing the partition table: %w", err)
		}
	}
	return nil
}

// growData grows the data partition on its disk, and tells the kernel, which uses other partitions
// of it.
func growData(partition string) error {
	device, err := filepath.EvalSymlinks(partition)
	if err != nil {
		return fmt.Errorf("finding the data partition: %w", err)
	}
	in, err := filepath.EvalSymlinks(filepath.Join("/sys/class/block", filepath.Base(device)))
	if err != nil {
		return fmt.Errorf("finding the disk of %s: %w", device, err)
	}
	disk, err := os.OpenFile(filepath.Join("/dev", filepath.Base(filepath.Dir(in))), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("opening the disk: %w", err)
	}
	defer disk.Close()
	size, err := disk.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("measuring the disk: %w", err)
	}
	start, length, err := GrowTable(disk, size)
	if err != nil {
		return err
	}
	known, err := os.ReadFile(filepath.Join(in, "size"))
	if err != nil {
		return fmt.Errorf("measuring the data partition: %w", err)
	}
	if sectors, err := strconv.ParseInt(strings.TrimSpace(string(known)), 10, 64); err == nil &&
		sectors*sectorSize == length {
		return nil
	}
	return resizeInKernel(disk, start, length)
}

// resizeInKernel is what partx(8) does: the BLKPG request, for which x/sys/unix has no function.
func resizeInKernel(disk *os.File, start, length int64) error {
	partition := struct {
		start, length int64
		number        int32
		names         [128]byte
	}{start: start, length: length, number: box.DataPartition}
	request := struct {
		op, flags, size int32
		data            unsafe.Pointer
	}{op: unix.BLKPG_RESIZE_PARTITION, size: int32(unsafe.Sizeof(partition)),
		data: unsafe.Pointer(&partition)}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, disk.Fd(), unix.BLKPG,
		uintptr(unsafe.Pointer(&request))); errno != 0 {
		return fmt.Errorf("telling the kernel the data partition's size: %w", errno)
	}
	return nil
}

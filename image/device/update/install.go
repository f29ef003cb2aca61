package update

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"ztbridge/image/device/box"
)

// holdsSystem looks for what install writes last.
func (b *Box) holdsSystem(slot box.Slot) error {
	f, err := os.Open(filepath.Join(b.RunDir, slot.Link()))
	if err != nil {
		return fmt.Errorf("looking at the other slot: %w", err)
	}
	defer f.Close()
	sector := make([]byte, 512)
	if _, err := io.ReadFull(f, sector); err != nil || sector[510] != 0x55 || sector[511] != 0xaa {
		return ErrNoOther
	}
	return nil
}

// install writes the slot. Its first sector, without which it is no file system, is taken away
// first and written last, so that a slot that is half-written, or does not hold what was written,
// is never mistaken for a system.
func (b *Bundle) install(ctx context.Context, device string) error {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("opening the slot: %w", err)
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("measuring the slot: %w", err)
	}
	if size < b.Manifest.SlotSize {
		return fmt.Errorf("writing the slot: %w: it has %d bytes, the bundle needs %d",
			ErrTooLarge, size, b.Manifest.SlotSize)
	}
	src, err := b.slot()
	if err != nil {
		return err
	}
	defer src.Close()
	if err := clearStart(f); err != nil {
		return err
	}
	first, err := copySlot(ctx, f, src)
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("writing the slot: %w", err)
	}
	// Now it becomes a system, which it is not to remain when this fails.
	if err = writeStart(f, first, "writing"); err == nil {
		err = b.readBack(f)
	}
	if err != nil {
		return errors.Join(err, clearStart(f))
	}
	return nil
}

func clearStart(f *os.File) error { return writeStart(f, make([]byte, chunk), "clearing") }

// writeStart returns when the first bytes of the slot are on the medium.
func writeStart(f *os.File, first []byte, doing string) error {
	_, err := f.WriteAt(first, 0)
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return fmt.Errorf("%s the slot: %w", doing, err)
	}
	return nil
}

const chunk = 1 << 20

// copySlot writes everything but the first chunk, which it returns.
func copySlot(ctx context.Context, f *os.File, src io.Reader) (first []byte, err error) {
	buf := make([]byte, chunk)
	for at := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := io.ReadFull(src, buf)
		if n > 0 && at == 0 {
			first = append([]byte(nil), buf[:n]...)
		} else if n > 0 {
			if _, err := f.WriteAt(buf[:n], at); err != nil {
				return nil, fmt.Errorf("writing the slot: %w", err)
			}
		}
		at += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return first, nil
		}
		if err != nil {
			return nil, fmt.Errorf("unpacking the bundle: %w", err)
		}
	}
}

// readBack asks the medium, not the cache: a worn card says "written" and lies.
func (b *Bundle) readBack(f *os.File) error {
	// advice; without it the check is merely weaker
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, b.Manifest.SlotSize)); err != nil {
		return fmt.Errorf("reading the slot back: %w", err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != b.Manifest.SlotSHA256 {
		return fmt.Errorf(
			"reading the slot back: its sum is %s, not %s; the medium may be worn out", got,
			b.Manifest.SlotSHA256)
	}
	return nil
}

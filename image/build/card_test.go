package build

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Disk is a raw disk image of one test. Its FAT partition can be read and written as a person with
// a card reader would.
type Disk string

// configOffset is where the first partition begins, on every target.
const configOffset = "@@1M"

// NewDisk unpacks an image to a sparse file.
func NewDisk(image, file string) (d Disk, err error) {
	src, err := os.Open(image)
	if err != nil {
		return "", fmt.Errorf("unpacking %s: %w", image, err)
	}
	defer src.Close()
	r, err := zstd.NewReader(src)
	if err != nil {
		return "", fmt.Errorf("unpacking %s: %w", image, err)
	}
	defer r.Close()
	dst, err := os.Create(file)
	if err != nil {
		return "", fmt.Errorf("unpacking %s: %w", image, err)
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	if err := copySparse(dst, r); err != nil {
		return "", fmt.Errorf("unpacking %s: %w", image, err)
	}
	return Disk(file), nil
}

func copySparse(dst *os.File, r io.Reader) error {
	buf := make([]byte, 1<<20)
	for at := int64(0); ; {
		n, err := io.ReadFull(r, buf)
		if strings.Trim(string(buf[:n]), "\x00") != "" {
			if _, err := dst.WriteAt(buf[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return dst.Truncate(at)
		}
		if err != nil {
			return err
		}
	}
}

// Put writes a file on the FAT partition.
func (d Disk) Put(name, content string) error {
	return d.mtools(strings.NewReader(content), nil, "mcopy", "-o", "-i", string(d)+configOffset,
		"-", "::/"+name)
}

// Get reads a file of the FAT partition.
func (d Disk) Get(name string) (string, error) {
	var out strings.Builder
	err := d.mtools(nil, &out, "mtype", "-i", string(d)+configOffset, "::/"+name)
	return out.String(), err
}

// List names the files at the top of the FAT partition, in capitals where the short names are.
func (d Disk) List() (string, error) {
	var out strings.Builder
	err := d.mtools(nil, &out, "mdir", "-b", "-i", string(d)+configOffset, "::/")
	return out.String(), err
}

func (d Disk) mtools(in io.Reader, out io.Writer, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "MTOOLS_SKIP_CHECK=1")
	var problem strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, &problem
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, args[len(args)-1], err, problem.String())
	}
	return nil
}

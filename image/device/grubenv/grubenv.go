package grubenv

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// Size is fixed: GRUB overwrites the block in place and can neither grow nor shrink it.
const Size = 1024

const header = "# GRUB Environment Block\n"

// Keys of the block.
const (
	Active = "active" // slot that boots when nothing else is said: A or B
	Try    = "try"    // slot to boot once
	Left   = "left"   // 1 while the try is still to be made; GRUB writes 0 before it boots
	Data   = "data"   // 1 once the data file system has been made, which then is never made again
)

// ErrCorrupt reports a block that is not one.
var ErrCorrupt = errors.New("not a GRUB environment block")

// Block is the set of variables.
type Block map[string]string

// Parse reads a block.
func Parse(b []byte) (Block, error) {
	if len(b) != Size || !bytes.HasPrefix(b, []byte(header)) {
		return nil, ErrCorrupt
	}
	block := Block{}
	for line := range strings.SplitSeq(string(b[len(header):]), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			return nil, fmt.Errorf("%w: line %q", ErrCorrupt, line)
		}
		block[key] = value
	}
	return block, nil
}

// Bytes returns the block as GRUB reads it. Empty variables are kept, so that GRUB's save_env
// overwrites them in place.
func (b Block) Bytes() ([]byte, error) {
	out := []byte(header)
	for _, k := range slices.Sorted(maps.Keys(b)) {
		v := b[k]
		if k == "" || strings.ContainsAny(k, "=\n#\\") || strings.ContainsAny(v, "\n\\") {
			return nil, fmt.Errorf("rendering boot variable %q=%q: not representable", k, v)
		}
		out = append(out, k+"="+v+"\n"...)
	}
	if len(out) > Size {
		return nil, fmt.Errorf("rendering boot variables: %d bytes do not fit %d", len(out), Size)
	}
	return append(out, bytes.Repeat([]byte{'#'}, Size-len(out))...), nil
}

// Load reads the block of a file.
func Load(file string) (Block, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading boot variables: %w", err)
	}
	block, err := Parse(b)
	if err != nil {
		return nil, fmt.Errorf("reading boot variables of %s: %w", file, err)
	}
	return block, nil
}

// Save overwrites the file's 1024 bytes in place and syncs. The file lies on FAT, where a rename
// can lose both names to a power cut, whereas the block is at most two sectors of one cluster, and
// all that ever changes is in the first of them.
func (b Block) Save(file string) error {
	content, err := b.Bytes()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("writing boot variables: %w", err)
	}
	_, err = f.WriteAt(content, 0)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing boot variables: %w", err)
	}
	return nil
}

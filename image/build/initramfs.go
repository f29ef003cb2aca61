package build

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"ztbridge/image/build/kmod"
)

// moduleList is a file of the initramfs and the modules that it names.
type moduleList struct {
	name    string
	modules []string
}

// moduleLists are the lists in the order in which /init goes through them.
func (p Profile) moduleLists() []moduleList {
	return []moduleList{{"order", p.InitModules}, {"later", p.LaterModules}, {"box", p.BoxModules}}
}

// initramfs packs our /init with modules, in lists of which each may need those before it. modules
// is the folder lib/modules/VERSION.
func initramfs(init []byte, modules string, lists []moduleList) ([]byte, error) {
	kmods, err := kmod.Open(os.DirFS(modules))
	if err != nil {
		return nil, fmt.Errorf("indexing kernel modules: %w", err)
	}
	var raw bytes.Buffer
	archive := cpioWriter{w: &raw}
	for _, dir := range []string{"dev", "modules", "proc", "run", "root", "sys"} {
		archive.add(dir, 0o040755, nil)
	}
	archive.add("init", 0o100755, init)
	var wanted []string
	done := 0
	for _, list := range lists {
		wanted = append(wanted, list.modules...)
		files, err := kmods.Resolve(wanted...)
		if err != nil {
			return nil, fmt.Errorf("choosing modules for the initramfs: %w", err)
		}
		var names strings.Builder
		for _, file := range files[done:] {
			data, err := moduleData(filepath.Join(modules, file))
			if err != nil {
				return nil, fmt.Errorf("unpacking module %s: %w", file, err)
			}
			name := kmod.Name(file) + ".ko"
			archive.add(path.Join("modules", name), 0o100644, data)
			fmt.Fprintln(&names, name)
		}
		done = len(files)
		archive.add(path.Join("modules", list.name), 0o100644, []byte(names.String()))
	}
	archive.close()
	var packed bytes.Buffer
	if err := zstdTo(&packed, &raw); err != nil {
		return nil, fmt.Errorf("compressing the initramfs: %w", err)
	}
	return packed.Bytes(), nil
}

// moduleData returns a module uncompressed, because our init hands files to the kernel unchanged.
func moduleData(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	switch path.Ext(file) {
	case ".xz":
		r, err := xz.NewReader(f)
		if err != nil {
			return nil, err
		}
		return io.ReadAll(r)
	case ".zst":
		r, err := zstd.NewReader(f)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(r)
	default:
		return io.ReadAll(f)
	}
}

// cpioWriter writes the cpio format that the kernel unpacks, "newc". It writes to memory, so that
// no write can fail.
type cpioWriter struct {
	w     *bytes.Buffer
	inode int
}

func (c *cpioWriter) add(name string, mode uint32, data []byte) {
	c.inode++
	// magic, ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor,
	// namesize, check
	fmt.Fprintf(c.w, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", c.inode, mode, 0,
		0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
	c.w.WriteString(name + "\x00")
	c.pad()
	c.w.Write(data)
	c.pad()
}

func (c *cpioWriter) pad() {
	for c.w.Len()%4 != 0 {
		c.w.WriteByte(0)
	}
}

func (c *cpioWriter) close() { c.add("TRAILER!!!", 0, nil) }

// zstdTo compresses in one goroutine: the output must not depend on the machine.
func zstdTo(w io.Writer, r io.Reader) error {
	enc, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBestCompression),
		zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	if _, err := io.Copy(enc, r); err != nil {
		return err
	}
	return enc.Close()
}

// gzipped compresses a kernel for GRUB with gzip(1). GRUB's decompressor refuses some Huffman codes
// that Go's compressor writes. The header has neither a name nor a time.
func gzipped(ctx context.Context, data []byte) ([]byte, error) {
	out, err := filter(ctx, bytes.NewReader(data), "gzip", "-9n")
	if err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	return out.Bytes(), nil
}

package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// deliver writes the result files and returns their names. They are the compressed disk, for clouds
// a qcow2 too, the slot for updates, the manifest and the bill of materials.
func (b *build) deliver(ctx context.Context, raw, slot string) ([]string, error) {
	if err := os.MkdirAll(filepath.Dir(b.Out), 0o755); err != nil {
		return nil, fmt.Errorf("making the output folder: %w", err)
	}
	b.Progress("disk", "compressing")
	files := []string{b.Out + ".img.zst", b.Out + ".slot.zst"}
	for i, src := range []string{raw, slot} {
		if err := compressFile(src, files[i]); err != nil {
			return nil, err
		}
	}
	if b.Profile.QCOW2 {
		file := b.Out + ".qcow2"
		if err := run(ctx, nil, "qemu-img", "convert", "-q", "-c", "-f", "raw", "-O", "qcow2", raw,
			file); err != nil {
			return nil, fmt.Errorf("writing %s: %w", file, err)
		}
		files = append(files, file)
	}
	manifest, err := b.manifest(files)
	if err != nil {
		return nil, err
	}
	bill, err := b.spdx(ctx)
	if err != nil {
		return nil, err
	}
	for suffix, value := range map[string]any{".manifest.json": manifest, ".spdx.json": bill} {
		text, err := json.MarshalIndent(value, "", "  ")
		if err != nil {
			return nil, fmt.Errorf("writing %s: %w", suffix, err)
		}
		if err := os.WriteFile(b.Out+suffix, append(text, '\n'), 0o644); err != nil {
			return nil, fmt.Errorf("writing %s: %w", suffix, err)
		}
	}
	return append(files, b.Out+".manifest.json", b.Out+".spdx.json"), nil
}

func compressFile(from, to string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("compressing %s: %w", filepath.Base(to), err)
	}
	defer src.Close()
	dst, err := os.Create(to)
	if err != nil {
		return fmt.Errorf("compressing %s: %w", filepath.Base(to), err)
	}
	if err := errors.Join(zstdTo(dst, src), dst.Close()); err != nil {
		return fmt.Errorf("compressing %s: %w", filepath.Base(to), err)
	}
	return nil
}

package build

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The root folder is in no archive, and has a time all the same: builds that differed only there
// are what this is for.
func TestSquashIsReproducible(t *testing.T) {
	need(t, "mksquashfs")
	dir := t.TempDir()
	tr := newTree()
	tr.file("usr/bin/tool", 0o755, bytes.Repeat([]byte("x"), 300000))
	tr.symlink("bin", "usr/bin")
	var images [][]byte
	for _, name := range []string{"a", "b"} {
		if len(images) > 0 {
			time.Sleep(1100 * time.Millisecond) // the format's clock counts seconds
		}
		file := filepath.Join(dir, name)
		if err := squash(context.Background(), tr, file, time.Unix(1767225600, 0)); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, data)
	}
	if !bytes.Equal(images[0], images[1]) {
		t.Error("two file systems of one tree differ")
	}
}

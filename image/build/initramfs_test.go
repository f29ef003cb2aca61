package build

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// GRUB itself unpacks what it will have to unpack: a kernel has stretches without repetitions, like
// this noise, and what Go writes for them it refuses.
func TestGRUBUnpacksTheKernel(t *testing.T) {
	need(t, "grub-fstest", "gzip")
	random := rand.New(rand.NewPCG(1, 1))
	kernel := make([]byte, 1<<18)
	for i := range kernel {
		kernel[i] = byte(128 + 30*random.NormFloat64())
	}
	var bad bytes.Buffer
	w := gzip.NewWriter(&bad)
	_, err := w.Write(kernel)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	good, err := gzipped(t.Context(), kernel)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(unpackedByGRUB(t, good), kernel) {
		t.Error("GRUB does not unpack it")
	}
	if bytes.Equal(unpackedByGRUB(t, bad.Bytes()), kernel) {
		t.Log("this GRUB unpacks what Go packs too")
	}
}

func unpackedByGRUB(t *testing.T, packed []byte) []byte {
	t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: "vmlinuz", Mode: 0o644,
		Size: int64(len(packed))}); err != nil {
		t.Fatal(err)
	}
	_, err := w.Write(packed)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "disk.tar")
	if err := os.WriteFile(file, archive.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("grub-fstest", "-u", file, "cat", "(loop0)/vmlinuz").Output()
	if err != nil {
		t.Logf("grub-fstest: %v", err)
	}
	return out
}

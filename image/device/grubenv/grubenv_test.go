package grubenv

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRoundTrip(t *testing.T) {
	want := Block{Active: "A", Try: "", Left: "0"}
	b, err := want.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if len(b) != Size {
		t.Fatalf("block of %d bytes, GRUB wants %d", len(b), Size)
	}
	got, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// GRUB's own tool must read what we write, and we what it writes.
func TestAgreesWithGrubEditenv(t *testing.T) {
	if _, err := exec.LookPath("grub-editenv"); err != nil {
		t.Skip("SKIPPED: grub-editenv (package grub-common) is not installed")
	}
	file := filepath.Join(t.TempDir(), "grubenv")
	if err := os.WriteFile(file, bytes.Repeat([]byte{'#'}, Size), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := (Block{Active: "A", Try: "B", Left: "1"}).Save(file); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("grub-editenv", file, "set",
		"left=0").CombinedOutput(); err != nil {
		t.Fatalf("grub-editenv: %v: %s", err, out)
	}
	got, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Block{Active: "A", Try: "B", Left: "0"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRefusals(t *testing.T) {
	if _, err := Parse([]byte("nonsense")); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Parse(nonsense) = %v, want ErrCorrupt", err)
	}
	if _, err := (Block{"k": "a\nactive=B"}).Bytes(); err == nil {
		t.Error("a value with a newline was rendered: it could set another variable")
	}
	if _, err := (Block{"k": string(bytes.Repeat([]byte{'x'}, Size))}).Bytes(); err == nil {
		t.Error("a block that does not fit was rendered")
	}
	missing := filepath.Join(t.TempDir(), "none")
	if err := (Block{}).Save(missing); err == nil {
		t.Error("Save made a file where the boot partition had none")
	}
}

func FuzzParse(f *testing.F) {
	seed, _ := Block{Active: "A"}.Bytes()
	f.Add(seed)
	f.Add([]byte(header))
	f.Fuzz(func(t *testing.T, b []byte) {
		block, err := Parse(b)
		if err != nil {
			return
		}
		out, err := block.Bytes()
		if err != nil {
			return // GRUB allows escapes that we never write
		}
		again, err := Parse(out)
		if err != nil || !cmp.Equal(block, again) {
			t.Errorf("%v became %v (%v)", block, again, err)
		}
	})
}

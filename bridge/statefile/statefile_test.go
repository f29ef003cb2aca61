package statefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestJSONSurvives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ifaces.json")
	want := []string{"br-lan", "zt1"}
	f, err := Open[[]string](path)
	if err != nil || f.Value() != nil {
		t.Fatalf("without a file: %v, %v", f.Value(), err)
	}
	if err := f.Save(want); err != nil {
		t.Fatal(err)
	}
	again, err := Open[[]string](path)
	if err != nil || !slices.Equal(again.Value(), want) {
		t.Fatalf("read back %v, %v", again.Value(), err)
	}
	// What the file holds already is not written: it would wear out a card.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := again.Save(slices.Clone(want)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("an equal value was written")
	}
	if err := again.Save(want[:1]); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestMalformedJSONIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ifaces.json")
	if err := os.WriteFile(path, []byte(`["zt1", 7]`), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open[[]string](path)
	if err == nil || f.Value() != nil {
		t.Fatalf("reads %v, %v", f.Value(), err)
	}
	if err := f.Save([]string{"zt2"}); err != nil {
		t.Fatal(err)
	}
	if f, err := Open[[]string](path); err != nil || !slices.Equal(f.Value(), []string{"zt2"}) {
		t.Errorf("reads %v, %v", f.Value(), err)
	}
}

func TestLineSurvives(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "line")
	for _, want := range []string{"", "backup", ""} {
		if err := WriteLine(path, want); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadLine(path); err != nil || got != want {
			t.Errorf("wrote %q, read back %q (%v)", want, got, err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v (%v)", entries, err)
	}
}

// An error names the file that is to be written: that of a fault that lasts is always the same.
func TestWriteNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "file")
	first, second := Write(path, nil), Write(path, nil)
	if first == nil || !errors.Is(first, fs.ErrNotExist) || first.Error() != second.Error() {
		t.Errorf("%v, then %v", first, second)
	}
}

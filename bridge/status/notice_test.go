package status

import (
	"os"
	"path/filepath"
	"testing"
)

func TestNotice(t *testing.T) {
	dir := t.TempDir()
	if n := ReadNotice(dir); n != (Notice{}) {
		t.Errorf("without a notice: %+v", n)
	}
	text := "the files were not taken over:\nztbridge.yaml:3: unknown key egres\nhint: did you mean egress?\nhint: start the box again\n"
	if err := os.WriteFile(filepath.Join(dir, noticeFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	n := ReadNotice(dir)
	if want := "the files were not taken over:\nztbridge.yaml:3: unknown key egres"; n.Message != want {
		t.Errorf("message %q, want %q", n.Message, want)
	}
	if want := "did you mean egress?; start the box again"; n.Remedy != want {
		t.Errorf("remedy %q, want %q", n.Remedy, want)
	}
}

package bridge

import (
	"os"
	"path/filepath"
	"testing"
)

func TestNotice(t *testing.T) {
	dir := t.TempDir()
	if message, remedy := Notice(dir); message != "" || remedy != "" {
		t.Errorf("without a notice: %q, %q", message, remedy)
	}
	text := "the files were not taken over:\nztbridge.yaml:3: unknown key egres\nhint: did you mean egress?\nhint: start the box again\n"
	if err := os.WriteFile(filepath.Join(dir, noticeFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	message, remedy := Notice(dir)
	if want := "the files were not taken over:\nztbridge.yaml:3: unknown key egres"; message != want {
		t.Errorf("message %q, want %q", message, want)
	}
	if want := "did you mean egress?; start the box again"; remedy != want {
		t.Errorf("remedy %q, want %q", remedy, want)
	}
}

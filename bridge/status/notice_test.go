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

func TestUpdatesAreRead(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]int{
		`[{"code":"update-staged","message":"version 2 is installed"}]`: 1,
		`[{"code":"of-a-later-version","message":"?"}]`:                 0,
		`[{`: 0,
		``:   0,
	} {
		if err := os.WriteFile(filepath.Join(dir, updatesFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := ReadUpdates(dir); len(got) != want {
			t.Errorf("%q is read as %+v", text, got)
		}
	}
	if got := ReadUpdates(t.TempDir()); got != nil {
		t.Errorf("without a file: %+v", got)
	}
}

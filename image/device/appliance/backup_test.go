package appliance

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// A backup makes the box, and leaves nothing of it on the boot partition.
func TestBackupIsRestoredAndWiped(t *testing.T) {
	w := newWorld(t)
	w.put(t, "MYBOX.AGE", "age-encryption.org/v1")
	w.put(t, "Passphrase.txt", "correct horse battery\r\n")
	w.put(t, "authorized_keys", "ssh-ed25519 AAAA")
	var asked []string
	w.Restore = func(_ context.Context, file, passphrase, system string) error {
		asked = []string{filepath.Base(file), read(t, passphrase), filepath.Base(system)}
		return nil
	}
	if err := w.Perform(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(asked, "|"); got != "MYBOX.AGE|correct horse battery\r\n|system" {
		t.Errorf("asked for %q", got)
	}
	for _, name := range []string{"MYBOX.AGE", "Passphrase.txt", "authorized_keys", errorFile} {
		if got := read(t, w.ConfigDir, name); got != "(absent)" {
			t.Errorf("%s is still on the boot partition", name)
		}
	}
	if read(t, w.DataDir, "system/authorized_keys") != "ssh-ed25519 AAAA" {
		t.Error("the key that may log in is missing")
	}
}

// What cannot be restored stays for a person to correct, who is told why.
func TestBackupThatIsNotRestored(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		fail  error
		says  string
	}{
		"refused": {map[string]string{"a.age": "x", "passphrase.txt": "wrong"},
			errors.New("the passphrase does not open this backup"), "does not open this backup"},
		"without passphrase": {map[string]string{"a.age": "x"}, nil, "without its passphrase"},
		"passphrase alone":   {map[string]string{"passphrase.txt": "x"}, nil, "no backup"},
		"two": {map[string]string{"a.age": "x", "b.age": "x", "passphrase.txt": "x"}, nil,
			"several backups: a.age, b.age"},
		"beside a configuration": {map[string]string{"a.age": "x", "passphrase.txt": "x",
			"ztbridge.yaml": "egress: {}"}, nil, "files of a configuration: ztbridge.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.Restore = func(context.Context, string, string, string) error {
				w.calls = append(w.calls, "restore")
				return c.fail
			}
			for file, text := range c.files {
				w.put(t, file, text)
			}
			if err := w.Perform(context.Background()); err == nil {
				t.Error("no error")
			}
			if w.called("restore") != (c.fail != nil) || w.called("check") {
				t.Errorf("called %q", w.calls)
			}
			for file, text := range c.files {
				if got := read(t, w.ConfigDir, file); got != text {
					t.Errorf("%s is %q", file, got)
				}
			}
			if got := read(t, w.ConfigDir, errorFile); !strings.Contains(got, c.says) {
				t.Errorf("it says %q", got)
			}
		})
	}
}

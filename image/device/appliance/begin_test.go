package appliance

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// begun is a world after its first start without a file.
func begun(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	if err := w.Perform(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

// TestStartWithoutFiles: a box that nobody has brought a configuration has a page, and tells by
// which code it is claimed, at each start until it has an owner.
func TestStartWithoutFiles(t *testing.T) {
	w := begun(t)
	offers := func(when string) {
		t.Helper()
		if got := read(t, w.EtcDir, configName); got != string(beginning) {
			t.Errorf("%s: the configuration is %q", when, got)
		}
		if got := read(t, w.ConfigDir, codeFile); !strings.Contains(got, pageCodeText+"\r\n") {
			t.Errorf("%s: the boot partition says %q", when, got)
		}
		if !strings.Contains(w.console.String(), pageCodeText) {
			t.Errorf("%s: the console says %q", when, w.console.String())
		}
		if got := read(t, w.ConfigDir, errorFile); got != "(absent)" || !w.ro {
			t.Errorf("%s: an error, or a boot partition left writable: %s", when, got)
		}
	}
	offers("at first")
	w.console.Reset()
	w.calls = nil
	if err := w.Perform(t.Context()); err != nil {
		t.Fatal(err)
	}
	offers("at the second start")
	if w.called("code --open") {
		t.Error("each start begins the 30 minutes again")
	}
	if err := os.Remove(w.ClaimFile); err != nil { // its page was claimed
		t.Fatal(err)
	}
	w.console.Reset()
	if err := w.Perform(t.Context()); err != nil {
		t.Fatal(err)
	}
	if read(t, w.ConfigDir, codeFile) != "(absent)" || w.console.Len() > 0 {
		t.Errorf("a box with an owner tells of a code: %s", w.console.String())
	}
}

// TestStartIsInterrupted before the configuration is there: the next start does it all again.
func TestStartIsInterrupted(t *testing.T) {
	w := newWorld(t)
	w.fail["code"] = errors.New("no space left")
	if err := w.Perform(t.Context()); err == nil {
		t.Error("no error")
	}
	if got := read(t, w.EtcDir, configName); got != "(absent)" {
		t.Errorf("a page that nobody can claim: %s", got)
	}
	delete(w.fail, "code")
	if err := w.Perform(t.Context()); err != nil ||
		read(t, w.EtcDir, configName) != string(beginning) {
		t.Errorf("the next start: %v", err)
	}
}

// TestFilesNeedNoClaim: a box that is set up by files has none, be it at first or later; files that
// are refused, or are not enough, change nothing.
func TestFilesNeedNoClaim(t *testing.T) {
	for name, files := range map[string][]string{
		"a configuration": {"ztbridge.yaml", "provider.ovpn"}, "a backup": {"box.age", "passphrase.txt"},
	} {
		for _, first := range []bool{true, false} {
			w := newWorld(t)
			if !first {
				w = begun(t)
			}
			w.Restore = func(context.Context, string, string, string) error {
				if exists(w.ClaimFile) || exists(filepath.Join(w.EtcDir, configName)) {
					return errors.New("the box is in use")
				}
				return os.WriteFile(filepath.Join(w.EtcDir, configName), []byte("x"), 0o600)
			}
			for _, file := range files {
				w.put(t, file, "x")
			}
			if err := w.Perform(t.Context()); err != nil {
				t.Errorf("%s, %v: %v", name, first, err)
			}
			if exists(w.ClaimFile) || read(t, w.EtcDir, configName) != "x" ||
				read(t, w.ConfigDir, codeFile) != "(absent)" {
				t.Errorf("%s, %v: there is a claim, or another configuration", name, first)
			}
		}
	}
}

// TestFilesThatAreNotTakenOver leave the page of a box that has begun as it is, and offer none to a
// box that has not: who brought files is told what is wrong with them.
func TestFilesThatAreNotTakenOver(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		fail error
		want error
	}{
		"a mistake":       {"ztbridge.yaml", errors.New("unknown key"), errBadConfig},
		"a profile alone": {"provider.ovpn", nil, errNoConfig},
	} {
		for _, first := range []bool{true, false} {
			w := newWorld(t)
			if !first {
				w = begun(t)
			}
			w.put(t, c.file, "x")
			w.fail["check"] = c.fail
			if err := w.Perform(t.Context()); !errors.Is(err, c.want) {
				t.Errorf("%s, %v: %v", name, first, err)
			}
			if exists(w.ClaimFile) == first ||
				exists(filepath.Join(w.EtcDir, configName)) == first ||
				read(t, w.ConfigDir, c.file) != "x" || read(t, w.EtcDir, c.file) == "x" {
				t.Errorf("%s, %v: it is not as before", name, first)
			}
		}
	}
}

// TestRefusedBackupLeavesThePage of a box that has begun, and offers none to another one.
func TestRefusedBackupLeavesThePage(t *testing.T) {
	for _, first := range []bool{true, false} {
		w := newWorld(t)
		if !first {
			w = begun(t)
		}
		w.Restore = func(context.Context, string, string, string) error {
			return errors.New("the passphrase does not open this backup")
		}
		w.put(t, "box.age", "x")
		w.put(t, "passphrase.txt", "x")
		if err := w.Perform(t.Context()); err == nil {
			t.Error("no error")
		}
		if exists(w.ClaimFile) == first || (read(t, w.EtcDir, configName) ==
			string(beginning)) == first {
			t.Errorf("first %v: it is not as before", first)
		}
	}
}

// TestCloudWaitsForUserData: a machine in a cloud offers no page before that is asked for.
func TestCloudWaitsForUserData(t *testing.T) {
	w := newWorld(t)
	w.InCloud = true
	if err := w.Perform(t.Context()); err != nil || exists(w.ClaimFile) ||
		exists(filepath.Join(w.EtcDir, configName)) {
		t.Errorf("%v, or it offers its page", err)
	}
}

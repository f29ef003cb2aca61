package appliance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What the daemon remarks of a good configuration is said once, in all places, and is no error.
func TestRemarksAreTold(t *testing.T) {
	w := newWorld(t)
	w.put(t, "ztbridge.yaml", "egress: {}")
	w.remarks = "egress provider: profile " + w.DataDir +
		"/incoming/provider.ovpn\n  warning: line 4: up: would run a program; dropped\n"
	if err := w.Perform(context.Background()); err != nil {
		t.Fatal(err)
	}
	want := "egress provider: profile provider.ovpn\n  warning: line 4: up: would run a program; dropped\n"
	if got := read(t, w.ConfigDir, errorFile); got != dos(want) {
		t.Errorf("%s says %q, want %q", errorFile, got, dos(want))
	}
	if got := read(t, w.Notice); got != want {
		t.Errorf("the notice for `ztbridge status` says %q, want %q", got, want)
	}
	if !strings.Contains(w.console.String(), want) {
		t.Errorf("the console does not say it:\n%s", w.console.String())
	}
	w.remarks = ""
	if err := w.Perform(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := read(t, w.ConfigDir, errorFile); got != "(absent)" {
		t.Errorf("at the next start, with nothing new, %s still says %q", errorFile, got)
	}
}

// A full data partition is named as what it is, with what can be done; nothing is taken over and
// nothing is lost.
func TestFullDataPartition(t *testing.T) {
	w := newWorld(t)
	w.put(t, "ztbridge.yaml", "egress: {}")
	mount := w.Setup.Mount
	w.Setup.Mount = func(source, target, fstype string, flags uintptr, data string) error {
		if fstype == "ext4" {
			return fmt.Errorf("writing: %w", unix.ENOSPC)
		}
		return mount(source, target, fstype, flags, data)
	}
	err := w.Perform(context.Background())
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("got %v", err)
	}
	for place, text := range map[string]string{"the FAT partition": read(t, w.ConfigDir, errorFile),
		"the console": w.console.String(), "the notice": read(t, w.Notice)} {
		if !strings.Contains(text, "data partition is full") ||
			!strings.Contains(text, "hint: log in by SSH and remove") {
			t.Errorf("%s says %q", place, text)
		}
	}
	if read(t, w.ConfigDir, "ztbridge.yaml") != "egress: {}" {
		t.Error("the user's file is gone")
	}
}

func TestWarnings(t *testing.T) {
	const report = "warning: egress backup is never used\negress backup: profile b.ovpn\n  info: line 1: nobind: ztbridge sets this itself\n" +
		"egress provider: profile p.ovpn\n  info: line 1: script-security: ztbridge sets this itself\n  warning: line 2: up: would run a program; dropped\n" +
		"  warning: line 3: down: would run a program; dropped\n"
	const want = "warning: egress backup is never used\negress provider: profile p.ovpn\n  warning: line 2: up: would run a program; dropped\n" +
		"  warning: line 3: down: would run a program; dropped\n"
	if got := warnings(report); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

package appliance

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A power cut during the wipe left zeros in the place of a file: they must not become the box's.
func TestZerosAreNotTakenOver(t *testing.T) {
	w := newWorld(t)
	if err := os.MkdirAll(filepath.Join(w.DataDir, systemDir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.DataDir, systemDir, "authorized_keys"),
		[]byte("ssh-ed25519 AAAA"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.put(t, "authorized_keys", strings.Repeat("\x00", 16))
	w.put(t, "eth0.network", "[Match]")
	w.put(t, "ztbridge.yaml", "egress: {}")
	if err := w.Perform(context.Background()); !errors.Is(err, errDamaged) {
		t.Fatalf("error = %v", err)
	}
	if got := read(t, w.DataDir, systemDir, "authorized_keys"); got != "ssh-ed25519 AAAA" {
		t.Errorf("who may log in is now %q", got)
	}
	if read(t, w.DataDir, systemDir, "eth0.network") != "[Match]" ||
		read(t, w.EtcDir, "ztbridge.yaml") != "egress: {}" {
		t.Error("the other files were not taken over")
	}
	if !strings.Contains(read(t, w.ConfigDir, errorFile), "authorized_keys: it holds zero bytes") {
		t.Error("nobody is told")
	}
}

func TestInterruptedWipeIsEnded(t *testing.T) {
	w := newWorld(t)
	w.put(t, "ztbridge.yaml", "egress: {}")
	w.put(t, wipePrefix+"provider.auth", "user\npassword\n")
	if err := w.Perform(context.Background()); err != nil {
		t.Fatal(err)
	}
	if read(t, w.ConfigDir, wipePrefix+"provider.auth") != "(absent)" {
		t.Error("the secret is still on the boot partition")
	}
	if read(t, w.EtcDir, wipePrefix+"provider.auth") != "(absent)" || !w.ro {
		t.Error("it was taken over, or the partition left writable")
	}
}

// Whenever the wipe stops, no file under a user's name has lost its content.
func TestWipeTakesTheNameFirst(t *testing.T) {
	w := newWorld(t)
	w.put(t, "provider.auth", "secret")
	f := found{path: filepath.Join(w.ConfigDir, "provider.auth"), name: "provider.auth"}
	// A folder with the new name and something in it stops the wipe at its first step.
	if err := os.MkdirAll(filepath.Join(w.ConfigDir, wipePrefix+"provider.auth", "x"),
		0o755); err != nil {
		t.Fatal(err)
	}
	if err := w.wipe([]found{f}); err == nil {
		t.Fatal("no error")
	}
	if got := read(t, w.ConfigDir, "provider.auth"); got != "secret" {
		t.Errorf("it was overwritten under its own name: %q", got)
	}
}

func TestBrokenHostKeyIsMadeAgain(t *testing.T) {
	for _, content := range []string{"", strings.Repeat("\x00", 400), hostKey[:30], hostKey} {
		w := newWorld(t)
		w.put(t, "ztbridge.yaml", "egress: {}")
		w.put(t, "authorized_keys", "ssh-ed25519 AAAA")
		system := filepath.Join(w.DataDir, systemDir)
		if err := os.MkdirAll(system, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(system, "ssh_host_ed25519_key"), []byte(content),
			0o600); err != nil {
			t.Fatal(err)
		}
		if err := w.Perform(context.Background()); err != nil {
			t.Fatal(err)
		}
		if got := read(t, system, "ssh_host_ed25519_key"); got != hostKey {
			t.Errorf("the host key is %q", got)
		}
		if made := slices.Contains(w.calls, "ssh-keygen"); made != (content != hostKey) {
			t.Errorf("with %q there: made again: %v", content, made)
		}
	}
}

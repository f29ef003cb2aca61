package services

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestRuntimeDir: openvpn, which runs as another user, can pass a runtime directory that the daemon
// made, whatever its umask. One that exists keeps its mode.
func TestRuntimeDir(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	env := Env{StateDir: filepath.Join(t.TempDir(), "state"),
		RuntimeDir: filepath.Join(t.TempDir(), "run")}
	if err := MakeRuntimeDir(env.RuntimeDir); err != nil { // for the lock, before all else
		t.Fatal(err)
	}
	if err := env.MakeDirs(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", "openvpn", "endpoint"} {
		info, err := os.Stat(filepath.Join(env.RuntimeDir, dir))
		if err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("directory %q has mode %v (%v)", dir, info.Mode(), err)
		}
	}

	foreign := filepath.Join(t.TempDir(), "tmp")
	if err := os.Mkdir(foreign, 0o700); err != nil {
		t.Fatal(err)
	}
	env.RuntimeDir = foreign
	if err := env.MakeDirs(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(foreign); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("a foreign directory got mode %v (%v)", info.Mode(), err)
	}
}

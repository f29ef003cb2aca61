package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	appliance "ztbridge/image/device/box"
	"ztbridge/image/device/grubenv"
	"ztbridge/image/device/update"
)

// A rollback while an update waits for its trial cancels it, says so, and restarts nothing.
func TestRollbackCancelsWithoutRestart(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	write(appliance.SlotFile, "A\n")
	env := grubenv.Block{grubenv.Active: "A", grubenv.Try: "B", grubenv.Left: "1"}
	if err := env.Save(write(appliance.GrubEnv, "")); err != nil {
		t.Fatal(err)
	}
	restarted := false
	b := &update.Box{RunDir: dir, ConfigDir: dir, DataDir: dir,
		ReleaseFile: write("image.json", `{"target":"cloud-amd64","version":"1.0.0"}`),
		Writable:    func(bool) error { return nil },
		Restart:     func(context.Context) error { restarted = true; return nil },
	}
	cmd, out := updateCommand(b), new(bytes.Buffer)
	cmd.SetOut(out)
	cmd.SetArgs([]string{"rollback"})
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	if restarted || !strings.Contains(out.String(), "cancelled") {
		t.Errorf("restarted: %v, told: %q", restarted, out)
	}
}

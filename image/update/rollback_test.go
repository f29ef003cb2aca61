package update

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"path/filepath"
	"strings"
	"testing"

	"ztbridge/image/box"
)

// Who takes back an update that has not been tried must not get it for good.
func TestRollbackCancelsAnUntriedUpdate(t *testing.T) {
	f := newFixture(t)
	if _, err := f.Apply(context.Background(), bytes.NewReader(f.bundle(t, "cloud-amd64", f.key))); err != nil {
		t.Fatal(err)
	}
	restarted := false
	f.Restart = func(context.Context) error { restarted = true; return nil }
	cmd, out := f.rollbackCommand(), new(bytes.Buffer)
	cmd.SetOut(out)
	cmd.SetArgs([]string{})
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	if restarted || !bytes.Contains(out.Bytes(), []byte("cancelled")) {
		t.Errorf("restarted: %v, told: %q", restarted, out)
	}
	if got := f.boots(t); got != box.A || f.state(t) != Settled {
		t.Errorf("booted %s, state %s", got, f.state(t))
	}
	if _, err := f.Apply(context.Background(), bytes.NewReader(f.bundle(t, "cloud-amd64", f.key))); err != nil {
		t.Errorf("a new attempt: %v", err)
	}
}

// A worn medium that holds something else than was written must not leave a slot that passes for a system.
func TestSlotThatReadsBackWrongIsNoSystem(t *testing.T) {
	f := newFixture(t)
	f.write(t, "run/slot-b", slotContent('o'))
	bundle, err := Open(bytes.NewReader(f.bundle(t, "cloud-amd64", f.key)), f.key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	bundle.Manifest.SlotSHA256 = strings.Repeat("0", 64)
	if err := bundle.install(context.Background(), filepath.Join(f.dir, "run/slot-b")); err == nil {
		t.Fatal("the wrong content was taken for the right one")
	}
	if start := f.read(t, "run/slot-b")[:chunk]; !bytes.Equal(start, make([]byte, chunk)) {
		t.Error("the slot still begins like a system")
	}
}

package update

import (
	"bytes"
	"context"
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

package update

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ztbridge/image/device/box"
	"ztbridge/image/device/grubenv"
)

// Who takes back an update that has not been tried must not get it for good.
func TestRollbackCancelsAnUntriedUpdate(t *testing.T) {
	f := newFixture(t)
	if _, err := f.Apply(context.Background(),
		bytes.NewReader(f.bundle(t, "cloud-amd64", f.key)), false); err != nil {
		t.Fatal(err)
	}
	if found, err := f.Rollback(context.Background()); err != nil || found != Prepared {
		t.Fatalf("%s, %v", found, err)
	}
	if got := f.boots(t); got != box.A || f.state(t) != InUse {
		t.Errorf("booted %s, state %s", got, f.state(t))
	}
	if _, err := f.Apply(context.Background(),
		bytes.NewReader(f.bundle(t, "cloud-amd64", f.key)), false); err != nil {
		t.Errorf("a new attempt: %v", err)
	}
}

// A worn medium that holds something else than was written must not leave a slot that passes for a
// system.
func TestSlotThatReadsBackWrongIsNoSystem(t *testing.T) {
	f := newFixture(t)
	f.write(t, "run/slot-b", slotContent('o'))
	bundle, err := Open(bytes.NewReader(f.bundle(t, "cloud-amd64", f.key)),
		f.key.Public().(ed25519.PublicKey))
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

func (f *fixture) rollback(t *testing.T, want State) {
	t.Helper()
	if found, err := f.Rollback(context.Background()); err != nil || found != want {
		t.Fatalf("rollback: found %s (%v), want %s", found, err, want)
	}
}

func (f *fixture) update(t *testing.T) {
	t.Helper()
	if _, err := f.Apply(context.Background(),
		bytes.NewReader(f.bundle(t, "cloud-amd64", f.key)), false); err != nil {
		t.Fatal(err)
	}
}

// shortTimeout is for a system that never gets well.
var shortTimeout = Trial{Timeout: 20 * time.Millisecond, Every: time.Millisecond, Looks: 3}

// A cancelled update is a system that nobody has tried: going there must not be for good until it
// has shown what it can.
func TestRollbackToAnUntriedSystemIsATrial(t *testing.T) {
	f := newFixture(t)
	f.update(t)
	f.rollback(t, Prepared)
	f.rollback(t, InUse)
	if f.state(t) != Prepared {
		t.Errorf("state %s", f.state(t))
	}
	if got := f.boots(t); got != box.B || f.state(t) != Trying {
		t.Fatalf("booted %s, state %s", got, f.state(t))
	}
	f.healthy = errors.New("connection refused")
	if err := f.EndTrial(context.Background(), shortTimeout); !errors.Is(err, ErrUnhealthy) {
		t.Errorf("outcome: %v", err)
	}
	if got := f.boots(t); got != box.A || f.state(t) != FellBack {
		t.Errorf("after the outcome: booted %s, state %s", got, f.state(t))
	}
	f.healthy = nil // it may have been the provider: a person may try again
	f.rollback(t, FellBack)
	if got := f.boots(t); got != box.B {
		t.Errorf("a second attempt booted %s", got)
	}
	if err := f.EndTrial(context.Background(), shortTrial); err != nil {
		t.Fatal(err)
	}
	if got := f.boots(t); got != box.B || f.state(t) != InUse {
		t.Errorf("after the second outcome: booted %s, state %s", got, f.state(t))
	}
}

// Who goes back since nothing works gets there, though it does not work there either.
func TestRollbackStaysUnlessItIsWorse(t *testing.T) {
	f := newFixture(t)
	f.write(t, "run/slot-b", slotContent('o'))
	bad := []string{spareUp, spareDown, noConditions, condition("tunnel-backoff", "spare", "error")}
	f.health = parsed(t, answer(bad...))
	f.rollback(t, InUse)
	f.boots(t)
	f.health = parsed(t, answer(spareUp, spareDown, noConditions,
		condition("tunnel-auth-failed", "spare", "error")))
	if err := f.EndTrial(context.Background(), shortTrial); err != nil {
		t.Fatal(err)
	}
	if got := f.boots(t); got != box.B || f.state(t) != InUse {
		t.Errorf("booted %s, state %s", got, f.state(t))
	}
}

// A system on trial can be left at once: the one before it needs no trial.
func TestRollbackEndsATrial(t *testing.T) {
	f := newFixture(t)
	f.update(t)
	f.boots(t)
	f.rollback(t, Trying)
	if got := f.boots(t); got != box.A || f.state(t) != InUse {
		t.Errorf("booted %s, state %s", got, f.state(t))
	}
}

// Who leaves a system on trial has left it, even if it is found good at that very moment.
func TestRollbackWinsAgainstTheTrial(t *testing.T) {
	f := newFixture(t)
	f.update(t)
	f.boots(t)
	health, left := f.Health, false
	f.Health = func(ctx context.Context) (Health, error) {
		if !left {
			left = true
			f.rollback(t, Trying)
		}
		return health(ctx)
	}
	if err := f.EndTrial(context.Background(), shortTrial); err != nil {
		t.Fatal(err)
	}
	if got := f.boots(t); got != box.A || f.state(t) != InUse {
		t.Errorf("booted %s, state %s", got, f.state(t))
	}
}

// When the active slot does not load, the boot loader starts the other one, which is then the one
// to come back to.
func TestWayBackIsTheSystemThatRuns(t *testing.T) {
	f := newFixture(t)
	env := f.env(t)
	env[grubenv.Active] = string(box.B)
	if err := env.Save(f.envFile()); err != nil {
		t.Fatal(err)
	}
	f.update(t)
	f.boots(t)
	if got := f.boots(t); got != box.A || f.state(t) != FellBack {
		t.Errorf("after the trial: booted %s, state %s", got, f.state(t))
	}
}

package update

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"pault.ag/go/debian/version"

	"ztbridge/image/device/box"
	"ztbridge/image/device/grubenv"
)

// Box is the running appliance. New fills in what is true of the running system.
type Box struct {
	RunDir      string
	ConfigDir   string
	DataDir     string
	ReleaseFile string
	KeyFile     string
	Config      string // the daemon's
	Told        string // file from which the daemon's status tells of updates
	// Writable makes the configuration partition writable, or read-only again.
	Writable func(on bool) error
	// Restart restarts the machine; it returns before that has happened.
	Restart func(ctx context.Context) error
	// Health asks the daemon.
	Health func(ctx context.Context) (Health, error)
	// Setup reports whether the box's own preparations, which end before the judge begins, have
	// worked.
	Setup func(ctx context.Context) error
}

// Errors that a person can do something about.
var (
	ErrNoAppliance = errors.New(
		"this machine does not run the ztbridge image; update the package instead")
	ErrNoKey = errors.New(
		"this image was built without an update key and takes no updates; write a newer image")
	ErrTarget    = errors.New("the bundle is for another kind of machine")
	ErrDowngrade = errors.New("the bundle holds an older version than the one that runs")
	ErrPending   = errors.New(
		"the other system is to be tried, or this one is; wait for the outcome")
	ErrNoOther = errors.New("there is no other system to go back to")
)

// State is what the box is at.
type State string

// States of the box, as the boot variables tell them.
const (
	InUse    State = "settled"   // the running slot is the active one
	Prepared State = "prepared"  // the other slot is tried at the next start
	Trying   State = "trying"    // the running slot is on trial
	FellBack State = "fell-back" // the other slot was tried, and this one runs again
)

// Status says which system runs, and what becomes of an update or a rollback.
type Status struct {
	Slot    box.Slot `json:"slot"`
	Target  string   `json:"target"`
	Version string   `json:"version"`
	State   State    `json:"state"`
}

// Status reads the box's state.
func (b *Box) Status() (Status, error) {
	slot, release, err := b.running()
	if err != nil {
		return Status{}, err
	}
	env, err := grubenv.Load(b.envFile())
	if err != nil {
		return Status{}, err
	}
	s := Status{Slot: slot, Target: release.Target, Version: release.Version, State: InUse}
	switch {
	case env[grubenv.Try] == "":
	case env[grubenv.Left] == "1":
		s.State = Prepared
	case env[grubenv.Try] == string(slot):
		s.State = Trying
	default:
		s.State = FellBack
	}
	return s, nil
}

func (b *Box) running() (box.Slot, box.Release, error) {
	slot, err := box.Running(b.RunDir)
	if errors.Is(err, os.ErrNotExist) {
		return "", box.Release{}, ErrNoAppliance
	}
	if err != nil {
		return "", box.Release{}, err
	}
	var release box.Release
	text, err := os.ReadFile(b.ReleaseFile)
	if err == nil {
		err = json.Unmarshal(text, &release)
	}
	if err != nil {
		return "", box.Release{}, fmt.Errorf("reading the image's description: %w", err)
	}
	return slot, release, nil
}

func (b *Box) envFile() string { return filepath.Join(b.ConfigDir, box.GrubEnv) }

// Apply verifies the bundle, writes it to the inactive slot and has it tried at the next start. It
// does not restart the box. A bundle that is refused changes nothing. An interruption leaves the
// running system as it is. An older version than the running one is refused unless allowDowngrade:
// who can serve an old bundle, which is signed as well, would bring its security holes back.
func (b *Box) Apply(ctx context.Context, file io.ReadSeeker, allowDowngrade bool) (Manifest,
	error) {
	status, err := b.Status()
	if err != nil {
		return Manifest{}, err
	}
	if status.State == Trying || status.State == Prepared {
		return Manifest{}, ErrPending
	}
	key, err := b.key()
	if err != nil {
		return Manifest{}, err
	}
	bundle, err := Open(file, key)
	if err != nil {
		return Manifest{}, err
	}
	if bundle.Manifest.Target != status.Target {
		return Manifest{}, fmt.Errorf("%w: it is for %s, this is %s", ErrTarget,
			bundle.Manifest.Target, status.Target)
	}
	if !allowDowngrade {
		if err := checkRises(bundle.Manifest.Version, status.Version); err != nil {
			return Manifest{}, err
		}
	}
	if err := b.rememberHealth(ctx, false); err != nil {
		return Manifest{}, err
	}
	other := status.Slot.Other()
	if err := bundle.install(ctx, filepath.Join(b.RunDir, other.Link())); err != nil {
		return Manifest{}, err
	}
	// What a person installs is restarted into when that person wants it.
	state := b.autoState()
	state.Staged, state.Offered, state.RestartAt, state.Complaint = "", "", time.Time{}, ""
	if err := b.saveAutoState(state); err != nil {
		return Manifest{}, err
	}
	return bundle.Manifest, b.tryOther(status.Slot)
}

// checkRises returns ErrDowngrade when the offered version is below the running one. The same
// version may be written again.
func checkRises(offered, running string) error {
	order, err := compareVersions(offered, running)
	if err != nil {
		return fmt.Errorf("%w: or so it may be: %w", ErrDowngrade, err)
	}
	if order < 0 {
		return fmt.Errorf("%w: %s is older than %s", ErrDowngrade, offered, running)
	}
	return nil
}

// compareVersions orders two versions as Debian does: 1.3.0~rc1 is older than 1.3.0.
func compareVersions(a, b string) (int, error) {
	parsed := [2]version.Version{}
	for i, text := range []string{a, b} {
		var err error
		if parsed[i], err = version.Parse(text); err != nil {
			return 0, fmt.Errorf("comparing version %q: %w", text, err)
		}
	}
	return version.Compare(parsed[0], parsed[1]), nil
}

// tryOther has the other slot tried at the next start. The way back is to the system that runs,
// which need not be the active one: the boot loader starts the other slot, too, when the active one
// does not load.
func (b *Box) tryOther(running box.Slot) error {
	return b.setEnv(func(env grubenv.Block) {
		env[grubenv.Active], env[grubenv.Try], env[grubenv.Left] = string(running),
			string(running.Other()), "1"
	})
}

// setEnv changes the boot variables. They are read when the partition is writable already: GRUB is
// the only other writer. What changes by it is told.
func (b *Box) setEnv(change func(grubenv.Block)) error {
	return errors.Join(b.changeEnv(change), b.Tell())
}

func (b *Box) changeEnv(change func(grubenv.Block)) (err error) {
	unlock, err := box.LockConfig(b.RunDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := b.Writable(true); err != nil {
		return fmt.Errorf("making the configuration partition writable: %w", err)
	}
	defer func() { err = errors.Join(err, b.Writable(false)) }()
	env, err := grubenv.Load(b.envFile())
	if err != nil {
		return err
	}
	change(env)
	return env.Save(b.envFile())
}

// Rollback leaves the running system, or takes back the wish to. It returns the state it found, on
// which that depends:
//
//	settled    the other slot is tried at the next start and judged like an update: it may hold
//	           one that was cancelled, or that the power went from before it could be tried, and
//	           have never run
//	fell-back  the same once more if it was a rollback that failed; an update that failed is
//	           undone already
//	prepared   the trial is cancelled, and the running system stays
//	trying     the trial is over, and the other slot, the active one all the time, runs from the
//	           next start on
//
// But for a cancelled trial, that start is to be caused.
func (b *Box) Rollback(ctx context.Context) (found State, err error) {
	status, err := b.Status()
	if err != nil {
		return "", err
	}
	other := status.Slot.Other()
	switch status.State {
	case Prepared:
		return Prepared, b.setEnv(func(env grubenv.Block) {
			env[grubenv.Try], env[grubenv.Left] = "", "0"
		})
	case FellBack:
		if !b.noted().Rollback {
			return FellBack, ErrNoOther
		}
	}
	if err := b.holdsSystem(other); err != nil {
		return status.State, err
	}
	if status.State == Trying {
		return Trying, b.setEnv(func(env grubenv.Block) {
			env[grubenv.Active], env[grubenv.Try], env[grubenv.Left] = string(other), "", "0"
		})
	}
	if err := b.rememberHealth(ctx, true); err != nil {
		return status.State, err
	}
	return status.State, b.tryOther(status.Slot)
}

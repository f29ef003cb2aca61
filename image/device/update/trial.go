package update

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ztbridge/image/device/box"
	"ztbridge/image/device/grubenv"
)

func (b *Box) healthFile() string { return filepath.Join(b.DataDir, "update", "before.json") }

// note is what the system before leaves to the judge of the next one, who may be of another
// version.
type note struct {
	Health
	// Rollback reports whether it is a rollback that is tried, not an update.
	Rollback bool `json:"rollback,omitempty"`
	// Config identifies the daemon's configuration. Versions that left it out judged any as if it
	// were the same.
	Config string `json:"config,omitempty"`
}

// unconfigured means no configuration at all.
const unconfigured = "none"

// config identifies the daemon's present configuration. It is empty when that cannot be told.
func (b *Box) config() string {
	text, err := os.ReadFile(b.Config)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return unconfigured
	case err != nil:
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// complaints lists what was better before. A person may have changed the configuration between the
// note and the restart: what it no longer names is not missing, and what it names again has nothing
// to be compared with.
func (n note) complaints(now Health, config string) []string {
	switch {
	case slices.Contains(n.Errors, noDaemon):
		return nil
	case n.Config != "" && config != "" && n.Config != config:
		return now.sharedWith(n.Health).worseThan(n.Health.sharedWith(now))
	}
	return now.worseThan(n.Health)
}

// excuses reports whether a silent daemon is not the fault of the system on trial. Either there was
// no configuration and there is none, or the daemon was silent before a rollback.
func (n note) excuses(config string) bool {
	return slices.Contains(n.Errors, noDaemon) &&
		(n.Rollback || n.Config == unconfigured && config == unconfigured)
}

// rememberHealth notes how the running system fares. A daemon that does not run is noted too: then
// any that answers is better.
func (b *Box) rememberHealth(ctx context.Context, rollback bool) error {
	before, err := b.Health(ctx)
	if err != nil {
		before = Health{Errors: []string{noDaemon}}
	}
	err = writeJSON(b.healthFile(), note{Health: before, Rollback: rollback, Config: b.config()},
		0o600)
	if err != nil {
		return fmt.Errorf("noting the present state: %w", err)
	}
	return nil
}

// noted is what rememberHealth noted last. When it cannot be read, a system on trial has to be
// without any error.
func (b *Box) noted() note {
	var n note
	text, err := os.ReadFile(b.healthFile())
	if err != nil || json.Unmarshal(text, &n) != nil {
		return note{}
	}
	return n
}

const noDaemon = "no-daemon"

// ErrUnhealthy reports a system that failed its trial.
var ErrUnhealthy = errors.New("the system on trial is not as good as the one before it")

// Trial says how a system is tried: a new one, or one that a rollback goes to.
type Trial struct {
	// Timeout is how long it may take to become as good as the one before, and to stay so.
	Timeout time.Duration
	// Every is the pause between two looks.
	Every time.Duration
	// Steady is how long every look has to be good before the system is kept. Looks is how many it
	// takes at least, because a slow machine makes few in a given time. A daemon that crashes and
	// starts again begins again.
	Steady time.Duration
	Looks  int
}

// EndTrial ends the trial of the running slot. It returns at once when there is none. Otherwise it
// looks at the daemon until that has been as healthy as the one before the restart for long enough,
// and then makes the slot the active one; or until the time is up, and then returns ErrUnhealthy,
// after which the machine must be restarted: the boot loader starts the active slot. What was bad
// before is not held against the running system, so that a rollback from a bad system stays, too.
//
// What it decides on is told, as is what came of a trial before this start.
func (b *Box) EndTrial(ctx context.Context, trial Trial) error {
	status, err := b.Status()
	if err != nil {
		return err
	}
	if status.State != Trying {
		return b.Tell()
	}
	err = b.judge(ctx, status.Slot, trial)
	if errors.Is(err, ErrUnhealthy) {
		state := b.autoState()
		state.Complaint = err.Error()
		err = errors.Join(err, b.saveAutoState(state))
	}
	return err
}

// judge looks at the daemon, and keeps the slot or returns ErrUnhealthy.
func (b *Box) judge(ctx context.Context, slot box.Slot, trial Trial) error {
	ctx, cancel := context.WithTimeout(ctx, trial.Timeout)
	defer cancel()
	ticker := time.NewTicker(trial.Every)
	defer ticker.Stop()
	streak := streak{before: b.noted()}
	for {
		streak.config = b.config()
		now, err := b.look(ctx, streak.before, streak.config)
		outcome := streak.look(now, err)
		if outcome == nil && streak.good >= trial.Looks &&
			time.Since(streak.since) >= trial.Steady {
			return b.setEnv(func(env grubenv.Block) {
				// or else a person has ended the trial in the meantime
				if env[grubenv.Try] == string(slot) {
					env[grubenv.Active], env[grubenv.Try], env[grubenv.Left] = string(slot), "", "0"
				}
			})
		}
		select {
		case <-ctx.Done():
			if outcome == nil {
				outcome = errTooShort
			}
			return fmt.Errorf("%w: %w", ErrUnhealthy, outcome)
		case <-ticker.C:
		}
	}
}

// look asks the daemon. Where none is to be expected, the box's set-up having worked is as good as
// an answer.
func (b *Box) look(ctx context.Context, before note, config string) (Health, error) {
	now, err := b.Health(ctx)
	if err == nil || !before.excuses(config) {
		return now, err
	}
	if err := b.Setup(ctx); err != nil {
		return Health{}, fmt.Errorf("asking for the set-up: %w", err)
	}
	return Health{at: time.Now()}, nil
}

// Verdicts on a daemon that answers without any complaint.
var (
	errTooShort  = errors.New("it was good only at the end, and not for long enough")
	errRestarted = errors.New("the daemon has started again")
	errStalled   = errors.New("the daemon answers, but does not work on")
)

// streak counts the good looks in a row at one and the same daemon.
type streak struct {
	before note
	config string // the present one
	last   Health
	good   int
	since  time.Time // of the first of them
}

// look takes in one more look. It returns what is wrong, or nil.
func (s *streak) look(now Health, err error) error {
	if err == nil {
		err = s.complaint(now)
	}
	switch {
	case errors.Is(err, errStalled):
		return err // a slow machine may not have got round to it; only a new answer counts
	case err == nil && s.good > 0 && !now.instance.Equal(s.last.instance):
		err = errRestarted
	}
	if err != nil {
		s.good, s.last = 0, now
		return err
	}
	if s.good == 0 {
		s.since = time.Now()
	}
	s.good, s.last = s.good+1, now
	return nil
}

func (s *streak) complaint(now Health) error {
	if worse := s.before.complaints(now, s.config); len(worse) > 0 {
		return errors.New(strings.Join(worse, "; "))
	}
	if s.good > 0 && now.at.Equal(s.last.at) {
		return errStalled
	}
	return nil
}

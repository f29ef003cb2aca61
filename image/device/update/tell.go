package update

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"ztbridge/bridge/health"
)

// failure is why the box could not keep itself current.
type failure struct {
	Since   time.Time `json:"since"`
	Reason  string    `json:"reason"`
	Remedy  string    `json:"remedy,omitempty"`
	Refused bool      `json:"refused,omitempty"` // an answer was; else there was none
}

// unreachedFor is how long no server answers until people are told: connections come and go.
const unreachedFor = 24 * time.Hour

// remedies are for failures that do not pass by themselves. All others are of the connection.
var remedies = map[error]string{
	ErrUnsigned: "nothing is installed; if it lasts, tell who runs the server of the updates",
	ErrChannel:  "nothing is installed; if it lasts, tell who runs the server of the updates",
	ErrReplayed: "nothing is installed; if it lasts, tell who runs the server of the updates",
	ErrExpired: "compare this box's clock with the time; if it is right, tell who runs the " +
		"server of the updates",
	ErrSignature: "nothing is installed; tell who runs the server of the updates",
	ErrDamaged:   "nothing is installed; it is tried again within hours",
	ErrTarget:    "nothing is installed; tell who runs the server of the updates",
	ErrTooLarge:  "nothing is installed; tell who runs the server of the updates",
	ErrNoSpace:   "look for large files: du -x /data",
	ErrNoServer:  "write updates: {channel: off}, or use an image of a release",
	ErrNoKey:     "write updates: {channel: off}, or use an image of a release",
}

// failed notes a failure, and keeps since when there has been one.
func (s *autoState) failed(err error, now time.Time) {
	f := failure{Since: now, Reason: err.Error()}
	for cause, remedy := range remedies {
		if errors.Is(err, cause) {
			f.Remedy, f.Refused = remedy, true
		}
	}
	if s.Failure != nil {
		f.Since = s.Failure.Since
	}
	s.Failure = &f
}

// Tell leaves for the daemon's status what a person should know of updates, and takes back what
// holds no longer. It is idempotent.
func (b *Box) Tell() error {
	status, err := b.Status()
	if err != nil {
		return err
	}
	all := problems(status, b.autoState(), b.noted().Rollback)
	if len(all) == 0 {
		err = os.Remove(b.Told)
	} else {
		err = writeJSON(b.Told, all, 0o644)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("telling of updates: %w", err)
	}
	return nil
}

// problems says what there is to know. It is pure.
func problems(status Status, state autoState, rollback bool) []health.Problem {
	var all []health.Problem
	add := func(code health.Code, remedy, format string, args ...any) {
		all = append(all, health.Problem{Code: code, Message: fmt.Sprintf(format, args...),
			Remedy: remedy})
	}
	what := "an update"
	if state.Staged != "" {
		what = "version " + state.Staged
	}
	if rollback && state.Staged == "" {
		what = "the other system"
	}
	switch status.State {
	case Prepared:
		when := "whenever that is"
		if !state.RestartAt.IsZero() {
			when = "at " + minute(state.RestartAt)
		}
		add(health.UpdateStaged, "to try it now: systemctl reboot; not to try it: ztbridge update "+
			"rollback", "%s is installed, and tried at the next restart, %s", what, when)
	case FellBack:
		why := "it did not get as far as to say why"
		if state.Complaint != "" {
			why = state.Complaint
		}
		add(health.UpdateFellBack, "see the newest file in /data/log; a newer version is tried "+
			"when there is one", "%s failed its trial on this box, and version %s runs again: %s",
			what, status.Version, why)
	}
	if state.Offered != "" && !slices.Contains([]State{Prepared, Trying}, status.State) {
		add(health.UpdateAvailable, "nothing: this box installs it then by itself",
			"version %s is there; this box's turn is at %s", state.Offered, minute(state.Turn))
	}
	if f := state.Failure; f != nil && (f.Refused || state.Asked.Sub(f.Since) >= unreachedFor) {
		add(health.UpdateFailed, f.Remedy, "updates fail since %s: %s", minute(f.Since), f.Reason)
	}
	return all
}

// minute is a time as people are told it.
func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") + " UTC" }

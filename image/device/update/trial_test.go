package update

import (
	"context"
	"errors"
	"os"
	"testing"

	"ztbridge/image/device/box"
)

// Between the update and its trial a person may change what the box has to do, and the new system
// is not to blame.
func TestChangedConfiguration(t *testing.T) {
	const renamed = `"name":"other","state":"up","usable":true`
	tests := []struct {
		name     string
		now      []string
		same     bool
		wantStay bool
	}{
		{name: "an egress has another name", now: []string{spareUp, renamed}, wantStay: true},
		{name: "so it has in an unchanged configuration", now: []string{spareUp, renamed},
			same: true},
		{name: "there is no network", now: []string{`{"name":"home","status":"ok"}`, "",
			noConditions, condition("zerotier-not-running", "", "error")}, wantStay: true},
		{name: "there is no ingress", now: []string{`{"name":"lan","state":"up"}`, ""},
			wantStay: true},
		{name: "a new egress is down",
			now: []string{spareUp, `"name":"other","state":"backoff","usable":false`,
				noConditions, condition("tunnel-backoff", "other", "error")}, wantStay: true},
		{name: "an egress of both is down", now: []string{spareUp, renamed,
			`"provider","state":"up","usable":true`,
			`"provider","state":"backoff","usable":false`}},
		{name: "nothing reaches the kernel",
			now: []string{noConditions, condition("reconcile-failed", "", "error")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			f.write(t, "ztbridge.yaml", []byte("old"))
			f.health = parsed(t, answer())
			f.update(t)
			f.boots(t)
			f.health = parsed(t, answer(tt.now...))
			if !tt.same {
				f.write(t, "ztbridge.yaml", []byte("new"))
			}
			f.judge(t, tt.wantStay)
		})
	}
}

// judge ends the trial of slot B, which is to stay or to be left.
func (f *fixture) judge(t *testing.T, wantStay bool) {
	t.Helper()
	trial, want := shortTrial, error(nil)
	if !wantStay {
		trial, want = shortTimeout, ErrUnhealthy
	}
	if err := f.EndTrial(context.Background(), trial); !errors.Is(err, want) {
		t.Errorf("outcome: %v, want %v", err, want)
	}
	if got := f.boots(t); (got == box.B) != wantStay {
		t.Errorf("booted %s", got)
	}
}

// Notes of versions that did not say which configuration they were of are taken for those of the
// present one.
func TestNotesWithoutConfiguration(t *testing.T) {
	f := newFixture(t)
	f.write(t, "ztbridge.yaml", []byte("new"))
	f.update(t)
	f.boots(t)
	f.write(t, "data/update/before.json", []byte(`{"errors":[],"links":{"egress gone":2}}`))
	f.health = parsed(t, answer())
	if err := f.EndTrial(context.Background(), shortTimeout); !errors.Is(err, ErrUnhealthy) {
		t.Errorf("outcome: %v", err)
	}
}

// No daemon runs without a configuration; and one that is silent may be so in both systems when a
// person goes back.
func TestSilentDaemon(t *testing.T) {
	silent, failed := errors.New("connection refused"), errors.New("exit status 3")
	tests := []struct {
		name       string
		configured bool
		rollback   bool
		setup      error
		wantStay   bool
	}{
		{name: "a fresh box", wantStay: true},
		{name: "a fresh box whose set-up fails", setup: failed},
		{name: "an update of a daemon that is silent already", configured: true},
		{name: "a rollback from one", configured: true, rollback: true, wantStay: true},
		{name: "a rollback to a system whose set-up fails", configured: true, rollback: true,
			setup: failed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			if !tt.configured {
				if err := os.Remove(f.Config); err != nil {
					t.Fatal(err)
				}
			}
			f.healthy = silent
			if tt.rollback {
				f.write(t, "run/slot-b", slotContent('o'))
				f.rollback(t, InUse)
			} else {
				f.update(t)
			}
			f.boots(t)
			f.setup = tt.setup
			f.judge(t, tt.wantStay)
		})
	}
}

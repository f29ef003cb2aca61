package update

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/health"
)

// told are the problems that the daemon would show.
func (s *server) told() []health.Problem {
	s.t.Helper()
	text, err := os.ReadFile(s.Box.Told)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var all []health.Problem
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}

// expect wants one problem with the code, whose message has all the words; no code: none at all.
func (s *server) expect(code health.Code, words ...string) {
	s.t.Helper()
	all := s.told()
	if code == "" {
		if len(all) > 0 {
			s.t.Errorf("told %+v, want nothing", all)
		}
		return
	}
	if len(all) != 1 || all[0].Code != code {
		s.t.Errorf("told %+v, want %s", all, code)
		return
	}
	for _, w := range words {
		if !strings.Contains(all[0].Message, w) {
			s.t.Errorf("%s says %q, which lacks %q", code, all[0].Message, w)
		}
	}
}

// What the box does by itself is told all the way: a version that waits for this box's turn, one
// that waits for the window, and one that failed, with the reason.
func TestUpdatesAreTold(t *testing.T) {
	s := newServer(t)
	s.offer("1.0.0", 0, nil)
	s.mustStep()
	s.expect("")

	s.later()
	s.offer("1.1.0", 0, nil)
	s.mustStep()
	s.expect(health.UpdateAvailable, "1.1.0", "this box's turn is at 2026-05-0")

	s.now = s.now.Add(spreadOver)
	s.mustStep()
	s.expect(health.UpdateStaged, "1.1.0", s.restartAt(s.now).Format("2006-01-02 15:04"))

	s.boots(t) // slot B
	s.health = Health{Errors: []string{"tunnel-auth-failed provider"}}
	trial := Trial{Timeout: time.Millisecond, Every: time.Millisecond, Looks: 1}
	if err := s.EndTrial(t.Context(), trial); !errors.Is(err, ErrUnhealthy) {
		t.Fatalf("the trial ended with %v", err)
	}
	s.boots(t) // slot A again; /run was in memory
	_ = os.Remove(s.Box.Told)
	if err := s.EndTrial(t.Context(), trial); err != nil {
		t.Fatal(err)
	}
	s.expect(health.UpdateFellBack, "1.1.0", "1.0.0 runs again",
		"new error tunnel-auth-failed provider")
}

// A refusal is told at once, and taken back when the server is in order again.
func TestRefusedUpdateIsTold(t *testing.T) {
	s := newServer(t)
	s.offer("1.1.0", 100, nil)
	if _, err := s.step(); !errors.Is(err, ErrExpired) {
		t.Fatalf("error = %v", err)
	}
	s.expect(health.UpdateFailed, "expired", "2026-05-01 12:00 UTC")
	if r := s.told()[0].Remedy; !strings.Contains(r, "clock") {
		t.Errorf("remedy %q", r)
	}
	s.offer("1.0.0", 1, nil)
	s.mustStep()
	s.expect("")
}

// A server that does not answer for an hour is not worth a person's time; one that is gone is.
func TestUnreachedServerIsToldAfterADay(t *testing.T) {
	s := newServer(t)
	for _, hours := range []int{0, 1, 22} {
		s.now = s.now.Add(time.Duration(hours) * time.Hour)
		if _, err := s.step(); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("error = %v", err)
		}
		s.expect("")
	}
	s.now = s.now.Add(2 * time.Hour)
	_, _ = s.step()
	s.expect(health.UpdateFailed, "2026-05-01 12:00 UTC", "looking for updates")
}

package appliance

import (
	"errors"
	"testing"
	"time"
)

func TestProblems(t *testing.T) {
	const status = `{"time": "2026-01-01T12:00:00Z", "conditions": [
		{"code": "tunnel-auth-failed", "subject": "provider", "severity": "error", "since": "2026-01-01T11:58:00Z",
		 "message": "tunnel provider is auth-failed: the server rejected the user name or password", "remedy": "correct provider.auth", "depends_on": ["wan-down"]},
		{"code": "tunnel-connecting", "subject": "backup", "severity": "error", "since": "2026-01-01T11:59:55Z", "message": "tunnel backup is connecting"},
		{"code": "zerotier-down", "severity": "error", "since": "2026-01-01T11:00:00Z", "message": "zerotier-one does not run", "remedy": "start it"},
		{"code": "network-service-down", "severity": "error", "since": "2026-01-01T11:00:00Z", "message": "no network", "depends_on": ["zerotier-down"]},
		{"code": "tunnel-warning", "severity": "info", "since": "2026-01-01T11:00:00Z", "message": "certificate"}]}`
	got, err := problems([]byte(status))
	if err != nil {
		t.Fatal(err)
	}
	want := "error: tunnel provider is auth-failed: the server rejected the user name or password\nhint: correct provider.auth\n" +
		"error: zerotier-one does not run\nhint: start it\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if _, err := problems([]byte("error: no daemon")); err == nil {
		t.Error("what is no JSON was read")
	}
}

// The card is written to for news only, and not often, whatever the tunnel does.
func TestProblemFileSparesTheCard(t *testing.T) {
	var written []string
	fail := errors.New("no card")
	f := newProblemFile("", func(text string) error {
		if fail != nil {
			return fail
		}
		written = append(written, text)
		return nil
	})
	start := time.Now()
	if err := f.update("error: a", start); err == nil {
		t.Error("a failed write was no error")
	}
	fail = nil
	for _, step := range []struct {
		after time.Duration
		text  string
		want  int // writes so far
	}{
		{0, "error: no default route", 1},
		// the cause of a start's trouble is not hidden by what came before
		{time.Minute, "error: refused 3 times", 2},
		{time.Hour, "error: refused 4 times", 2},
		{time.Hour, "", 3},
		{time.Hour, "error: refused", 4},
		{time.Hour, "", 5},
		{time.Hour, "error: refused", 6},
		{time.Hour, "", 7},
		{time.Hour + time.Minute, "error: refused", 7},
		{time.Hour + 11*time.Minute, "error: refused", 8},
		{time.Hour + 12*time.Minute, "", 8},
	} {
		if err := f.update(step.text, start.Add(step.after)); err != nil {
			t.Fatal(err)
		}
		if len(written) != step.want {
			t.Errorf("after %s with %q: %d writes, want %d: %q", step.after, step.text,
				len(written), step.want, written)
		}
	}
}

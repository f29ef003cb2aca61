package services

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestClockProblems(t *testing.T) {
	now := time.Now()
	path := filepath.Join(t.TempDir(), "ztbridge.yaml")
	if got := clockProblems(now, path); len(got) > 0 {
		t.Errorf("a file that is not there: %v", got)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := clockProblems(time.Now(), path); len(got) > 0 {
		t.Errorf("a file that was just written: %v", got)
	}
	if got := clockProblems(now.AddDate(-6, 0, 0)); len(got) != 1 {
		t.Errorf("years before this program was built: %v", got)
	}
	for _, ahead := range []time.Duration{time.Minute, 14 * time.Hour} {
		if got := clockProblems(now.Add(-ahead), path); len(got) > 0 {
			t.Errorf("a clock that was set back by %v: %v", ahead, got)
		}
	}
	ahead := now.AddDate(3, 0, 0)
	if err := os.Chtimes(path, ahead, ahead); err != nil {
		t.Fatal(err)
	}
	got := clockProblems(now, path)
	if len(got) != 1 || !strings.Contains(got[0].Message, path+" was written on "+ahead.UTC().Format(time.DateOnly)) {
		t.Errorf("a file of the future: %v", got)
	}
}

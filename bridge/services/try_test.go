package services

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// TestInThread: the main thread is never taken, which would keep a namespace until the program
// ends.
func TestInThread(t *testing.T) {
	main := errors.New("in the main thread")
	for range 50 {
		err := inThread(func() error {
			if unix.Gettid() == unix.Getpid() {
				return main
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestTrialRuns: the daemon takes no device away from a trial that is under way.
func TestTrialRuns(t *testing.T) {
	ended := exec.CommandContext(t.Context(), "true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	for device, want := range map[string]bool{
		fmt.Sprintf("tunztbt%d", os.Getpid()):       true,
		"tunztbt1":                                  true, // may be another user's
		fmt.Sprintf("tunztbt%d", ended.Process.Pid): false,
		"tunztbt": false, "tunztbt-1": false, "tunztb1": false, "tunztb-t1": false,
	} {
		if got := trialRuns(device); got != want {
			t.Errorf("%s: %v", device, got)
		}
	}
}

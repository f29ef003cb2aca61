package command

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/api"
)

// shell runs a script with what follows as its arguments.
func shell(script string) Runner {
	return Runner{Program: "/bin/sh", Flags: []string{"-c", script, "sh"}}
}

func TestRun(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	err := shell(`read word; echo "$word $1 $(cat /proc/$$/oom_score_adj)"`).Run(t.Context(),
		strings.NewReader("secret\n"), &out, "backup")
	if got := strings.Fields(out.String()); err != nil || len(got) != 3 || got[0] != "secret" ||
		got[1] != "backup" {
		t.Errorf("the command wrote %q, %v", out.String(), err)
	}
	err = shell(`echo "ztbridge: error: no room" >&2; echo "ztbridge: hint: make some" >&2; exit 1`).
		Run(t.Context(), nil, nil)
	if err == nil || err.Error() != "no room" || api.Hint(err) != "make some" {
		t.Errorf("a refusal is %v, with the hint %q", err, api.Hint(err))
	}
	err = shell(`i=0; while [ $i -lt 9999 ]; do echo "line $i" >&2; i=$((i+1)); done; exit 3`).
		Run(t.Context(), nil, nil)
	if err == nil || !strings.Contains(err.Error(), "line 9998") || len(err.Error()) > 2*maxComplaint {
		t.Errorf("a failure is %.200q", err)
	}
	err = Runner{Program: "/nonexistent"}.Run(t.Context(), nil, nil)
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no program: %v", err)
	}
}

// A command ends with whoever waits for it.
func TestRunEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	began, out := time.Now(), &ended{cancel: cancel}
	if err := shell(`echo begun; exec sleep 100`).Run(ctx, nil, out); err == nil {
		t.Error("no error")
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
}

// ended cancels when something is written.
type ended struct{ cancel func() }

func (e *ended) Write(b []byte) (int, error) {
	e.cancel()
	return len(b), nil
}

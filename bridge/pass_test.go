package bridge

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/status"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// What lasts is said once, and does not hide the last change.
func TestLastingFaultIsNoChange(t *testing.T) {
	var log strings.Builder
	d := &daemon{opts: Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}}
	began := time.Now()
	fault := errors.New("ip route replace default: invalid argument")
	change := policyroute.Plan{Ops: []policyroute.Op{
		policyroute.SetLink{Name: "tunztb0", Up: true}}}
	pass := func(n uint64, cause string, plan policyroute.Plan, failed ...error) (string,
		time.Time) {
		var partial *kernel.PartialError
		if failed != nil {
			partial = &kernel.PartialError{Failed: failed, Done: plan.Ops}
		}
		d.warnOf(partial)
		r := d.withLastChange(status.Pass{
			At: began.Add(time.Duration(
				n) * time.Second), Cause: cause, Plan: plan, Err: errors.Join(failed...),
			Applied: true, Passes: n,
		})
		st := status.ReconcileStatus(r)
		if (st.Error != "") != (failed != nil) || len(st.Ops) != 1 || st.Passes != n {
			t.Errorf("pass %d: %+v", n, st)
		}
		return st.Cause, st.At
	}
	for n, tt := range []struct {
		cause string
		plan  policyroute.Plan
		fault []error
		want  string
		warns int
	}{
		{"link", change, []error{fault}, "link", 1},
		{"timer", policyroute.Plan{}, []error{fault}, "link", 1},
		{"route", change, []error{fault}, "route", 1},
		{"timer", policyroute.Plan{}, []error{errors.New("another")}, "route", 2},
		{"timer", policyroute.Plan{}, nil, "route", 2},
		{"timer", policyroute.Plan{}, []error{fault}, "route", 3},
	} {
		cause, at := pass(uint64(n+1), tt.cause, tt.plan, tt.fault...)
		if cause != tt.want || at.After(began.Add(3*time.Second)) {
			t.Errorf("pass %d: the last change is %q of %v", n+1, cause, at.Sub(began))
		}
		if got := strings.Count(log.String(), "level=WARN"); got != tt.warns {
			t.Errorf("pass %d: %d warnings, want %d\n%s", n+1, got, tt.warns, log.String())
		}
	}
}

// What iptables does not open stops nothing; what it does not close is an error.
func TestAcceptsLeftAreAnError(t *testing.T) {
	opens := fmt.Errorf("iptables -I: %w", kernel.ErrNoIPTables)
	closes := fmt.Errorf("%w: iptables -D: %w", kernel.ErrAcceptsLeft, kernel.ErrNoIPTables)
	chains, rest := withoutIPTables(&kernel.PartialError{Failed: []error{opens, closes}})
	if len(chains) != 1 || chains[0] != opens.Error() || rest == nil ||
		rest.Error() != closes.Error() {
		t.Errorf("iptables does not do %q, the error is %v", chains, rest)
	}
}

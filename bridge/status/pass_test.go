package status

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"ztbridge/bridge/decide"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// A fault that lasts is told with each pass, and does not hide the last change.
func TestLastingFaultIsNoChange(t *testing.T) {
	r := NewReporter()
	began := time.Now()
	fault := errors.New("ip route replace default: invalid argument")
	change := policyroute.Plan{Ops: []policyroute.Op{
		policyroute.SetLink{Name: "tunztb0", Up: true}}}
	for n, tt := range []struct {
		cause string
		plan  policyroute.Plan
		fault error
		want  string
	}{
		{"link", change, fault, "link"},
		{"timer", policyroute.Plan{}, fault, "link"},
		{"route", change, fault, "route"},
		{"timer", policyroute.Plan{}, errors.New("another"), "route"},
		{"timer", policyroute.Plan{}, nil, "route"},
		{"timer", policyroute.Plan{}, fault, "route"},
	} {
		p := Pass{At: began.Add(time.Duration(n+1) * time.Second), Cause: tt.cause,
			Passes: uint64(n + 1)}
		var err error
		if tt.fault != nil {
			err = &kernel.PartialError{Failed: []error{tt.fault}, Done: tt.plan.Ops}
		}
		p.SetResult(tt.plan, nil, err, decide.HostState{})
		st := reconcileStatus(r.withLastChange(p))
		if st.Cause != tt.want || st.At.After(began.Add(3*time.Second)) ||
			(st.Error != "") != (tt.fault != nil) || len(st.Ops) != 1 || st.Passes != p.Passes {
			t.Errorf("pass %d: %+v", n+1, st)
		}
	}
}

// A rule of iptables that was not added opens nothing, and is no error. One that was not removed
// is.
func TestAcceptsLeftAreAnError(t *testing.T) {
	opens := fmt.Errorf("iptables -I: %w", kernel.ErrNoIPTables)
	closes := fmt.Errorf("%w: iptables -D: %w", kernel.ErrAcceptsLeft, kernel.ErrNoIPTables)
	unseen := []policyroute.Unseen{{Family: policyroute.V6, Why: "no ip6tables"}}
	var p Pass
	p.SetResult(policyroute.Plan{}, unseen, &kernel.PartialError{Failed: []error{opens, closes}},
		decide.HostState{})
	if len(p.Broken) != 1 || p.Broken[0] != opens.Error() || p.Err == nil ||
		p.Err.Error() != closes.Error() || !p.Applied {
		t.Errorf("%+v", p)
	}
	p = Pass{}
	p.SetResult(policyroute.Plan{}, unseen, errors.New("no netlink"), decide.HostState{IPv6: true})
	if len(p.Broken) != 1 || p.Err == nil || p.Applied {
		t.Errorf("with IPv6: %+v", p)
	}
}

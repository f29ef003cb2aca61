package policytest_test

import (
	"context"
	"errors"
	"testing"

	"ztbridge/policyroute"
	"ztbridge/policyroute/policytest"
)

func TestFakeConforms(t *testing.T) {
	policytest.Conformance(t, func(testing.TB) policytest.Target {
		return policytest.NewFake(policytest.Devices...)
	})
}

// A daemon that dies at any step leaves a state from which the next one finishes, and nothing leaks
// meanwhile.
func TestCrashAtEveryStep(t *testing.T) {
	before, after := policytest.Uno(), policytest.Dinosaur()
	from, err := policyroute.Compile(before)
	if err != nil {
		t.Fatal(err)
	}
	to, err := policyroute.Compile(after)
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		f := policytest.NewFake(policytest.Devices...)
		advance(t, f, from)
		f.FailAfter(n)
		have, _ := f.Observe()
		err := f.Apply(context.Background(), policyroute.Diff(have, to))
		if err == nil {
			t.Logf("%d steps", n)
			return
		}
		if !errors.Is(err, policytest.ErrFault) {
			t.Fatal(err)
		}
		f.FailAfter(-1)
		if n%4 == 0 { // each is a full simulation
			have, _ = f.Observe()
			if err := policyroute.LeakFree(have, before, after); err != nil {
				t.Fatalf("after %d steps: %v", n, err)
			}
		}
		advance(t, f, to)
		if have, _ = f.Observe(); !policyroute.Diff(have, to).Empty() {
			t.Fatalf("after a crash at step %d: %s", n, policyroute.Diff(have, to))
		}
	}
}

// An applier passes over what can only open and fails, after removing what a route would have
// replaced; a route by a device without its address counts as failed. Whether one such operation
// fails or all do, nothing leaks, and the next plan finishes the work.
func TestNothingLeaksWhenOpeningFails(t *testing.T) {
	moved := policytest.Uno()
	moved.Policies[0].Use = "backup"
	scenes := []policyroute.Intent{policytest.Uno(), policytest.Dinosaur(), policytest.Exit(),
		policytest.Duo(), moved, policytest.Uno()}
	for n := range len(scenes) - 1 {
		before, after := scenes[n], scenes[n+1]
		from, err := policyroute.Compile(before)
		if err != nil {
			t.Fatal(err)
		}
		to, err := policyroute.Compile(after)
		if err != nil {
			t.Fatal(err)
		}
		for only, ops := -1, 0; only < ops; only++ { // -1: all that can
			f := policytest.NewFake(policytest.Devices...)
			advance(t, f, from)
			have, _ := f.Observe()
			plan := policyroute.Diff(have, to)
			if ops = len(plan.Ops); !advanceWithout(t, f, plan, only) {
				continue
			}
			have, _ = f.Observe()
			if err := policyroute.LeakFree(have, before, after); err != nil {
				t.Fatalf("scene %d, operation %d failed: %v\n%s", n, only, err, plan)
			}
			advance(t, f, to)
			if have, _ = f.Observe(); !policyroute.Diff(have, to).Empty() {
				t.Fatalf("scene %d, after operation %d failed: %s", n, only,
					policyroute.Diff(have, to))
			}
		}
	}
}

// advanceWithout applies a plan as if its operation of that number had failed, or for -1 all that
// can only open; it says whether there was one.
func advanceWithout(t *testing.T, f *policytest.Fake, p policyroute.Plan, only int) (failed bool) {
	t.Helper()
	bare := map[string]bool{}
	for i, op := range p.Ops {
		r, _ := op.(policyroute.ReplaceRoute)
		if instead, opens := opening(op); opens &&
			(only < 0 || only == i || bare[r.Route.Dev+r.Route.Family.String()]) {
			if a, ok := op.(policyroute.AddAddr); ok {
				bare[a.Dev+policyroute.FamilyOf(a.Addr.Addr()).String()] = true
			}
			op, failed = instead, true
		}
		if op == nil {
			continue
		}
		if err := f.Apply(context.Background(),
			policyroute.Plan{Ops: []policyroute.Op{op}}); err != nil {
			t.Fatal(err)
		}
	}
	return failed
}

// opening says whether an operation only opens, and returns what is done when it fails.
func opening(op policyroute.Op) (instead policyroute.Op, opens bool) {
	switch o := op.(type) {
	case policyroute.ReplaceRoute:
		return policyroute.DelRoute(o), o.Route.Type == policyroute.Unicast
	case policyroute.AddAddr:
		return nil, true
	}
	return op, false
}

func advance(t *testing.T, f *policytest.Fake, want policyroute.State) {
	t.Helper()
	have, _ := f.Observe()
	if err := f.Apply(context.Background(), policyroute.Diff(have, want)); err != nil {
		t.Fatal(err)
	}
}

func TestFakeRefusesRoutesWithoutDevice(t *testing.T) {
	f := policytest.NewFake()
	route := policyroute.Route{Family: policyroute.V4, Table: policyroute.TablePolicyFirst,
		Dst: policyroute.V4.Default(), Metric: 100, Dev: "gone0"}
	err := f.Apply(context.Background(),
		policyroute.Plan{Ops: []policyroute.Op{policyroute.ReplaceRoute{Route: route}}})
	if !errors.Is(err, policytest.ErrNoDevice) {
		t.Errorf("got %v", err)
	}
}

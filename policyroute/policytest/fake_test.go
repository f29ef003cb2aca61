package policytest_test

import (
	"context"
	"errors"
	"testing"

	"ztbridge/policyroute"
	"ztbridge/policyroute/policytest"
)

func TestFakeConforms(t *testing.T) {
	policytest.Conformance(t, func(testing.TB) policytest.Target { return policytest.NewFake(policytest.Devices...) })
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

func advance(t *testing.T, f *policytest.Fake, want policyroute.State) {
	t.Helper()
	have, _ := f.Observe()
	if err := f.Apply(context.Background(), policyroute.Diff(have, want)); err != nil {
		t.Fatal(err)
	}
}

func TestFakeRefusesRoutesWithoutDevice(t *testing.T) {
	f := policytest.NewFake()
	route := policyroute.Route{Family: policyroute.V4, Table: policyroute.TablePolicyFirst, Dst: policyroute.V4.Default(), Metric: 100, Dev: "gone0"}
	err := f.Apply(context.Background(), policyroute.Plan{Ops: []policyroute.Op{policyroute.ReplaceRoute{Route: route}}})
	if !errors.Is(err, policytest.ErrNoDevice) {
		t.Errorf("got %v", err)
	}
}

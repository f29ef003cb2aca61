package policytest

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"ztbridge/policyroute"
)

// Target receives plans: a kernel, or the Fake. It can also do what users and other programs do
// without telling us.
type Target interface {
	Observe() (policyroute.State, error)
	Apply(context.Context, policyroute.Plan) error

	// AddDevice makes a device, RemoveDevice removes one. Devices with TunPrefix are TUNs and down
	// when new, others are up.
	AddDevice(t testing.TB, name string)
	RemoveDevice(t testing.TB, name string)
	// PlantForeign adds rules, routes, tables and chains that are not ours. Foreign prints all
	// such, so that two prints can be compared.
	PlantForeign(t testing.TB)
	Foreign(t testing.TB) string
}

// Conformance holds a target to the laws of plans. newTarget makes a fresh target that has Devices
// and nothing of ours. Random choices follow the seed in ZTBRIDGE_SEED, or one that is logged.
func Conformance(t *testing.T, newTarget func(t testing.TB) Target) {
	s := &suite{newTarget: newTarget}
	t.Run("AppliedScenesAreObserved", s.appliedScenesAreObserved)
	t.Run("ApplyingTwiceIsApplyingOnce", s.applyingTwice)
	t.Run("RandomPairsConverge", s.randomPairsConverge)
	t.Run("TeardownLeavesWhatWasThere", s.teardown)
	t.Run("DeviceComesAndGoes", s.deviceComesAndGoes)
	t.Run("WhatSomebodyRemovedComesBack", s.removedComesBack)
	t.Run("MembersComeAndGo", s.membersComeAndGo)
}

type suite struct {
	newTarget func(t testing.TB) Target
}

func compile(t testing.TB, in policyroute.Intent) policyroute.State {
	t.Helper()
	s, err := policyroute.Compile(in)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func observe(t testing.TB, target Target) policyroute.State {
	t.Helper()
	s, err := target.Observe()
	if err != nil {
		t.Fatalf("observing: %v", err)
	}
	return s
}

func apply(t testing.TB, target Target, p policyroute.Plan) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := target.Apply(ctx, p); err != nil {
		t.Fatalf("applying: %v", err)
	}
}

// reach brings a target to a state and checks that it is there, neither less nor more.
func reach(t testing.TB, target Target, want policyroute.State) {
	t.Helper()
	apply(t, target, policyroute.Diff(observe(t, target), want))
	got := observe(t, target)
	if left := policyroute.Diff(got, want); !left.Empty() {
		t.Fatalf("not reached; still to do:\n%s", left)
	}
	got.Links, want.Links = nil, nil
	if extra := policyroute.Diff(want, got); !extra.Empty() {
		t.Fatalf("more than wanted:\n%s", extra)
	}
}

func (s *suite) appliedScenesAreObserved(t *testing.T) {
	scenes := map[string]policyroute.Intent{"uno": Uno(), "duo": Duo(), "dinosaur": Dinosaur(),
		"exit": Exit(), "many": Many(120, 2), "everything": Everything()}
	for name, in := range scenes {
		t.Run(name, func(t *testing.T) {
			target := s.newTarget(t)
			reach(t, target, compile(t, in))
			if err := policyroute.LeakFree(observe(t, target), in); err != nil {
				t.Errorf("what is observed leaks: %v", err)
			}
		})
	}
	t.Run("closed", func(t *testing.T) {
		target := s.newTarget(t)
		reach(t, target, policyroute.Closed([]string{"zt*"}))
		reach(t, target, compile(t, Uno()))
	})
}

func (s *suite) applyingTwice(t *testing.T) {
	target := s.newTarget(t)
	up := policyroute.Diff(observe(t, target), compile(t, Duo()))
	apply(t, target, up)
	apply(t, target, up)
	down := policyroute.Diff(observe(t, target), policyroute.State{})
	apply(t, target, down)
	apply(t, target, down)
}

// Seed returns ZTBRIDGE_SEED, by which a failure is repeated, or a fresh one; it logs which.
func Seed(t testing.TB) uint64 {
	n, err := strconv.ParseUint(os.Getenv("ZTBRIDGE_SEED"), 10, 64)
	if err != nil {
		n = rand.Uint64()
	}
	t.Logf("ZTBRIDGE_SEED=%d", n)
	return n
}

// randomPairsConverge goes from one random state to another with an interruption after every n-th
// operation. It looks for leaks there, and plans again.
func (s *suite) randomPairsConverge(t *testing.T) {
	r := rand.New(rand.NewPCG(Seed(t), 1))
	for range 6 {
		a, b := Random(r), Random(r)
		from, to := compile(t, a), compile(t, b)
		target := s.newTarget(t)
		reach(t, target, from)
		plan := policyroute.Diff(observe(t, target), to)
		for _, n := range stops(r, len(plan.Ops)) {
			target := s.newTarget(t)
			reach(t, target, from)
			apply(t, target, policyroute.Plan{Ops: plan.Ops[:n]})
			if err := policyroute.LeakFree(observe(t, target), a, b); err != nil {
				t.Fatalf("after %d of these operations: %v\n%s", n, err, plan)
			}
			reach(t, target, to)
		}
	}
}

// stops are the places where a plan is interrupted: its ends and some between.
func stops(r *rand.Rand, n int) []int {
	out := []int{0, n}
	for i := 0; i < 4 && n > 1; i++ {
		out = append(out, 1+r.IntN(n-1))
	}
	return out
}

func (s *suite) teardown(t *testing.T) {
	target := s.newTarget(t)
	target.PlantForeign(t)
	before := target.Foreign(t)
	for _, in := range []policyroute.Intent{Duo(), Exit()} {
		reach(t, target, compile(t, in))
		if now := target.Foreign(t); now != before {
			t.Errorf("foreign objects while up:\n%s\nbefore:\n%s", now, before)
		}
		plan := policyroute.Diff(observe(t, target), policyroute.State{})
		for _, op := range plan.Ops {
			if err := policyroute.LeakFree(observe(t, target), in); err != nil {
				t.Fatalf("before %q: %v", op, err)
			}
			apply(t, target, policyroute.Plan{Ops: []policyroute.Op{op}})
		}
		reach(t, target, policyroute.State{})
		if now := target.Foreign(t); now != before {
			t.Errorf("foreign objects after:\n%s\nbefore:\n%s", now, before)
		}
	}
}

// deviceComesAndGoes removes the tunnel that is in use. What is left must refuse, and when the
// tunnel is back everything must be back.
func (s *suite) deviceComesAndGoes(t *testing.T) {
	target := s.newTarget(t)
	in := Uno()
	want := compile(t, in)
	reach(t, target, want)
	target.RemoveDevice(t, Tunnel0)
	if err := policyroute.LeakFree(observe(t, target), in); err != nil {
		t.Errorf("without the tunnel: %v", err)
	}
	gone := Uno()
	gone.Egresses[0].Present = false
	gone.Policies[0].Use = "backup"
	reach(t, target, compile(t, gone))
	target.AddDevice(t, Tunnel0)
	reach(t, target, want)
}

// removedComesBack takes away one object of each kind, as a stranger would.
func (s *suite) removedComesBack(t *testing.T) {
	target := s.newTarget(t)
	want := compile(t, Duo())
	reach(t, target, want)
	for _, op := range []policyroute.Op{
		policyroute.DelRule{Rule: want.Rules[0]},
		policyroute.DelRoute{Route: want.Routes[0]},
		policyroute.ReplaceNft{},
		policyroute.DeleteChain{Family: policyroute.V4, Parent: "FORWARD",
			Chain: policyroute.ChainForward},
		policyroute.DelAddr{Dev: Tunnel0, Addr: Prefixes("10.8.0.6")[0]},
	} {
		apply(t, target, policyroute.Plan{Ops: []policyroute.Op{op}})
		if policyroute.Diff(observe(t, target), want).Empty() {
			t.Errorf("%q has no effect", op)
		}
		reach(t, target, want)
	}
}

// membersComeAndGo changes a large table in part: of many members, single ones get another policy
// and lose it again. What was planned for one table must do no harm to another.
func (s *suite) membersComeAndGo(t *testing.T) {
	target := s.newTarget(t)
	before := Many(60, 2)
	want := compile(t, before)
	reach(t, target, want)
	r := rand.New(rand.NewPCG(Seed(t), 2))
	inPart := 0
	for round := range 5 {
		after := Many(60, 2)
		changes := 1 + r.IntN(3)
		if round == 0 {
			// One more address of a policy that has others: always a change of one map.
			p := &after.Policies[r.IntN(60)]
			p.From = append(p.From, member(1000))
			changes = 0
		}
		for range changes {
			p := &after.Policies[r.IntN(60)]
			p.From = append(p.From, pick(r, []netip.Prefix{member(r.IntN(1000)),
				Prefixes("10.144.0.0/16", "10.150.7.0/28", "10.144.0.0",
					"10.159.255.255")[r.IntN(4)]}))
		}
		plan := policyroute.Diff(observe(t, target), compile(t, after))
		for i, op := range plan.Ops {
			apply(t, target, policyroute.Plan{Ops: []policyroute.Op{op}})
			_, changed := op.(policyroute.ChangeNftMaps)
			if changed {
				inPart++
			}
			if changed || i == len(plan.Ops)/2 {
				if err := policyroute.LeakFree(observe(t, target), before, after); err != nil {
					t.Fatalf("after %q: %v", op, err)
				}
			}
		}
		reach(t, target, compile(t, after))
		apply(t, target, plan) // it is done already
		reach(t, target, compile(t, after))
		apply(t, target, policyroute.Plan{Ops: []policyroute.Op{policyroute.ReplaceNft{}}})
		apply(t, target, plan) // and somebody undid it
		reach(t, target, compile(t, after))
		reach(t, target, want)
	}
	if inPart == 0 {
		t.Error("the table was never changed in part")
	}
}

package kernel

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"ztbridge/policyroute"
	"ztbridge/policyroute/policytest"
)

// BenchmarkApply measures a full apply from nothing, a reconcile that finds nothing to do, and one
// change of a policy, each with what deciding costs.
func BenchmarkApply(b *testing.B) {
	needs(b, "ip", "nft", "iptables")
	for _, scene := range []struct {
		name   string
		intent func() policyroute.Intent
	}{
		{"uno", policytest.Uno},
		{"policies=1000,members=4000",
			func() policyroute.Intent { return policytest.Many(1000, 4) }},
	} {
		in := scene.intent()
		b.Run(scene.name+"/full", func(b *testing.B) {
			tg := newTarget(b).(*target)
			for b.Loop() {
				converge(b, tg, in)
				b.StopTimer()
				bring(b, tg, policyroute.State{})
				b.StartTimer()
			}
		})
		b.Run(scene.name+"/unchanged", func(b *testing.B) {
			tg := newTarget(b).(*target)
			converge(b, tg, in)
			for b.Loop() {
				if n := converge(b, tg, in); n != 0 {
					b.Fatalf("%d operations", n)
				}
			}
		})
		b.Run(scene.name+"/unchanged,filters touched", func(b *testing.B) {
			tg := newTarget(b).(*target)
			converge(b, tg, in)
			for b.Loop() {
				tg.kernel.cache.valid = false
				converge(b, tg, in)
			}
		})
		changes := map[string]func(*policyroute.Intent){
			"one client more": func(in *policyroute.Intent) {
				one := policyroute.Policy{Name: "one", From: policytest.Prefixes("10.147.17.99")}
				in.Policies = slices.Insert(in.Policies, len(in.Policies)-1, one)
			},
			"failover": func(in *policyroute.Intent) {
				for i := range in.Policies {
					if in.Policies[i].Use == "provider" {
						in.Policies[i].Use = "backup"
					}
				}
			},
		}
		for name, change := range changes {
			b.Run(scene.name+"/"+name, func(b *testing.B) {
				tg := newTarget(b).(*target)
				changed := scene.intent()
				change(&changed)
				converge(b, tg, in)
				for b.Loop() {
					converge(b, tg, changed)
					b.StopTimer()
					converge(b, tg, in)
					converge(b, tg, in) // the pass that the change itself rings for
					b.StartTimer()
				}
			})
		}
	}
}

// converge does what the bridge does in one pass and returns the number of operations.
func converge(b *testing.B, tg *target, in policyroute.Intent) int {
	b.Helper()
	want, err := policyroute.Compile(in)
	if err != nil {
		b.Fatal(err)
	}
	return bring(b, tg, want)
}

func bring(b *testing.B, tg *target, want policyroute.State) int {
	b.Helper()
	var (
		plan policyroute.Plan
		err  error
	)
	tg.thread.do(func() {
		var have policyroute.State
		if have, err = tg.kernel.Observe(); err != nil {
			return
		}
		plan = policyroute.Diff(have, want)
		err = tg.kernel.Apply(context.Background(), plan)
	})
	if err != nil {
		b.Fatal(fmt.Errorf("bringing about: %w", err))
	}
	return len(plan.Ops)
}

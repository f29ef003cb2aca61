package services

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"ztbridge/bridge/decide"
	"ztbridge/bridge/probe"
	"ztbridge/policyroute"
)

// A resolver that falls silent is dead at once, and used again after it has answered for long; one
// of an egress that nothing gets through is left as it was.
func TestResolverStates(t *testing.T) {
	r := newResolvers(NewTrigger())
	addr := netip.MustParseAddr("10.8.0.1")
	key := resolverKey{"provider", addr, decide.ProbeMark(0)}
	of := decide.ResolverOf{Egress: "provider", Addr: addr}
	d := decide.Decision{Intent: policyroute.Intent{Egresses: []policyroute.Egress{
		{Name: "provider", DNS: []netip.Addr{addr}}}}}
	probes := func(g probe.Grade) decide.Snapshot {
		return decide.Snapshot{Probes: map[string]probe.Status{"provider": {Grade: g}}}
	}
	r.set(d, probes(probe.Fresh))
	if due, _ := r.due(time.Now()); len(due) != 1 || due[0] != key {
		t.Fatalf("asks %v", due)
	}
	r.record(context.Background(), key, false)
	if !r.status()[of] {
		t.Error("silent, and not dead")
	}
	r.record(context.Background(), key, true)
	if !r.status()[of] {
		t.Error("used again after one answer")
	}
	r.asked[key].well = time.Now().Add(-resolverHold)
	r.record(context.Background(), key, true)
	if r.status()[of] {
		t.Error("dead for ever")
	}
	r.set(d, probes(probe.Degraded))
	r.record(context.Background(), key, false)
	if r.status()[of] {
		t.Error("dead because its egress is")
	}
	r.set(decide.Decision{}, probes(probe.Fresh))
	if len(r.asked) > 0 {
		t.Error("an egress that is gone is asked")
	}
}

package services

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"ztbridge/bridge/api"
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
	r.record(context.Background(), key, none)
	if dead, _ := r.status(); !dead[of] {
		t.Error("silent, and not dead")
	}
	r.record(context.Background(), key, named)
	if dead, _ := r.status(); !dead[of] {
		t.Error("used again after one answer")
	}
	if _, back := r.status(); !back[of] {
		t.Error("it answered, and is said to be silent")
	}
	r.asked[key].well = time.Now().Add(-resolverHold)
	r.record(context.Background(), key, named)
	if dead, _ := r.status(); dead[of] {
		t.Error("dead forever")
	}
	r.record(context.Background(), key, alike)
	if dead, _ := r.status(); !dead[of] {
		t.Error("it gives every name one address now, and is not dead")
	}
	*r.asked[key] = resolverState{}
	r.record(context.Background(), key, alike)
	if dead, _ := r.status(); dead[of] {
		t.Error("dead, though it has never done anything else")
	}
	r.set(d, probes(probe.Degraded))
	r.record(context.Background(), key, none)
	if dead, _ := r.status(); dead[of] {
		t.Error("dead because its egress is")
	}
	for dead, want := range map[time.Duration]bool{time.Second: false, time.Minute: true} {
		r.set(d, probes(probe.Fresh))
		r.record(context.Background(), key, none)
		r.asked[key].died = time.Now().Add(-dead)
		r.set(d, probes(probe.Degraded))
		r.set(d, probes(probe.Fresh))
		if got, _ := r.status(); got[of] != want {
			t.Errorf("dead for %v before its egress was: still dead is %t, want %t", dead, got[of],
				want)
		}
		*r.asked[key] = resolverState{}
	}
	r.set(decide.Decision{}, probes(probe.Fresh))
	if len(r.asked) > 0 {
		t.Error("an egress that is gone is asked")
	}
}

// The resolvers of an egress in use are asked often while clients send, and seldom while they are
// silent.
func TestResolversAreAskedByNeed(t *testing.T) {
	r := newResolvers(NewTrigger())
	packets := uint64(5)
	r.traffic = func() map[string]api.Counters {
		return map[string]api.Counters{"lan": {PacketsIn: packets},
			decide.PathDevice: {PacketsIn: 1000 + packets}, "eth0": {PacketsIn: packets}}
	}
	list := decide.NewEgressList([]string{"provider"})
	d := decide.Decision{Choices: map[decide.EgressList]decide.Choice{list: {Egress: "provider"}},
		Intent: policyroute.Intent{
			Ingresses: []policyroute.Ingress{{Iface: "lan"}, {Iface: decide.PathDevice}},
			Egresses: []policyroute.Egress{{Name: "provider",
				DNS: []netip.Addr{netip.MustParseAddr("10.8.0.1")}}}}}
	r.set(d, decide.Snapshot{Probes: map[string]probe.Status{"provider": {Grade: probe.Fresh}}})
	now, asked := time.Now(), 0
	pass := func(span time.Duration, sends bool) int {
		before := asked
		for end := now.Add(span); now.Before(end); {
			if sends {
				packets++
			}
			due, pause := r.due(now)
			asked += len(due)
			now = now.Add(pause)
		}
		return asked - before
	}
	// A question and its answer have some 130 bytes in the tunnel, 180 on the line.
	const dayIdle = int(24 * time.Hour / resolverIdle)
	if n := pass(24*time.Hour, false); n > dayIdle+1 || n*180 > 1e6 {
		t.Errorf("asked %d times in a day without traffic", n)
	}
	if n := pass(time.Minute, true); n < 20 || n > 30 {
		t.Errorf("asked %d times in a minute with traffic", n)
	}
	packets++
	if n := pass(resolverInUse+2*resolverLook, false); n != 1 {
		t.Errorf("asked %d times after the first packet", n)
	}
}

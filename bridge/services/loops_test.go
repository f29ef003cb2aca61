package services

import (
	"testing"
	"time"

	"ztbridge/bridge/echowatch"
	"ztbridge/bridge/probe"
)

// A ring is known from the first probe that came back until none comes and the egress answers.
func TestRouteLoops(t *testing.T) {
	r, ours, start := newRouteLoops(), probe.NewNonce(), time.Now()
	r.expect(map[string]probe.Nonce{"home": ours})
	stranger := probe.NewNonce()
	echo := func(n probe.Nonce) echowatch.Echo {
		return echowatch.Echo{Data: append(n[:], "padding"...)}
	}
	for name, e := range map[string]echowatch.Echo{
		"somebody else's": echo(stranger), "short": {Data: ours[:8]}, "an answer": {Reply: true,
			Data: ours[:]}, "empty": {},
	} {
		if egress, news := r.saw(e, start); news {
			t.Errorf("%s echo was taken for a probe by %s", name, egress)
		}
	}
	silent := map[string]probe.Status{"home": {Grade: probe.Degraded}}
	answers := map[string]probe.Status{"home": {Grade: probe.Fresh}}
	if len(r.known(start, answers)) != 0 {
		t.Error("a ring is known before any probe came back")
	}
	if egress, news := r.saw(echo(ours), start); egress != "home" || !news {
		t.Errorf("the first probe that came back: %q, %v", egress, news)
	}
	if _, news := r.saw(echo(ours), start.Add(time.Second)); news {
		t.Error("the second probe that came back is news")
	}
	for _, step := range []struct {
		after  time.Duration
		probes map[string]probe.Status
		want   bool
	}{
		{2 * time.Second, answers, true}, // it comes back, and goes on by another way from here
		{loopMemory + 2*time.Second, silent, true},
		{time.Hour, silent, true},
		{loopMemory + 2*time.Second, answers, false},
		{loopMemory + 3*time.Second, silent, false},
	} {
		if got := r.known(start.Add(step.after), step.probes)["home"]; got != step.want {
			t.Errorf("after %v, answers %v: %v", step.after, step.probes["home"].Grade, got)
		}
	}
}

// A reload may remove an egress, or give its probes another nonce.
func TestRouteLoopsForgetRemovedEgresses(t *testing.T) {
	r, home, office := newRouteLoops(), probe.NewNonce(), probe.NewNonce()
	r.expect(map[string]probe.Nonce{"home": home, "office": office})
	now := time.Now()
	r.saw(echowatch.Echo{Data: home[:]}, now)
	r.saw(echowatch.Echo{Data: office[:]}, now)
	r.expect(map[string]probe.Nonce{"office": probe.NewNonce()})
	if got := r.known(now, nil); len(got) != 1 || !got["office"] {
		t.Errorf("known: %v", got)
	}
	for _, old := range []probe.Nonce{home, office} {
		if egress, _ := r.saw(echowatch.Echo{Data: old[:]}, now); egress != "" {
			t.Errorf("an old nonce still stands for %q", egress)
		}
	}
	if len(r.egress) != 1 {
		t.Errorf("it remembers %d nonces", len(r.egress))
	}
}

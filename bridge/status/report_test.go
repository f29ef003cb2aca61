package status

import (
	"testing"
	"time"

	"ztbridge/bridge/decide"
	"ztbridge/bridge/health"
	"ztbridge/policyroute"
)

// A problem whose message counts on lasts since it began, and another of the same egress since its
// own beginning.
func TestProblemsLastSinceTheyBegan(t *testing.T) {
	r, in := NewReporter(), well(t)
	start, later := in.Snapshot.Now, in.Snapshot.Now.Add(time.Hour)
	report := func(messages ...string) (since []time.Time) {
		in.Found, in.Decided = nil, decide.Decide(in.Config, in.Snapshot)
		for _, m := range messages {
			in.Found = append(in.Found, health.Problem{Code: health.ClockWrong, Message: m})
		}
		for _, c := range r.conditions(in) {
			if c.Code == health.ClockWrong {
				since = append(since, c.Since)
			}
		}
		r.history.expire()
		return since
	}
	report("the clock says 2023-11-14 22:13")
	in.Snapshot.Now = later
	got := report("the clock says 2023-11-14 23:13", "another")
	if len(got) != 2 || !got[0].Equal(start) || !got[1].Equal(later) {
		t.Errorf("since %v, want %v and %v", got, start, later)
	}
}

// What an ingress is told to do with IPv6 is what the egress of its IPv6 does.
func TestIngressTellsOfIPv6(t *testing.T) {
	in := well(t)
	in.Applied = decide.Decide(in.Config, in.Snapshot)
	list := decide.NewEgressList(in.Config.Policy[1].Egress)
	for i, e := range in.Applied.Intent.Egresses {
		in.Applied.Intent.Egresses[i].IPv6 = e.Name == "direct"
	}
	for _, c := range []decide.Choice{{Egress: "provider", Egress6: "direct"},
		{Egress: "direct", Egress6: "provider"}} {
		in.Applied.Choices[list] = c
		out := NewReporter().ingress(in, policyroute.Ingress{Name: "lan", Iface: "br-lan"})
		if len(out.Goes) != 1 || out.Goes[0].IPv6 != (c.Egress6 == "direct") {
			t.Errorf("with %+v: %+v", c, out.Goes)
		}
	}
}

// A message is made a sentence whatever its first letter is.
func TestSentence(t *testing.T) {
	for message, want := range map[string]string{"it is.": "It is.", "über": "Über."} {
		if got := sentence(message); got != want {
			t.Errorf("%q: %q, want %q", message, got, want)
		}
	}
}

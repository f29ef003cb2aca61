package decide

import (
	"testing"
	"time"

	"ztbridge/bridge/bridgetest"
	"ztbridge/bridge/openvpn/client"
	"ztbridge/bridge/probe"
)

// After a start, traffic waits for the first choice as long as one of its IP versions may still
// answer, and no longer than startMoment.
func TestFirstChoiceIsAwaited(t *testing.T) {
	cfg := bridgetest.Parse(t, `
ingress: [lan]
egress: {first: {openvpn: {profile: provider.ovpn}}, second: {openvpn: {profile: provider.ovpn}}}
policy: [{from: lan, egress: [first, second]}]
`)
	both := func(v4, v6 probe.Grade) probe.Status {
		return probe.Status{Grade: max(v4, v6), Of: [2]probe.Grade{v4, v6},
			Asked: [2]bool{true, true}}
	}
	started := time.Unix(1_700_000_000, 0)
	for _, tt := range []struct {
		name  string
		first probe.Status
		after time.Duration
		want  string
	}{
		{"nothing is known", probe.Status{}, time.Second, ""},
		{"IPv6 answers, IPv4 may", both(probe.Unknown, probe.Fresh), time.Second, ""},
		{"IPv4 answers, IPv6 may", both(probe.Fresh, probe.Unknown), time.Second, ""},
		{"both answer", both(probe.Fresh, probe.Fresh), time.Second, "first"},
		{"IPv4 does not", both(probe.Degraded, probe.Fresh), time.Second, "second"},
		{"too late", both(probe.Unknown, probe.Fresh), startMoment, "second"},
	} {
		d := Decide(cfg, Snapshot{Now: started.Add(tt.after), Started: started,
			Host: HostState(bridgetest.HostState("first", "second")),
			Tunnels: map[string]client.Status{"first": bridgetest.Up("10.8.0.2/24", "fd08::2/64"),
				"second": bridgetest.Up("10.9.0.2/24", "fd09::2/64")},
			Probes: map[string]probe.Status{"first": tt.first,
				"second": both(probe.Fresh, probe.Fresh)}})
		c := d.Choices[NewEgressList([]string{"first", "second"})]
		if c.Egress != tt.want {
			t.Errorf("%s: %q (%s), want %q", tt.name, c.Egress, c.Why, tt.want)
		}
		if (tt.want == "") == d.Wake.IsZero() {
			t.Errorf("%s: it decides again at %v", tt.name, d.Wake)
		}
	}
}

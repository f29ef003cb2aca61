package status

import (
	"strings"
	"testing"

	"ztbridge/bridge/bridgetest"
	"ztbridge/bridge/decide"
)

// Who names a network of the box's own as a destination is told that a way out does not lead there,
// and what does.
func TestClosedDestinationIsSaid(t *testing.T) {
	for to, want := range map[string]int{"192.168.1.0/24": 1, "192.168.1.7/32": 1,
		"9.9.9.0/24": 0, "192.168.0.0/16": 1, "10.0.0.0/7": 0, "fd00:c1::/64": 1} {
		in := decide.Decide(bridgetest.Parse(t, "zerotier: {networks: ["+bridgetest.Network+
			"]}\negress: {direct: {wan: {}}}\npolicy: [{to: ["+to+
			"], egress: [direct]}, {egress: [direct]}]\n"),
			decide.Snapshot{Host: decide.HostState(bridgetest.HostState()),
				ZeroTier: bridgetest.Joined()}).Intent
		var said []string
		for _, p := range closedProblems(in) {
			said = append(said, p.Message+": "+p.Remedy)
		}
		if len(said) != want || want > 0 &&
			!strings.Contains(said[0], "rule 1 sends to "+to+" by direct") {
			t.Errorf("to %s: %q, want %d", to, said, want)
		}
	}
}

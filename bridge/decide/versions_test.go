package decide

import (
	"testing"
	"time"

	"ztbridge/bridge/bridgetest"
	"ztbridge/bridge/openvpn/client"
	"ztbridge/bridge/probe"
	"ztbridge/bridge/zerotier"
	"ztbridge/policyroute"
)

// The IP version that is dead in a tunnel moves, and the other one stays. An egress without IPv6
// that is well refuses it, as the list says.
func TestVersionsFailApart(t *testing.T) {
	const dead, well = probe.Degraded, probe.Stable
	tests := []struct {
		name             string
		provider, backup [2]probe.Grade
		providerHas6     bool
		use4, use6       string
	}{
		{"all is well", [2]probe.Grade{well, well}, [2]probe.Grade{well, well}, true,
			"provider", "provider"},
		{"IPv4 is dead", [2]probe.Grade{dead, well}, [2]probe.Grade{well, well}, true,
			"backup", "provider"},
		{"IPv6 is dead", [2]probe.Grade{well, dead}, [2]probe.Grade{well, well}, true,
			"provider", "backup"},
		{"IPv6 is dead everywhere", [2]probe.Grade{well, dead}, [2]probe.Grade{well, dead}, true,
			"provider", "provider"},
		{"there is no IPv6", [2]probe.Grade{well}, [2]probe.Grade{well, well}, false,
			"provider", "provider"},
		{"both are dead", [2]probe.Grade{dead, dead}, [2]probe.Grade{well, well}, true,
			"backup", "backup"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status := func(of [2]probe.Grade) probe.Status {
				return probe.Status{Grade: max(of[0], of[1]), Of: of, Asked: [2]bool{true, true}}
			}
			addrs := []string{"10.8.0.2/24"}
			if tt.providerHas6 {
				addrs = append(addrs, "fd08::2/64")
			}
			cfg := bridgetest.Parse(t, bridgetest.Uno)
			s := Snapshot{Now: time.Now(),
				Host:     HostState(bridgetest.HostState("provider", "backup")),
				ZeroTier: bridgetest.Joined(),
				Tunnels: map[string]client.Status{"provider": bridgetest.Up(addrs...),
					"backup": bridgetest.Up("10.9.0.2/24", "fd09::2/64")},
				Probes: map[string]probe.Status{"provider": status(tt.provider),
					"backup": status(tt.backup)},
			}
			s.ZeroTier.Service.State = zerotier.ServiceOK
			d := Decide(cfg, s)
			c := d.Choices[NewEgressList([]string{"provider", "backup"})]
			if c.Of(policyroute.V4) != tt.use4 || c.Of(policyroute.V6) != tt.use6 {
				t.Errorf("IPv4 by %s, IPv6 by %s", c.Of(policyroute.V4), c.Of(policyroute.V6))
			}
			state, err := policyroute.Compile(d.Intent)
			if err != nil {
				t.Fatal(err)
			}
			if err := policyroute.LeakFree(state, d.Intent); err != nil {
				t.Error(err)
			}
		})
	}
}

// IPv4 leaves by the first egress that carries it, where there is one that answers.
func TestIPv4LeavesWhereItIsCarried(t *testing.T) {
	well := probe.Status{Grade: probe.Stable, Of: [2]probe.Grade{probe.Stable, probe.Stable},
		Asked: [2]bool{true, true}}
	dead := probe.Status{Grade: probe.Degraded, Of: [2]probe.Grade{probe.Degraded,
		probe.Degraded}, Asked: [2]bool{true, true}}
	for name, tt := range map[string]struct {
		backup    probe.Status
		use4, why string
	}{"a backup that is well": {well, "backup", "provider carries no IPv4"},
		"one that is dead": {dead, "provider", "first choice"}} {
		s := Snapshot{Now: time.Now(),
			Host:     HostState(bridgetest.HostState("provider", "backup")),
			ZeroTier: bridgetest.Joined(),
			Tunnels: map[string]client.Status{"provider": bridgetest.Up("fd08::2/64"),
				"backup": bridgetest.Up("10.9.0.2/24", "fd09::2/64")},
			Probes: map[string]probe.Status{"provider": {Grade: probe.Stable,
				Of: [2]probe.Grade{0, probe.Stable}, Asked: [2]bool{false, true}},
				"backup": tt.backup},
		}
		s.ZeroTier.Service.State = zerotier.ServiceOK
		key := NewEgressList([]string{"provider", "backup"})
		s.Current, s.Current6 = map[EgressList]string{key: "provider"}, map[EgressList]string{key: "provider"}
		c := Decide(bridgetest.Parse(t, bridgetest.Uno), s).Choices[key]
		if c.Of(policyroute.V4) != tt.use4 || c.Of(policyroute.V6) != "provider" || c.Why != tt.why {
			t.Errorf("%s: IPv4 by %s, IPv6 by %s, because %s", name, c.Of(policyroute.V4),
				c.Of(policyroute.V6), c.Why)
		}
	}
}

// A rule that blocks says so, whatever becomes of the egress that a person selected.
func TestBlockingRulesBlock(t *testing.T) {
	cfg := bridgetest.Parse(t, `
ingress: [lan]
egress: {six: {openvpn: {profile: provider.ovpn}}}
policy: [{from: lan, to: 198.51.100.0/24, egress: block}, {from: lan, egress: [six]}]
`)
	started := time.Unix(1_700_000_000, 0)
	for after, tunnel := range map[time.Duration]client.Status{time.Second: {}, // it is starting
		time.Hour: bridgetest.Up("fd08::2/64")} { // it carries no IPv4
		c := Decide(cfg, Snapshot{Now: started.Add(after), Started: started, Preferred: "six",
			Host:    HostState(bridgetest.HostState("six")),
			Tunnels: map[string]client.Status{"six": tunnel}}).Choices[NewEgressList(nil)]
		if c.Egress != "" || c.Why != "blocked by the policy" {
			t.Errorf("%v after the start: %+v", after, c)
		}
	}
}

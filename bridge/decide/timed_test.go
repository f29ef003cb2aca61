package decide

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"ztbridge/bridge/bridgetest"
	"ztbridge/bridge/openvpn/client"
	"ztbridge/policyroute"
)

// A rule holds at its times alone, the next pass comes when that changes, and connections of whom
// it is about move then.
func TestRulesOfTheWeek(t *testing.T) {
	cfg := bridgetest.Parse(t, `
zerotier: {networks: [abcdef0123456789]}
egress:
  provider: {openvpn: {profile: provider.ovpn}}
  backup: {openvpn: {profile: provider.ovpn}}
policy:
  - {from: [10.147.17.50], at: ["mon-fri 08:00-18:00 UTC"], egress: block}
  - {at: ["22:00-06:00 UTC"], choose: [backup]}
  - {egress: [provider]}
`)
	at := func(moment string) Decision {
		now, err := time.Parse(time.DateTime, moment)
		if err != nil {
			t.Fatal(err)
		}
		return Decide(cfg, Snapshot{Now: now,
			Host:     HostState(bridgetest.HostState("provider", "backup")),
			ZeroTier: bridgetest.Joined(), Tunnels: map[string]client.Status{
				"provider": bridgetest.Up("10.8.0.2/24"), "backup": bridgetest.Up("10.9.0.2/24")}})
	}
	for _, tt := range []struct {
		now, wake string
		rules     []string
	}{
		{"2026-03-02 07:00:00", "2026-03-02 08:00:00", []string{"policy[2]"}},
		{"2026-03-02 08:00:00", "2026-03-02 18:00:00", []string{"policy[0]", "policy[2]"}},
		{"2026-03-07 12:00:00", "2026-03-07 22:00:00", []string{"policy[2]"}},
		{"2026-03-08 05:59:59", "2026-03-08 06:00:00", []string{"policy[1]", "policy[2]"}},
	} {
		d := at(tt.now)
		var rules []string
		for _, p := range d.Intent.Policies {
			if !slices.Contains(p.Ingress, pathIngress) {
				rules = append(rules, p.Name)
			}
		}
		if rules = slices.Compact(rules); !slices.Equal(rules, tt.rules) {
			t.Errorf("at %s the rules are %v, want %v", tt.now, rules, tt.rules)
		}
		if wake := d.Wake.UTC().Format(time.DateTime); wake != tt.wake {
			t.Errorf("at %s the next pass is at %s, want %s", tt.now, wake, tt.wake)
		}
		if want := tt.rules[:len(tt.rules)-1]; !slices.Equal(d.Timed, want) {
			t.Errorf("at %s %v of the timed rules hold, want %v", tt.now, d.Timed, want)
		}
		state, err := policyroute.Compile(d.Intent)
		if err != nil {
			t.Fatal(err)
		}
		if err := policyroute.LeakFree(state, d.Intent); err != nil {
			t.Error(err)
		}
	}
	moves := NewReload(at("2026-03-02 07:59:59").Intent, at("2026-03-02 08:00:00").Intent).Moves
	remote := netip.MustParseAddr("192.0.2.10")
	if !moves(netip.MustParseAddr("10.147.17.50"), remote, false) {
		t.Error("the connections of a device that is blocked from now on go on")
	}
	if moves(netip.MustParseAddr("10.147.17.51"), remote, false) {
		t.Error("the connections of another device are cut")
	}
}

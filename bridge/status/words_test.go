package status

import (
	"testing"

	"ztbridge/bridge/api"
	"ztbridge/policyroute"
)

// Who reads that every rule blocks looks for a mistake in the rules, and not at the clock.
func TestNothingLeavesAsConfigured(t *testing.T) {
	block := api.Policy{Name: "policy[0]"}
	later := api.Policy{Name: "policy[1]", Wanted: []string{"provider"}, Off: true}
	for _, tt := range []struct {
		rules []api.Policy
		want  string
	}{
		{[]api.Policy{block}, "Every rule of the policy blocks: nothing leaves, as configured."},
		{[]api.Policy{block, later},
			"No rule of the policy lets anything out at this time: nothing leaves, as configured."},
	} {
		if state, got := overall(api.Status{Policies: tt.rules}, true); got != tt.want ||
			state != api.Working {
			t.Errorf("%s: %q, want %q", state, got, tt.want)
		}
	}
}

// A box whose daemon was killed is not closed to what leaves by a device that is not ours.
func TestWithoutDaemon(t *testing.T) {
	filter := policyroute.Ruleset{Chains: []policyroute.NftChain{{}}}
	by := func(dev string) policyroute.State {
		return policyroute.State{Nft: filter,
			Routes: []policyroute.Route{{Table: policyroute.TablePolicyFirst, Dev: dev}}}
	}
	for want, have := range map[api.State]policyroute.State{api.Stopped: {},
		api.Closed: by(""), api.Degraded: by("eth0")} {
		if got, text := WithoutDaemon(have); got != want {
			t.Errorf("%s, %q, want %s", got, text, want)
		}
	}
	if got, _ := WithoutDaemon(by("tunztb-provider")); got != api.Closed {
		t.Errorf("with a tunnel: %s", got)
	}
}

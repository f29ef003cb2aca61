package status

import (
	"testing"

	"ztbridge/bridge/api"
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

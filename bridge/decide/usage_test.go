package decide

import (
	"net/netip"
	"testing"

	"ztbridge/policyroute"
)

// While the kernel cannot be changed, what was in force before is told, of each IP version.
func TestUsageInForce(t *testing.T) {
	list, gone := NewEgressList([]string{"a", "b"}), NewEgressList([]string{"c"})
	u := NewUsage()
	u.Record(Decision{Choices: map[EgressList]Choice{list: {Egress: "a"}, gone: {Egress: "c"}}})
	for _, c := range []Choice{{Egress: "b"}, {Egress: "a", Egress6: "b"}, {}} {
		got := u.InForce(Decision{Choices: map[EgressList]Choice{list: c}}).Choices[list]
		if got.Of(policyroute.V4) != "a" || got.Of(policyroute.V6) != "a" || got.Why == c.Why {
			t.Errorf("decided %+v, in force %+v", c, got)
		}
	}
	u.Record(Decision{Choices: map[EgressList]Choice{list: {Egress: "a"}}})
	if of := u.Of(policyroute.V6); len(of) != 1 || len(u.last[policyroute.V4]) != 1 {
		t.Errorf("it remembers %v", of)
	}
}

// Connections are cut when traffic moves to another egress, not when there is nowhere to go, and
// then once there is.
func TestUsageRecordsMoves(t *testing.T) {
	list := NewEgressList([]string{"a", "b"})
	intent := policyroute.Intent{Egresses: []policyroute.Egress{
		{Name: "a", Owned: true, Addrs: []netip.Prefix{netip.MustParsePrefix("10.8.0.2/24"),
			netip.MustParsePrefix("fd08::2/64")}},
		{Name: "b", Owned: true}}}
	u := NewUsage()
	for i, tt := range []struct {
		choice Choice
		moves  int
		left   string
	}{
		{Choice{Egress: "a"}, 2, ""},
		{Choice{Egress: "a"}, 0, ""},
		{Choice{}, 2, ""},
		{Choice{Egress: "a"}, 2, ""}, // back: they live on
		{Choice{}, 2, ""},
		{Choice{Egress: "b"}, 2, "a"},
		{Choice{Egress: "b", Egress6: "a"}, 1, "b"},
	} {
		moves := u.Record(Decision{Intent: intent, Choices: map[EgressList]Choice{list: tt.choice}})
		if len(moves) != tt.moves {
			t.Fatalf("step %d: %+v, want %d moves", i, moves, tt.moves)
		}
		for _, m := range moves {
			if m.Left != tt.left || m.To != tt.choice.Of(m.Family) {
				t.Errorf("step %d: %+v, want to leave %q", i, m, tt.left)
			}
			if m.Left == "a" && (len(m.Cut.Translated) != 1 ||
				policyroute.FamilyOf(m.Cut.Translated[0]) != m.Family) {
				t.Errorf("step %d: cuts %+v", i, m.Cut)
			}
		}
		for _, f := range policyroute.Families {
			if got := u.Of(f)[list]; got != tt.choice.Of(f) {
				t.Errorf("step %d: uses %q for %v", i, got, f)
			}
		}
	}
}

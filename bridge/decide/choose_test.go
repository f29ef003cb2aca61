package decide

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestChoose(t *testing.T) {
	list := []string{"a", "b", "c"}
	type m = map[string]Health
	tests := []struct {
		name               string
		list               []string
		health             m
		current, preferred string
		want, why          string
	}{
		{"block", nil, m{"a": Stable}, "", "", "", "blocked by the policy"},
		{"nothing connected", list, m{}, "", "", "", "none of its exits is connected"},
		{"the only one is down", []string{"a"}, m{}, "", "", "", "a is down"},
		{"never beyond the list", []string{"a"}, m{"b": Stable}, "b", "b", "", "a is down"},
		{"first choice", list, m{"a": Up, "b": Stable}, "", "", "a", "first choice"},
		{"second while the first connects", list, m{"b": Up}, "", "", "b", "a is down"},
		{"an outage moves at once", list, m{"a": Degraded, "b": Up}, "a", "", "b",
			"a does not answer probes"},
		{"no names are no Internet", list, m{"a": Nameless, "b": Up}, "a", "", "b",
			"no DNS server of a answers"},
		{"no names beat no answers", list, m{"a": Degraded, "b": Nameless}, "", "", "b",
			"a does not answer probes"},
		{"nowhere to go: stay on what is connected", list, m{"a": Degraded}, "a", "", "a",
			"first choice"},
		{"shaky beats nothing", []string{"a", "b"}, m{"b": Degraded}, "", "", "b", "a is down"},
		{"stay on the shaky one in use", list, m{"a": Degraded, "b": Degraded}, "b", "", "b",
			"a does not answer probes"},
		{"back, but not proven", list, m{"a": Up, "b": Up}, "b", "", "b",
			"a has recovered; it is used again if it stays up"},
		{"back for good", list, m{"a": Stable, "b": Stable}, "b", "", "a", "first choice"},
		{"the backup fails before the first is proven", list, m{"a": Up, "b": Degraded}, "b", "",
			"a", "first choice"},
		{"down the list past the unproven", list, m{"a": Up, "b": Stable, "c": Up}, "c", "",
			"b", "a has recovered; it is used again if it stays up"},
		{"a person's choice", list, m{"a": Stable, "c": Up}, "a", "c", "c", "selected manually"},
		{"a person's choice is down", list, m{"a": Stable}, "a", "c", "a", "c is down"},
		{"a person's choice is not in this list", []string{"a", "b"}, m{"a": Stable, "c": Up},
			"a", "c", "a", "first choice"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := choose(tt.list, tt.health, tt.current, tt.preferred)
			if got.Egress != tt.want || got.Why != tt.why {
				t.Errorf("%q because %q, want %q because %q", got.Egress, got.Why, tt.want, tt.why)
			}
		})
	}
}

// Whatever happens, the choice is in the list and usable, it is stable when nothing changes, and it
// is empty only when nothing is usable.
func TestChooseLaws(t *testing.T) {
	names := []string{"a", "b", "c", "d"}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		list := slices.Clone(names[:rng.IntN(len(names)+1)])
		rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		health := map[string]Health{}
		usable := false
		for _, n := range names {
			health[n] = Health(rng.IntN(4))
			usable = usable || slices.Contains(list, n) && health[n] > Unusable
		}
		current, preferred := names[rng.IntN(4)], names[rng.IntN(4)]
		got := choose(list, health, current, preferred)
		if (got.Egress != "") != usable {
			t.Fatalf("choose(%v, %v, %q, %q) = %+v", list, health, current, preferred, got)
		}
		if got.Egress != "" && (!slices.Contains(list, got.Egress) ||
			health[got.Egress] == Unusable) {
			t.Fatalf("choose(%v, %v, %q, %q) = %+v: outside the list or unusable", list, health,
				current, preferred, got)
		}
		if again := choose(list, health, got.Egress, preferred); again != got {
			t.Fatalf("choose(%v, %v, %q) moved from %+v to %+v though nothing changed", list,
				health, preferred, got, again)
		}
	}
}

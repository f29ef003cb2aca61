package bridge

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestChoose(t *testing.T) {
	list := []string{"a", "b", "c"}
	type m = map[string]merit
	tests := []struct {
		name               string
		list               []string
		merits             m
		current, preferred string
		want, why          string
	}{
		{"block", nil, m{"a": proven}, "", "", "", "blocked by the policy"},
		{"nothing connected", list, m{}, "", "", "", "none of its egresses is up"},
		{"the only one is down", []string{"a"}, m{}, "", "", "", "a is down"},
		{"never beyond the list", []string{"a"}, m{"b": proven}, "b", "b", "", "a is down"},
		{"first choice", list, m{"a": good, "b": proven}, "", "", "a", "first choice"},
		{"second while the first connects", list, m{"b": good}, "", "", "b", "a is down"},
		{"an outage moves at once", list, m{"a": shaky, "b": good}, "a", "", "b",
			"a does not answer probes"},
		{"nowhere to go: stay on what is connected", list, m{"a": shaky}, "a", "", "a",
			"first choice"},
		{"shaky beats nothing", []string{"a", "b"}, m{"b": shaky}, "", "", "b", "a is down"},
		{"stay on the shaky one in use", list, m{"a": shaky, "b": shaky}, "b", "", "b",
			"a does not answer probes"},
		{"back, but not proven", list, m{"a": good, "b": good}, "b", "", "b",
			"a is back, but not proven yet"},
		{"back for good", list, m{"a": proven, "b": proven}, "b", "", "a", "first choice"},
		{"the backup fails before the first is proven", list, m{"a": good, "b": shaky}, "b", "",
			"a", "first choice"},
		{"down the list past the unproven", list, m{"a": good, "b": proven, "c": good}, "c", "",
			"b", "a is back, but not proven yet"},
		{"a person's choice", list, m{"a": proven, "c": good}, "a", "c", "c", "chosen by a person"},
		{"a person's choice is down", list, m{"a": proven}, "a", "c", "a", "c is down"},
		{"a person's choice is not in this list", []string{"a", "b"}, m{"a": proven, "c": good},
			"a", "c", "a", "first choice"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := choose(tt.list, tt.merits, tt.current, tt.preferred)
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
		merits := map[string]merit{}
		usable := false
		for _, n := range names {
			merits[n] = merit(rng.IntN(4))
			usable = usable || slices.Contains(list, n) && merits[n] > unusable
		}
		current, preferred := names[rng.IntN(4)], names[rng.IntN(4)]
		got := choose(list, merits, current, preferred)
		if (got.Egress != "") != usable {
			t.Fatalf("choose(%v, %v, %q, %q) = %+v", list, merits, current, preferred, got)
		}
		if got.Egress != "" && (!slices.Contains(list, got.Egress) ||
			merits[got.Egress] == unusable) {
			t.Fatalf("choose(%v, %v, %q, %q) = %+v: outside the list or unusable", list, merits,
				current, preferred, got)
		}
		if again := choose(list, merits, got.Egress, preferred); again != got {
			t.Fatalf("choose(%v, %v, %q) moved from %+v to %+v though nothing changed", list,
				merits, preferred, got, again)
		}
	}
}

package policyroute

import "slices"

// changeShare is the largest share of a table's elements that is changed in place. Beyond it,
// replacing the table costs no more and is simpler.
const changeShare = 0.25

// nftOps changes elements of maps if nothing else differs, and few do: one member more is one
// element in thousands. Otherwise it replaces the table.
func nftOps(have, want Ruleset) []Op {
	// Rules have several forms with one text, and are compared by text. Elements have one form, and
	// thousands of them are compared much faster than printed.
	sameText := func(a, b NftChain) bool { return a.String() == b.String() }
	if !slices.EqualFunc(have.Chains, want.Chains, sameText) ||
		!slices.Equal(have.Meters, want.Meters) ||
		!slices.EqualFunc(have.Maps, want.Maps, VerdictMap.sameKind) {
		return []Op{ReplaceNft{Ruleset: want}}
	}
	var changes []MapChange
	changed, all := 0, 0
	for i, w := range want.Maps {
		c := have.Maps[i].change(w)
		if n := len(c.Remove) + len(c.Add); n > 0 {
			changes, changed = append(changes, c), changed+n
		}
		all += len(w.Elements)
	}
	switch {
	case changed == 0:
		return nil
	case float64(changed) > changeShare*float64(all):
		return []Op{ReplaceNft{Ruleset: want}}
	}
	return []Op{ChangeNftMaps{Changes: changes, Table: want}}
}

func (m VerdictMap) sameKind(o VerdictMap) bool { return m.Name == o.Name && m.Family == o.Family }

// change returns the removals and additions that turn the elements of m into those of w.
func (m VerdictMap) change(w VerdictMap) MapChange {
	c := MapChange{Map: w.Name, Family: w.Family}
	have, want := m.Elements, w.Elements
	for len(have) > 0 || len(want) > 0 {
		switch {
		case len(want) == 0 || len(have) > 0 && have[0].First.Less(want[0].First):
			c.Remove, have = append(c.Remove, have[0]), have[1:]
		case len(have) == 0 || want[0].First.Less(have[0].First):
			c.Add, want = append(c.Add, want[0]), want[1:]
		default:
			if have[0] != want[0] {
				c.Remove, c.Add = append(c.Remove, have[0]), append(c.Add, want[0])
			}
			have, want = have[1:], want[1:]
		}
	}
	return c
}

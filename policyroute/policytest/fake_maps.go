package policytest

import (
	"slices"

	"ztbridge/policyroute"
)

// changeMaps does it all or, where an element is missing or in the way, nothing but replacing the
// table.
func (f *Fake) changeMaps(o policyroute.ChangeNftMaps) {
	maps := slices.Clone(f.nft.Maps)
	for _, c := range o.Changes {
		i := slices.IndexFunc(maps, func(m policyroute.VerdictMap) bool {
			return m.Name == c.Map && m.Family == c.Family
		})
		if i < 0 || !changeMap(&maps[i], c) {
			f.nft = o.Table
			return
		}
	}
	f.nft.Maps = maps
}

func changeMap(m *policyroute.VerdictMap, c policyroute.MapChange) bool {
	elements := slices.Clone(m.Elements)
	for _, gone := range c.Remove {
		i := slices.Index(elements, gone)
		if i < 0 {
			return false
		}
		elements = slices.Delete(elements, i, i+1)
	}
	elements = append(elements, c.Add...)
	slices.SortFunc(elements, func(a, b policyroute.VerdictElement) int {
		return a.First.Compare(b.First)
	})
	for i := 1; i < len(elements); i++ {
		if !elements[i-1].Last.Less(elements[i].First) {
			return false
		}
	}
	m.Elements = elements
	return true
}

package policyroute_test

import (
	"slices"
	"testing"

	"ztbridge/policyroute"
)

// TestLayersOfWhatIsCompiled: each chain that drops is counted for one layer, so that none is named
// that did not drop the packet.
func TestLayersOfWhatIsCompiled(t *testing.T) {
	rulesets := map[string]policyroute.Ruleset{
		"closed": policyroute.Closed([]string{"zt*", "eth1"}).Nft}
	for name, scene := range scenes {
		rulesets[name] = compile(t, scene()).Nft
	}
	known := []string{"entrance", "forward", "input", "output", "translated", "errors"}
	for name, r := range rulesets {
		layers := r.Layers()
		for _, c := range r.Chains {
			counter, refuses := r.Counters()[c.Name], false
			for _, rule := range c.Rules {
				refuses = refuses || rule.Refuses()
			}
			switch {
			case layers[c.Name] == "":
				t.Errorf("%s: nothing leads to chain %s", name, c.Name)
			case refuses && !slices.Contains(known, layers[c.Name]):
				t.Errorf("%s: chain %s is counted for %s", name, c.Name, layers[c.Name])
			case (counter != "") != refuses:
				t.Errorf("%s: chain %s has the counter %q", name, c.Name, counter)
			}
		}
	}
}

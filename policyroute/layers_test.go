package policyroute_test

import (
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
			case layers[c.Name] == "several" && refuses:
				t.Errorf("%s: several layers lead to chain %s", name, c.Name)
			case (counter != "") != refuses:
				t.Errorf("%s: chain %s has the counter %q", name, c.Name, counter)
			}
		}
	}
}

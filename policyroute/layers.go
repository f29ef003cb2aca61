package policyroute

import "slices"

// CounterPrefix begins the names of the counters in our table: dropped_forward counts what the
// layer forward drops.
const CounterPrefix = "dropped_"

// Layers returns, for each chain that packets reach, the base chain from which they do. A chain to
// which several base chains lead is a layer of its own, with what is behind it.
func (r Ruleset) Layers() map[string]string {
	maps, next := map[string][]string{}, map[string][]string{}
	for _, m := range r.Maps {
		for _, e := range m.Elements {
			maps[m.Name] = append(maps[m.Name], e.Chain)
		}
	}
	for _, c := range r.Chains {
		for _, rule := range c.Rules {
			next[c.Name] = slices.Concat(next[c.Name], maps[rule.VMap], maps[rule.DstVMap])
			if rule.Verdict.Chain != "" {
				next[c.Name] = append(next[c.Name], rule.Verdict.Chain)
			}
		}
	}
	out := map[string]string{}
	var walk func(chain, layer string)
	walk = func(chain, layer string) {
		switch out[chain] {
		case layer, chain:
			return
		case "":
		default:
			layer = chain
		}
		out[chain] = layer
		for _, c := range next[chain] {
			walk(c, layer)
		}
	}
	for _, c := range r.Chains {
		if c.Hook != nil {
			walk(c.Name, c.Name)
		}
	}
	return out
}

// Counters returns the name of the counter of each chain that refuses packets: that of its layer.
func (r Ruleset) Counters() map[string]string {
	layers, out := r.Layers(), map[string]string{}
	for _, c := range r.Chains {
		if layers[c.Name] != "" && slices.ContainsFunc(c.Rules, NftRule.Refuses) {
			out[c.Name] = CounterPrefix + layers[c.Name]
		}
	}
	return out
}

// Refuses reports whether packets that match end at the rule.
func (r NftRule) Refuses() bool { return r.Verdict == drop }

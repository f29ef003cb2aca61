package decide

import (
	"slices"

	"ztbridge/policyroute"
)

// edges returns the host's uplinks and WAN egresses, by the IP versions that the host itself does
// not forward from them. A link of ours, or one by which clients enter, has rules of its own.
func edges(in policyroute.Intent, w HostState) []policyroute.Edge {
	var out []policyroute.Edge
	for _, l := range w.Links {
		outside := slices.ContainsFunc(in.Egresses, func(e policyroute.Egress) bool {
			return e.Kind == policyroute.EgressWAN && e.Iface == l.Name
		}) || w.leadsOut(l.Name)
		if isIngress(in.Ingresses, l.Name) || !outside || IsOurs(l.Name) ||
			slices.Contains(in.Stacked, l.Name) {
			continue
		}
		for _, f := range policyroute.Families {
			if f == policyroute.V4 && !l.Forwards4 || f == policyroute.V6 && !l.Forwards6 {
				out = append(out, policyroute.Edge{Iface: l.Name, Family: f, Switches: l.Bridge})
			}
		}
	}
	return out
}

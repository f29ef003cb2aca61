package decide

import (
	"slices"
	"strings"

	"ztbridge/policyroute"
)

// advertised returns the links on which router advertisements remain accepted: those without
// clients.
func advertised(ingresses []policyroute.Ingress, w HostState) []string {
	return slices.DeleteFunc(slices.Clone(w.AcceptRA), func(name string) bool {
		l, _ := w.Link(name)
		return strings.HasPrefix(name, "zt") || IsOurs(name) || l.Master != "" ||
			slices.ContainsFunc(ingresses, func(g policyroute.Ingress) bool {
				return g.Iface == name || w.StackedOn(name, g.Iface)
			})
	})
}

// stacked returns the links built on an ingress that are not ingresses themselves.
func stacked(ingresses []policyroute.Ingress, w HostState) []string {
	var out []string
	for _, l := range w.Links {
		isIngress := slices.ContainsFunc(ingresses,
			func(g policyroute.Ingress) bool { return g.Iface == l.Name })
		if !isIngress && slices.ContainsFunc(ingresses,
			func(g policyroute.Ingress) bool { return w.StackedOn(l.Name, g.Iface) }) {
			out = append(out, l.Name)
		}
	}
	return out
}

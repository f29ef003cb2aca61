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
			isIngress(ingresses, name) || onIngress(ingresses, name, w)
	})
}

// stacked returns the links built on an ingress that are not ingresses themselves.
func stacked(ingresses []policyroute.Ingress, w HostState) []string {
	var out []string
	for _, l := range w.Links {
		if !isIngress(ingresses, l.Name) && onIngress(ingresses, l.Name, w) {
			out = append(out, l.Name)
		}
	}
	return out
}

func isIngress(ingresses []policyroute.Ingress, name string) bool {
	return slices.ContainsFunc(ingresses,
		func(g policyroute.Ingress) bool { return g.Iface == name })
}

// onIngress reports whether a link is built on an ingress.
func onIngress(ingresses []policyroute.Ingress, name string, w HostState) bool {
	return slices.ContainsFunc(ingresses,
		func(g policyroute.Ingress) bool { return w.StackedOn(name, g.Iface) })
}

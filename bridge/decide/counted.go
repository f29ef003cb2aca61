package decide

import (
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// Counted returns the ingresses whose devices' bytes are counted: all but the box's own client.
func Counted(intent policyroute.Intent) []kernel.Counted {
	var out []kernel.Counted
	for _, g := range intent.Ingresses {
		if g.Name != pathIngress && len(g.Prefixes) > 0 {
			out = append(out, kernel.Counted{Iface: g.Iface, Prefixes: g.Prefixes})
		}
	}
	return out
}

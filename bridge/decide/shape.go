package decide

import (
	"ztbridge/bridge/config"
	"ztbridge/policyroute"
)

// Shapes returns the rates, in bits a second, by which interfaces are to be shaped.
func Shapes(cfg *config.Config, intent policyroute.Intent) map[string]uint64 {
	out := map[string]uint64{}
	for _, e := range cfg.Egresses {
		if e.WAN == nil || e.WAN.Shape == 0 {
			continue
		}
		for _, have := range intent.Egresses {
			if have.Name == e.Name && have.Iface != "" {
				out[have.Iface] = e.WAN.Shape
			}
		}
	}
	return out
}

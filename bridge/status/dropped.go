package status

import (
	"maps"
	"slices"

	"ztbridge/bridge/api"
	"ztbridge/policyroute/kernel"
)

// Dropped returns what the layers of the filter dropped, in the order of their names.
func Dropped(layers map[string]kernel.Drops) []api.Dropped {
	out := []api.Dropped{}
	for _, layer := range slices.Sorted(maps.Keys(layers)) {
		out = append(out, api.Dropped{Layer: layer, Packets: layers[layer].Packets,
			Bytes: layers[layer].Bytes})
	}
	return out
}

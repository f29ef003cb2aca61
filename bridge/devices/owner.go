package devices

import (
	"net/netip"

	"ztbridge/bridge/decide"
	"ztbridge/bridge/zerotier"
)

// owners says which device has an address, by what the box knows without asking anybody. It is no
// proof (see View.Identify): it is for counting. Make one for each look at the neighbours.
type owners struct {
	*View
	ingress map[string]zerotier.NetworkStatus          // by name of the ingress
	behind  map[string]map[netip.Addr]zerotier.Address // by name of the ingress
}

func (v *View) owners() owners {
	o := owners{v, map[string]zerotier.NetworkStatus{},
		map[string]map[netip.Addr]zerotier.Address{}}
	for _, n := range v.Config.ZeroTier.Networks {
		status := decide.NetworkOf(v.Config, v.Snap, n.ID)
		o.ingress[n.Name] = status
		// Without the table, what cannot be told apart is counted by its address.
		list, _ := v.Kernel.Neighbours(status.Iface)
		o.behind[n.Name] = map[netip.Addr]zerotier.Address{}
		for _, known := range list {
			if m, ok := zerotier.NodeOf(status.ID, known.MAC); ok {
				o.behind[n.Name][known.Addr] = m
			}
		}
	}
	return o
}

// of returns the device and the name of the ingress that it is behind.
func (o owners) of(a netip.Addr) (device decide.Device, ingress string) {
	ingress = decide.IngressOf(o.Applied, a)
	if name, ok := o.Clients[a]; ok {
		return decide.Device{Client: name}, ingress
	}
	n, ok := o.ingress[ingress]
	if !ok {
		return decide.Device{Addr: a}, ingress
	}
	if m, ok := zerotier.Derived(n.ID, a); ok {
		return decide.Device{Network: n.ID.String(), Member: m}, ingress
	}
	for _, s := range o.Snap.Devices {
		if s.Network == n.ID.String() && s.Has(a) {
			return s.Device, ingress
		}
	}
	if m, ok := o.behind[ingress][a]; ok {
		return decide.Device{Network: n.ID.String(), Member: m}, ingress
	}
	return decide.Device{Addr: a}, ingress
}

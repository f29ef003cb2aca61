package api

// Filled returns the status with empty lists in place of missing ones, as its JSON promises. Lists
// are copied where their elements are changed: the snapshot belongs to the backend.
func (s Status) Filled() Status {
	s.Conditions = list(s.Conditions)
	s.Networks = each(s.Networks, func(n *Network) { n.Addresses = list(n.Addresses) })
	s.Clients = each(s.Clients, func(c *Client) { c.Addresses = list(c.Addresses) })
	s.Devices = each(s.Devices, func(d *Device) { d.Addresses = list(d.Addresses) })
	s.Traffic = list(s.Traffic)
	s.Dropped = list(s.Dropped)
	s.Reconcile.Ops = list(s.Reconcile.Ops)
	s.WAN.Addresses = list(s.WAN.Addresses)
	s.Ingresses = each(s.Ingresses,
		func(i *Ingress) { i.Addresses, i.Goes = list(i.Addresses), list(i.Goes) })
	s.Egresses = each(s.Egresses, func(e *Egress) {
		e.Addresses, e.DNS = list(e.Addresses), list(e.DNS)
		e.ExitAddresses = list(e.ExitAddresses)
	})
	s.Policies = each(s.Policies, func(p *Policy) {
		p.From, p.To, p.Wanted = list(p.From), list(p.To), list(p.Wanted)
	})
	return s
}

func list[T any](in []T) []T {
	if in == nil {
		return []T{}
	}
	return in
}

func each[T any](in []T, fill func(*T)) []T {
	out := make([]T, len(in))
	for i, item := range in {
		fill(&item)
		out[i] = item
	}
	return out
}

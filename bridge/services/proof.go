package services

import (
	"ztbridge/bridge/decide"
	"ztbridge/bridge/probe"
	"ztbridge/policyroute"
)

// provingPackets is how many packets must pass from an egress to clients between two checks to
// replace a check. The box's own probes bring in fewer.
const provingPackets = 200

// proof holds what shows that answers reach real clients by the path of a path client. It is the
// egress's interface, which must be ours alone, and those of the ingresses.
type proof struct {
	egress   string
	clients  []string
	family   policyroute.Family
	in, sent uint64 // packets of the egress, and to clients, when it was last looked
}

// followProofs returns the proofs of a decision's clients. Those that are as before keep their
// counts.
func followProofs(before map[string]proof, d decide.Decision) map[string]proof {
	var clients []string
	for _, g := range d.Intent.Ingresses {
		if g.Iface != decide.PathDevice {
			clients = append(clients, g.Iface)
		}
	}
	out := map[string]proof{}
	for _, c := range d.PathClients {
		for _, e := range d.Intent.Egresses {
			if e.Name == c.Egress && e.Owned {
				old := before[c.Key]
				out[c.Key] = proof{e.Iface, clients, c.Family, old.in, old.sent}
			}
		}
	}
	return out
}

// answered reports whether answers reached real clients by the path of a path client since it was
// called for that key last. Then there is no need to try.
func (p *paths) answered(key string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	of, known := p.proofs[key]
	if !known {
		return false
	}
	in, sent := trafficBy(of.egress, of.family).Received, uint64(0)
	for _, iface := range of.clients {
		sent += trafficBy(iface, of.family).Sent
	}
	answered := in >= of.in+provingPackets && sent >= of.sent+provingPackets && of.in > 0
	of.in, of.sent = in, sent
	p.proofs[key] = of
	return answered
}

// trafficBy returns what has passed an interface by one IP version.
func trafficBy(iface string, f policyroute.Family) probe.Traffic {
	six := traffic6Of(iface)
	if f == policyroute.V6 {
		return six
	}
	return trafficOf(iface).Less(six)
}

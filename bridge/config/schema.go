package config

import (
	"net/netip"
	"strings"

	"go.yaml.in/yaml/v3"
)

// decode reads the whole tree. What refers to names is decoded after what defines them, whatever
// the order of the file.
func (d *decoder) decode(root *yaml.Node) {
	d.cfg.ZeroTier.Home = DefaultZeroTierHome
	d.cfg.Probe = Probe{Targets: defaultTargets, Interval: defaultInterval,
		HoldDown: defaultHoldDown}
	d.cfg.Updates = DefaultUpdates
	d.cfg.History = true
	d.cfg.ExitAddress = DefaultExitServices()
	d.cfg.Page = Page{Serve: PageOff, Port: defaultPagePort}
	later := map[string]value{}
	keep := func(v value) { later[v.key] = v }
	value{d: d, node: root}.object(fields{
		"zerotier": d.zerotier,
		"ingress":  d.interfaces,
		"endpoint": d.endpoint,
		"probe":    d.probe,
		"updates":  d.updates,
		"page":     d.page,
		"metrics":  d.metrics,
		"history":  func(v value) { d.cfg.History = v.boolean() },
		"egress":   keep,
		"policy":   keep,
		"inbound":  keep,
		"peering":  keep,
		"notify":   keep,

		"exit_address": d.exitAddress,
	}, "zerotier", "ingress", "endpoint", "probe", "updates", "page", "egress",
		"inbound")
	d.egresses(later["egress"])
	d.policy(later["policy"])
	d.inbound(later["inbound"])
	d.peering(later["peering"])
	d.notify(later["notify"])
	d.pagePorts()
	d.checkWhole()
}

// A claim is a prefix that must mean one thing.
type claim struct {
	prefix netip.Prefix
	at     Position
	what   string
	side   side
}

// side separates prefixes that may contain one another. Members may well have addresses in the
// prefix that the WAN's provider assigned.
type side uint8

const (
	membersSide side = iota
	wanSide
)

func (d *decoder) claim(p netip.Prefix, at Position, what string, s side) {
	for _, other := range d.claims {
		if s == other.side && p.Overlaps(other.prefix) {
			d.fail(at, ErrOverlap, p.String()+" overlaps "+other.prefix.String()+", "+other.what+
				" ("+other.at.String()+")",
				"choose prefixes that have no address in common")
			return
		}
	}
	d.claims = append(d.claims, claim{p, at, what, s})
}

// IngressNames returns the names of all ingresses: networks, the endpoint, interfaces.
func (c *Config) IngressNames() []string {
	var names []string
	for _, n := range c.ZeroTier.Networks {
		names = append(names, n.Name)
	}
	if c.Endpoint != nil {
		names = append(names, EndpointIngress)
	}
	for _, i := range c.Interfaces {
		names = append(names, i.Name)
	}
	return names
}

// zeroTierWord means all networks together.
const zeroTierWord = "zerotier"

// ingress resolves a name in `from` or `peering`; nil when it means no ingress.
func (c *Config) ingress(name string) []string {
	var names []string
	for _, n := range c.ZeroTier.Networks {
		if name == zeroTierWord || name == n.Name || strings.EqualFold(name, n.ID) {
			names = append(names, n.Name)
		}
	}
	for _, i := range c.Interfaces {
		if name == i.Name {
			names = append(names, name)
		}
	}
	if name == EndpointIngress && c.Endpoint != nil {
		names = append(names, name)
	}
	return names
}

// selectable lists what a person may write in `from` besides prefixes and clients.
func (c *Config) selectable() []string {
	names := c.IngressNames()
	if len(c.ZeroTier.Networks) > 0 {
		names = append(names, zeroTierWord)
	}
	return names
}

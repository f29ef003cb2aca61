package config

import (
	"fmt"
	"slices"
	"strings"
)

// inbound decodes what the Internet may open towards members.
func (d *decoder) inbound(v value) {
	if v.node == nil {
		return
	}
	for _, item := range v.items() {
		d.inboundRule(item)
	}
}

func (d *decoder) inboundRule(v value) {
	in := Inbound{Pos: v.pos()}
	var egress value
	v.object(fields{
		"egress": func(v value) { egress = v },
		"to":     func(v value) { in.To, _ = v.prefix() },
		"tcp":    func(v value) { in.TCP = v.ports() },
		"udp":    func(v value) { in.UDP = v.ports() },
	})
	var wans []string
	for _, e := range d.cfg.Egresses {
		if e.WAN != nil {
			wans = append(wans, e.Name)
		}
	}
	switch {
	case egress.node != nil:
		text, ok := egress.text()
		if ok && !slices.Contains(wans, text) {
			egress.fail(ErrDangling, fmt.Sprintf("there is no wan egress %q", text),
				didYouMean(text, wans, "only a `wan` egress can let connections in"))
		}
		in.Egress = text
	case len(wans) == 1:
		in.Egress = wans[0]
	default:
		v.fail(ErrMissing, fmt.Sprintf("it is not said from where: there are %d wan egresses",
			len(wans)), "add `egress:` with the name of one")
	}
	if !in.To.IsValid() {
		if find(v.node, "to") == nil {
			v.fail(ErrMissing, "it is not said to whom", "add `to:` with a member's address")
		}
		return
	}
	if in.TCP.Empty() && in.UDP.Empty() {
		v.fail(ErrMissing, "it opens no port", "add `tcp: [443]`, `udp: [51820]` or `tcp: all`")
		return
	}
	d.cfg.Inbound = append(d.cfg.Inbound, in)
}

// Empty reports whether the set holds no port.
func (p Ports) Empty() bool { return !p.All && len(p.List) == 0 }

func (v value) ports() Ports {
	var p Ports
	items := v.items()
	for _, item := range items {
		text, ok := item.text()
		if !ok {
			continue
		}
		if text == "all" && len(items) == 1 {
			return Ports{All: true}
		}
		port, ok := item.port(text)
		if ok && slices.Contains(p.List, port) {
			item.fail(ErrDuplicate, "this port is listed twice", "remove one of them")
		} else if ok {
			p.List = append(p.List, port)
		}
	}
	return p
}

// peering decodes who may open connections to whom inside. Omitted, the endpoint's clients reach
// the ZeroTier networks, which is what they come for, and nobody reaches anything else.
func (d *decoder) peering(v value) {
	c := d.cfg
	if v.node == nil {
		if c.Endpoint == nil {
			return
		}
		at := Position{File: d.file, Key: "peering"}
		for _, n := range c.ZeroTier.Networks {
			c.Peering = append(c.Peering, Peering{From: EndpointIngress, To: n.Name, Pos: at})
		}
		return
	}
	if v.isNull() {
		v.fail(ErrMissing, "there is no pair, which could mean nothing, or what is usual",
			"write `peering: []` to allow nothing, or remove the key to let the endpoint's "+
				"clients reach the ZeroTier networks")
		return
	}
	for _, item := range v.items() {
		d.pair(item)
	}
}

func (d *decoder) pair(v value) {
	var from, to value
	v.object(fields{
		"from": func(v value) { from = v },
		"to":   func(v value) { to = v },
	})
	if from.node == nil || to.node == nil {
		v.fail(ErrMissing, "a peering has two sides", "write it as {from: endpoint, to: zerotier}")
		return
	}
	sources, ok := d.ingressNames(from)
	if !ok {
		return
	}
	if text := to.node.Value; looksNumeric(text) {
		d.peerWithPrefix(sources, to, v.pos())
		return
	}
	targets, ok := d.ingressNames(to)
	if !ok {
		return
	}
	for _, a := range sources {
		for _, b := range targets {
			// Inside one network ZeroTier carries members' packets itself; they never come here.
			if a != b || a == EndpointIngress {
				d.addPeering(Peering{From: a, To: b, Pos: v.pos()})
			}
		}
	}
}

func (d *decoder) ingressNames(v value) ([]string, bool) {
	text, ok := v.text()
	if !ok {
		return nil, false
	}
	names := d.cfg.ingress(text)
	if names == nil {
		v.fail(ErrDangling, fmt.Sprintf("there is no ingress %q", text),
			didYouMean(text, d.cfg.selectable(), "known: "+strings.Join(d.cfg.selectable(), ", ")))
	}
	return names, names != nil
}

// peerWithPrefix opens a network of the box's own main table, such as its LAN. A prefix as wide as
// the Internet would be a way around the policy.
func (d *decoder) peerWithPrefix(sources []string, to value, at Position) {
	p, ok := to.prefix()
	if !ok {
		return
	}
	if least := map[bool]int{true: 8, false: 32}[p.Addr().Is4()]; p.Bits() < least {
		to.fail(ErrValue, fmt.Sprintf("%s is no local network", p),
			"name the LAN's own prefix; the Internet is reached by `policy:`")
		return
	}
	for _, name := range sources {
		d.addPeering(Peering{From: name, Prefix: p, Pos: at})
	}
}

func (d *decoder) addPeering(p Peering) {
	for _, other := range d.cfg.Peering {
		if other.From == p.From && other.To == p.To && other.Prefix == p.Prefix {
			d.fail(p.Pos, ErrDuplicate, fmt.Sprintf("this is allowed already (%s)", other.Pos),
				"remove one of them")
			return
		}
	}
	d.cfg.Peering = append(d.cfg.Peering, p)
}

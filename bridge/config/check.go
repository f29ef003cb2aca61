package config

import (
	"fmt"
	"net/netip"
	"slices"
)

// checkWhole looks for what only the whole shows.
func (d *decoder) checkWhole() {
	c := d.cfg
	if len(c.IngressNames()) == 0 && c.ZeroTier.Moon == nil && c.Page.Serve != PageLAN &&
		len(d.errs) == 0 {
		d.fail(Position{File: d.file}, ErrMissing,
			"no source of traffic is configured yet",
			"put your ZeroTier network's id under `zerotier:`, as `networks: [ID]`")
	}
	for _, in := range c.Interfaces {
		if at, both := d.where["wan "+in.Iface]; both {
			d.fail(at, ErrValue, fmt.Sprintf(
				"%s is an ingress as well: traffic may not leave where it enters", in.Iface),
				"remove it under `ingress:` or here")
		}
	}
	if len(d.errs) == 0 {
		d.checkReach()
		d.warnOfUnusedEgresses()
	}
}

// Unfinished returns what a configuration lacks that so far has only a page on the LAN. The rest
// can be added there. It is empty if nothing is missing.
func (c *Config) Unfinished() string {
	switch {
	case len(c.IngressNames()) == 0 && c.ZeroTier.Moon == nil:
		return "it is in no ZeroTier network"
	case len(c.Egresses)+len(c.Policy) == 0 && c.Page.Serve == PageLAN:
		return "it has no exit"
	}
	return ""
}

func (d *decoder) warnOfUnusedEgresses() {
	for _, e := range d.cfg.Egresses {
		used := slices.ContainsFunc(d.cfg.Policy,
			func(r Rule) bool {
				return slices.Contains(r.Egress, e.Name) || slices.Contains(r.Choose, e.Name)
			})
		if !used {
			d.warn(e.Pos,
				"no rule of the policy leads to this egress; add its name to one, or remove it")
		}
	}
}

// An atom is the smallest unit in which rules are compared. It is one ingress, one client or one
// prefix, towards one destination.
type atom struct {
	ingress, client string
	from, to        netip.Prefix
}

var allAddresses = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

// atoms splits what a selector of a rule matches. It is empty when addresses of one IP version are
// to reach destinations of the other.
func (r Rule) atoms(s Selector) []atom {
	to := r.To
	if len(to) == 0 {
		to = allAddresses
	}
	var list []atom
	for _, t := range to {
		switch s.Kind {
		case ByIngress:
			for _, name := range s.Ingress {
				list = append(list, atom{ingress: name, to: t})
			}
		case ByClient:
			list = append(list, atom{client: s.Client, to: t})
		case ByPrefix:
			if s.Prefix.Addr().Is4() == t.Addr().Is4() {
				list = append(list, atom{from: s.Prefix, to: t})
			}
		}
	}
	return list
}

// checkReach refuses rules that no packet can reach, because earlier ones match all of them. It
// warns of selectors that no packet can reach.
func (d *decoder) checkReach() {
	ingresses := d.cfg.IngressNames()
	var before []atom
	for _, rule := range d.cfg.Policy {
		var mine []atom
		var dead []Selector
		for _, s := range rule.From {
			atoms := rule.atoms(s)
			mine = append(mine, atoms...)
			if !slices.ContainsFunc(atoms,
				func(a atom) bool { return !covered(a, before, ingresses) }) {
				dead = append(dead, s)
			}
		}
		switch {
		case len(dead) < len(rule.From):
			for _, s := range dead {
				d.warn(s.Pos, fmt.Sprintf("%s never gets here: earlier rules take all of it",
					s.Text))
			}
		case len(mine) == 0:
			d.fail(rule.Pos, ErrUnreachable,
				"this rule can never match: `from` and `to` are of different IP versions",
				"write both in IPv4 or both in IPv6")
		default:
			d.fail(rule.Pos, ErrUnreachable,
				"this rule can never match: earlier rules take everything that it selects",
				"move it up, before the more general rule, or remove it")
		}
		if len(rule.At) == 0 { // at other times, what it selects comes to later rules
			before = append(before, mine...)
		}
	}
}

// covered reports whether earlier atoms match everything that a does.
func covered(a atom, before []atom, ingresses []string) bool {
	open := map[string]bool{} // ingresses by which a may still arrive here
	for _, name := range ingresses {
		open[name] = a.ingress == "" && a.client == "" || a.ingress == name || a.client != "" &&
			name == EndpointIngress
	}
	for _, b := range before {
		if !within(a.to, b.to) {
			continue
		}
		switch {
		case b.client != "" && b.client == a.client, b.from.IsValid() && within(a.from, b.from):
			return true
		case b.ingress != "":
			open[b.ingress] = false
		}
	}
	for _, still := range open {
		if still {
			return false
		}
	}
	return true
}

func within(inner, outer netip.Prefix) bool {
	return inner.IsValid() && outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

package policyroute

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// links are the TUN devices of ours that are present. One that appears later is left alone until it
// is known: brought up before its sysctls are set, it would make itself a link-local address, and
// main would gain a route.
func (c *compiler) links() []Link {
	byName := map[string]*Link{}
	var order []string
	add := func(name string, mtu int, addrs []netip.Prefix) {
		l := byName[name]
		if l == nil {
			l = &Link{Name: name, Up: true}
			byName[name] = l
			order = append(order, name)
		}
		l.MTU = max(l.MTU, mtu)
		for _, a := range addrs {
			// This is a single address, whatever the length of its subnet. Of two addresses in one
			// subnet the kernel makes the later one secondary and removes it with the first
			// (promote_secondaries=0), so that no address could be added before the old one goes.
			single := netip.PrefixFrom(a.Addr(), a.Addr().BitLen())
			if !slices.Contains(l.Addrs, single) {
				l.Addrs = append(l.Addrs, single)
			}
		}
	}
	for _, g := range c.in.Ingresses {
		if g.Owned && g.Present {
			add(g.Iface, g.MTU, g.Addrs)
		}
	}
	for _, e := range c.in.Egresses {
		if e.Owned && e.Present {
			add(e.Iface, e.MTU, e.Addrs)
		}
	}
	var out []Link
	for _, name := range order {
		out = append(out, *byName[name])
	}
	return out
}

// sysctls are set for interfaces that are present; of others there are no keys.
func (c *compiler) sysctls() []Sysctl {
	values := map[string]string{}
	forward := func(iface string) {
		values["net/ipv4/conf/"+iface+"/forwarding"] = "1"
		if c.in.ForceForwarding6 && c.forwards6() {
			values["net/ipv6/conf/"+iface+"/force_forwarding"] = "1"
		}
	}
	owned := func(iface string) {
		// No link-local address, so that main's IPv6 table does not gain its route.
		values["net/ipv6/conf/"+iface+"/addr_gen_mode"] = "1"
		// A host without IPv6 of its own has it switched off on every new device. In a tunnel it is
		// carried, or refused at once.
		values["net/ipv6/conf/"+iface+"/disable_ipv6"] = "0"
	}
	ingress := map[string]bool{}
	for _, g := range c.in.Ingresses {
		ingress[g.Iface] = true
		if g.Present {
			forward(g.Iface)
			maps.Copy(values, unconfigured(g.Iface))
			if g.Owned {
				owned(g.Iface)
				values["net/ipv4/conf/"+g.Iface+"/rp_filter"] = "2"
			}
		}
	}
	for _, e := range c.in.Egresses {
		if !e.Present {
			continue
		}
		forward(e.Iface)
		if e.Owned {
			owned(e.Iface)
		}
		if e.Owned || e.Kind == EgressPeer {
			// The Internet answers by a device that main would not use for it: strict filtering
			// drops that. A WAN is what main uses, and keeps its owner's setting.
			values["net/ipv4/conf/"+e.Iface+"/rp_filter"] = "2"
		}
	}
	if !c.in.ForceForwarding6 && c.forwards6() {
		for _, l := range c.in.Links6 {
			if !ingress[l] {
				values["net/ipv6/conf/"+l+"/accept_ra"] = "2"
			}
		}
		values["net/ipv6/conf/all/forwarding"] = "1"
	}
	out := c.roomForNeighbours()
	for k, v := range values {
		out = append(out, Sysctl{Key: k, Value: v})
	}
	return out
}

func (c *compiler) roomForNeighbours() []Sysctl {
	var out []Sysctl
	for _, f := range c.in.MoreNeighbours {
		out = append(out, Sysctl{Key: NeighbourKey(f), Value: strconv.Itoa(NeighbourMax)})
	}
	return out
}

// NeighbourKey returns the parameter that limits the neighbours of an IP version. Only the first
// network namespace of a machine has it, for all of them.
func NeighbourKey(f Family) string { return "net/" + f.String() + "/neigh/default/gc_thresh3" }

// unconfigured are the parameters that keep clients from configuring the box.
func unconfigured(iface string) map[string]string {
	return map[string]string{
		"net/ipv6/conf/" + iface + "/accept_ra":        "0",
		"net/ipv6/conf/" + iface + "/autoconf":         "0",
		"net/ipv6/conf/" + iface + "/accept_redirects": "0",
		"net/ipv4/conf/" + iface + "/accept_redirects": "0",
		// Along a route that the sender gives, the filter would see the box as the destination.
		"net/ipv4/conf/" + iface + "/accept_source_route": "0",
		"net/ipv6/conf/" + iface + "/seg6_enabled":        "0",
		"net/ipv6/conf/" + iface + "/rpl_seg_enabled":     "0",
		// Else ARP tells of addresses of other links, and who asks from invented addresses fills
		// the kernel's table of neighbours. The filter sees no ARP.
		"net/ipv4/conf/" + iface + "/arp_ignore": "1",
		"net/ipv4/conf/" + iface + "/arp_filter": "1",
	}
}

// Unconfigured returns the parameters that keep clients from configuring the box by an interface,
// where Closed closes it; else none.
func Unconfigured(closed State, iface string) []Sysctl {
	var out []Sysctl
	for _, c := range closed.Nft.Chains {
		enters := func(r NftRule) bool { return r.IIF != "" && namesMatch(r.IIF, iface) }
		if c.Hook == nil || c.Hook.Hook != "prerouting" || !slices.ContainsFunc(c.Rules, enters) {
			continue
		}
		values := unconfigured(iface)
		for _, key := range slices.Sorted(maps.Keys(values)) {
			out = append(out, Sysctl{Key: key, Value: values[key]})
		}
	}
	return out
}

// forwards6 reports whether there is somewhere for IPv6 to go. Refusing it needs no forwarding: the
// kernel answers for an unreachable route without.
func (c *compiler) forwards6() bool {
	if slices.ContainsFunc(c.in.Egresses, func(e Egress) bool { return e.IPv6 }) {
		return true
	}
	has6 := func(name string) bool {
		return slices.ContainsFunc(c.members, func(m member) bool {
			return m.ingress.Name == name && m.prefix.Addr().Is6()
		})
	}
	return slices.ContainsFunc(c.in.Peerings, func(p Peering) bool {
		return has6(p.From) && has6(p.To)
	})
}

const replies = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"

// iptables are the accepts that other people's filters would veto. They refuse nothing: that is the
// business of table inet ztb, which these cannot overrule.
func (c *compiler) iptables() []Chain {
	var chains []Chain
	for _, f := range Families {
		if rules := c.forwardAccepts(f); len(rules) > 0 {
			chains = append(chains,
				Chain{Family: f, Name: ChainForward, Parent: "FORWARD", Rules: rules})
		}
		if rules := c.inputAccepts(); len(rules) > 0 {
			chains = append(chains,
				Chain{Family: f, Name: ChainInput, Parent: "INPUT", Rules: rules})
		}
	}
	return chains
}

func (c *compiler) forwardAccepts(f Family) []string {
	var rules []string
	add := func(format string, args ...any) {
		if r := fmt.Sprintf(format, args...); !slices.Contains(rules, r) {
			rules = append(rules, r)
		}
	}
	for _, g := range c.in.Ingresses {
		for _, e := range c.egressIfaces() {
			add("-i %s -o %s -j ACCEPT", g.Iface, e)
			add("-i %s -o %s %s", e, g.Iface, replies)
		}
		for _, peer := range c.in.Ingresses {
			if c.peers(&g, &peer) {
				add("-i %s -o %s -j ACCEPT", g.Iface, peer.Iface)
				add("-i %s -o %s %s", peer.Iface, g.Iface, replies)
			}
		}
		for _, in := range c.inbound(f, &g) {
			e := c.egress[in.Egress]
			if len(in.Ports) == 0 {
				add("-d %s -i %s -o %s -p %s -j ACCEPT", in.To, e.Iface, g.Iface, in.Proto)
			}
			for _, port := range in.Ports {
				add("-d %s -i %s -o %s -p %[4]s -m %[4]s --dport %d -j ACCEPT", in.To, e.Iface,
					g.Iface, in.Proto, port)
			}
		}
	}
	return rules
}

func (c *compiler) inputAccepts() []string {
	var rules []string
	add := func(match, proto string, port uint16) {
		r := strings.TrimSpace(fmt.Sprintf("%s -p %[2]s -m %[2]s --dport %[3]d -j ACCEPT", match,
			proto, port))
		if !slices.Contains(rules, r) {
			rules = append(rules, r)
		}
	}
	for _, l := range c.in.Listeners {
		add("", l.Proto, l.Port)
	}
	for _, g := range c.in.Ingresses {
		for _, e := range c.in.Egresses {
			if e.ResolverPort != 0 {
				add("-i "+g.Iface, "tcp", e.ResolverPort)
				add("-i "+g.Iface, "udp", e.ResolverPort)
			}
		}
	}
	return rules
}

// egressIfaces are the known devices of egresses, each once, in the egresses' order.
func (c *compiler) egressIfaces() []string {
	var out []string
	for _, e := range c.in.Egresses {
		if e.Iface != "" && !slices.Contains(out, e.Iface) {
			out = append(out, e.Iface)
		}
	}
	return out
}

// tunnels are the egresses that have a device of ours.
func (c *compiler) tunnels() []Egress {
	var out []Egress
	for _, e := range c.in.Egresses {
		if e.Owned && e.Iface != "" {
			out = append(out, e)
		}
	}
	return out
}

func (c *compiler) peers(from, to *Ingress) bool {
	return slices.Contains(c.in.Peerings, Peering{From: from.Name, To: to.Name})
}

// inbound are the allowances that lead to an ingress: to prefixes behind it, as far as these are
// known.
func (c *compiler) inbound(f Family, g *Ingress) []Inbound {
	var out []Inbound
	for _, in := range c.in.Inbound {
		behind := len(g.Prefixes) == 0 || slices.ContainsFunc(g.Prefixes, in.To.Overlaps)
		if FamilyOf(in.To.Addr()) == f && behind && c.egress[in.Egress].Iface != "" {
			in.To = in.To.Masked()
			out = append(out, in)
		}
	}
	return out
}

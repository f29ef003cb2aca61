package status

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ztbridge/bridge/config"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/health"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// leastMTU6 is the least MTU of a link that carries IPv6 (RFC 8200, section 5).
const leastMTU6 = 1280

// linkAddrs are addresses of links, by name.
type linkAddrs map[string][]netip.Prefix

// follow returns the present addresses of the links where devices enter; of an IP version that a
// link has none of now, the last ones.
func (last *linkAddrs) follow(in Input) linkAddrs {
	now := linkAddrs{}
	for _, i := range in.Config.Interfaces {
		link, _ := in.Snapshot.Host.Link(i.Iface)
		for _, f := range policyroute.Families {
			addrs := givenOf(link.Configured(), f)
			if len(addrs) == 0 {
				addrs = givenOf((*last)[i.Iface], f)
			}
			now[i.Iface] = append(now[i.Iface], addrs...)
		}
	}
	*last = now
	return now
}

// givenOf returns the addresses of one IP version, without those of the link alone: the kernel
// makes them by itself, and they lead nowhere.
func givenOf(addrs []netip.Prefix, f policyroute.Family) (out []netip.Prefix) {
	for _, p := range addrs {
		if policyroute.FamilyOf(p.Addr()) == f && !p.Addr().IsLinkLocalUnicast() {
			out = append(out, p)
		}
	}
	return out
}

// linkProblems returns why devices cannot enter by an interface of the configuration.
func linkProblems(in Input, i config.Interface) []health.Problem {
	link, exists := in.Snapshot.Host.Link(i.Iface)
	switch {
	case !exists:
		return []health.Problem{missingLink(in, i)}
	case !link.Up: // which takes its IPv6 addresses away
		commands := []string{"ip link set " + i.Iface + " up"}
		for _, p := range in.addrs[i.Iface] {
			if !slices.Contains(link.Addrs, p) {
				commands = append(commands, giveBack(p, i.Iface))
			}
		}
		return []health.Problem{{Code: health.IngressDown, Subject: i.Name,
			Message: "interface " + i.Iface + " is switched off: devices behind it reach nothing",
			Remedy:  "switch it on", Command: strings.Join(commands, " && ")}}
	}
	var out []health.Problem
	for _, f := range policyroute.Families {
		if p, lost := lostAddress(link, f, in.addrs[i.Iface]); lost {
			p.Subject = i.Name
			out = append(out, p)
		}
	}
	return out
}

// missingLink tells of an interface that does not exist. One that had addresses before had devices,
// too; what has those addresses now is it by another name.
func missingLink(in Input, i config.Interface) health.Problem {
	p := health.Problem{Code: health.IngressMissing, Subject: i.Name,
		Message: "there is no interface " + i.Iface + ": nothing can enter there",
		Remedy:  "create it, or correct its name in the configuration"}
	last := in.addrs[i.Iface]
	if len(last) == 0 {
		return p
	}
	p.Severity, p.Message = health.Error, fmt.Sprintf(
		"interface %s is gone: devices behind it have no Internet", i.Iface)
	p.Remedy = "plug it in or create it again; if it has another name now, correct it under " +
		"ingress:, then: ztbridge reload"
	for _, l := range in.Snapshot.Host.Links {
		if slices.ContainsFunc(l.Addrs, func(a netip.Prefix) bool {
			return slices.Contains(last, a)
		}) {
			p.Message = fmt.Sprintf("interface %s is called %s now: devices behind it have no "+
				"Internet", i.Iface, l.Name)
			p.Remedy = fmt.Sprintf("write %s instead of it under ingress:, then: ztbridge reload",
				l.Name)
		}
	}
	return p
}

// giveBack returns the command that gives a link its address again.
func giveBack(p netip.Prefix, link string) string {
	return fmt.Sprintf("ip addr replace %s dev %s", p, link)
}

// lostAddress returns the problem of a link that had addresses of an IP version and has none now.
func lostAddress(link kernel.Link, f policyroute.Family,
	last []netip.Prefix) (health.Problem, bool) {
	lost := givenOf(last, f)
	if len(givenOf(link.Configured(), f)) > 0 || len(lost) == 0 {
		return health.Problem{}, false
	}
	var commands []string
	why := ""
	switch {
	case f == policyroute.V6 && link.MTU < leastMTU6:
		why = fmt.Sprintf(": its MTU of %d is too small for IPv6", link.MTU)
		commands = append(commands, fmt.Sprintf("ip link set %s mtu 1500", link.Name))
	case f == policyroute.V6 && link.NoIPv6:
		why = ": IPv6 is switched off there"
		commands = append(commands,
			fmt.Sprintf("sysctl -w net.ipv6.conf.%s.disable_ipv6=0", link.Name))
	}
	for _, p := range lost {
		commands = append(commands, giveBack(p, link.Name))
	}
	return health.Problem{Code: health.IngressAddress,
		Message: fmt.Sprintf("interface %s has lost its %s address%s: devices behind it have no "+
			"%[2]s",
			link.Name, familyName(f), why),
		Remedy:  "give it back, and see which program took it away",
		Command: strings.Join(commands, " && ")}, true
}

// unusable returns why an ingress that is there, with its addresses, is of no use: it does not ask
// for its neighbours; another machine has claimed an address, so that Linux answers for it no more
// until a person acts; or there is none of the link itself, from which Linux asks for the
// neighbours that it forwards to.
func unusable(g policyroute.Ingress, link kernel.Link) (out []health.Problem) {
	if link.Up && link.NoARP {
		out = append(out, health.Problem{Code: health.IngressDown, Subject: g.Name,
			Message: "interface " + g.Iface + " does not ask for its neighbours (arp off): " +
				"devices behind it get no answers",
			Remedy:  "switch ARP on, and see which program switched it off",
			Command: "ip link set " + g.Iface + " arp on"})
	}
	for _, p := range link.Taken {
		out = append(out, health.Problem{Code: health.IngressAddress, Subject: g.Name,
			Message: fmt.Sprintf("another machine behind %s uses %s, an address of this box: "+
				"devices there may have no IPv6", g.Iface, p.Addr()),
			Remedy: "find that machine and give it another address; then give this one back",
			Command: fmt.Sprintf("ip -6 addr del %s dev %s && ip -6 addr add %[1]s dev %[2]s nodad",
				p, g.Iface)})
	}
	linkLocal := func(p netip.Prefix) bool {
		return p.Addr().Is6() && p.Addr().IsLinkLocalUnicast()
	}
	if link.Up && !link.PointToPoint && len(givenOf(link.Addrs, policyroute.V6)) > 0 &&
		!slices.ContainsFunc(link.Addrs, linkLocal) {
		out = append(out, health.Problem{Code: health.IngressAddress, Subject: g.Name,
			Message: fmt.Sprintf("interface %s has no link-local address: devices behind it have "+
				"no IPv6", g.Iface),
			Remedy: "give it one, and see which program took it away",
			Command: fmt.Sprintf("sysctl -w net.ipv6.conf.%s.addr_gen_mode=1 "+
				"net.ipv6.conf.%[1]s.addr_gen_mode=0", g.Iface)})
	}
	return out
}

// shared returns the networks of an ingress's link that another link is in as well. Of a ZeroTier
// network, overlapsOf tells. The box's own network may be inside a wide one behind a router.
func shared(g policyroute.Ingress, link kernel.Link) (out []health.Problem) {
	for _, p := range g.Elsewhere {
		if strings.HasPrefix(g.Iface, "zt") ||
			!slices.ContainsFunc(decide.Subnets(link.Addrs), p.Overlaps) {
			continue
		}
		out = append(out, health.Problem{Code: health.NetworkOverlap, Subject: g.Name,
			Message: fmt.Sprintf("devices behind %s with an address in %s may get no answers: "+
				"another interface of this box is in that network, too", g.Iface, p),
			Remedy: "renumber one of the two networks"})
	}
	return out
}

// ingressProblems returns problems of interfaces by which clients could reach the box's own
// traffic, or avoid their policy.
func ingressProblems(intent policyroute.Intent, host decide.HostState) []health.Problem {
	var out []health.Problem
	for _, g := range intent.Ingresses {
		link, _ := host.Link(g.Iface)
		out = append(append(out, unusable(g, link)...), shared(g, link)...)
		for _, r := range host.Defaults {
			if r.Iface != g.Iface {
				continue
			}
			via := ""
			if r.Gateway.IsValid() {
				via = " via " + r.Gateway.String()
			}
			version := "-4"
			if r.Family == policyroute.V6 {
				version = "-6"
			}
			out = append(out, health.Problem{Code: health.IngressDefault, Subject: g.Name,
				Message: fmt.Sprintf("this box has a default route%s by %s, where devices enter: "+
					"its own traffic may go to one of them", via, g.Iface),
				Remedy: fmt.Sprintf("remove it: ip %s route del default%s dev %s", version, via,
					g.Iface)})
		}
		for _, name := range intent.Stacked {
			link, _ := host.Link(name)
			switch {
			case link.Former == g.Iface && !host.Exists(g.Iface) && !g.Owned &&
				!strings.HasPrefix(g.Iface, "zt"): // missingLink tells of it
			case link.Former == g.Iface:
				out = append(out, health.Problem{Code: health.IngressStacked, Subject: g.Name,
					Message: fmt.Sprintf("interface %s, where devices enter, is called %s now: "+
						"what enters by it is blocked", g.Iface, name),
					Remedy: "rename it back, and see which program renamed it",
					Command: fmt.Sprintf("ip link set %s down && ip link set %[1]s name %s && "+
						"ip link set %[2]s up", name, g.Iface)})
			case host.StackedOn(name, g.Iface):
				out = append(out, health.Problem{Code: health.IngressStacked, Subject: g.Name,
					Message: fmt.Sprintf("interface %s, where devices enter, is part of %s: what "+
						"enters by %[2]s is blocked", g.Iface, name),
					Remedy: fmt.Sprintf("see ip -d link show %s; take %s out of it, or make it "+
						"the ingress", name, g.Iface)})
			}
		}
	}
	return out
}

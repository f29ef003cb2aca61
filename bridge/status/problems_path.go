package status

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ztbridge/bridge/config"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/health"
	"ztbridge/bridge/pathcheck"
	"ztbridge/bridge/probe"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// pathProblems returns the problems that the box's own clients found.
func pathProblems(in Input) []health.Problem {
	s, d := in.Snapshot, in.Decided
	var out []health.Problem
	for _, v := range s.Paths.Diversions {
		out = appendProblem(out, diversionProblem(in, v))
	}
	for _, b := range s.Paths.IfaceBlocks {
		out = appendProblem(out, blockProblem(in, b))
	}
	if s.Paths.Err != nil {
		out = append(out, health.Problem{Code: health.PathUnchecked,
			Message: "whether devices get through cannot be checked: " + s.Paths.Err.Error()})
	}
	for _, c := range d.PathClients {
		r, checked := s.Paths.Results[c.Key]
		if !checked || c.Egress == "" || r.Plan != c.Plan || r.Works() || r.Err != nil {
			continue
		}
		// What keeps a whole ingress out is told once, of that ingress.
		if explained(in, c) {
			continue
		}
		if p, found := pathProblem(in, c, r); found {
			out = append(out, p)
		}
	}
	out = append(append(out, backupResolvers(in)...), lacksIPv4(in)...)
	return append(out, uncoveredIngresses(in)...)
}

// appendProblem adds a problem, unless it is told already: the listeners of the endpoint are one
// ingress to a person.
func appendProblem(list []health.Problem, p health.Problem) []health.Problem {
	if slices.ContainsFunc(list, func(o health.Problem) bool {
		return o.Code == p.Code && o.Subject == p.Subject && o.Message == p.Message
	}) {
		return list
	}
	return append(list, p)
}

// devicesBehind names, for a person, who comes by an interface.
func devicesBehind(in Input, iface string) string {
	if ingressKind(in.Config, iface) == "endpoint" {
		return "clients of the endpoint"
	}
	return "devices behind " + iface
}

// deviceBehind names one of them.
func deviceBehind(in Input, iface string, device netip.Addr) string {
	for name, addrs := range in.Snapshot.Clients {
		if slices.Contains(addrs, device) {
			return fmt.Sprintf("client %s (%s)", name, device)
		}
	}
	return fmt.Sprintf("device %s behind %s", device, iface)
}

// diversionProblem tells what another program's routing takes away.
func diversionProblem(in Input, v kernel.Diversion) health.Problem {
	what, whose, who := "%s do not use ztbridge", "their traffic", devicesBehind(in, v.Iface)
	if v.Some {
		what, whose = "some traffic of %s does not use ztbridge", "it"
	}
	if policy, isPolicy := strings.CutPrefix(v.Rule, "xfrm policy "); isPolicy {
		return health.Problem{Code: health.PathDiverted, Subject: v.Rule,
			Message: fmt.Sprintf("packets of %s are thrown away by another program's IPsec "+
				"policy (%s)", who, policy),
			Remedy:  "remove that policy, here and in the configuration of that program",
			Command: v.Remove}
	}
	route, isRoute := strings.CutPrefix(v.Rule, "route ")
	if isRoute {
		does := "thrown away"
		if v.Elsewhere {
			does = "sent elsewhere"
		}
		return health.Problem{Code: health.PathDiverted, Subject: v.Rule,
			Message: fmt.Sprintf("answers to %s are %s by another program's route (%s)", who, does,
				route),
			Remedy: "remove that route", Command: v.Remove}
	}
	return health.Problem{Code: health.PathDiverted, Subject: v.Rule,
		Message: fmt.Sprintf(what+": another program's routing rule takes %s away (%s)", who,
			whose, v.Rule),
		Remedy: "remove that rule", Command: v.Remove}
}

// blockProblem tells which filter keeps an ingress, or one device, out.
func blockProblem(in Input, b kernel.IfaceBlock) health.Problem {
	who, have, whose, lost := devicesBehind(in, b.Iface), "have", "their", "Internet"
	if b.Device.IsValid() {
		who, have, whose = deviceBehind(in, b.Iface, b.Device), "has", "its"
	}
	if b.Family != 0 {
		lost = familyName(b.Family)
	}
	message := fmt.Sprintf("%s %s no %s: %s %s %s packets", who, have, lost, b.Block, b.Does(),
		whose)
	if b.Limited {
		message = fmt.Sprintf("%s %s hardly any %s: a limit lets only some of %s packets through, "+
			"and %s drops the others", who, have, lost, whose, b.Block)
	}
	// The box's own client meets the same filter.
	subject, ifaces := b.Iface, []string{decide.PathDevice, b.Iface}
	if ingressKind(in.Config, b.Iface) == "endpoint" {
		subject, ifaces = config.EndpointIngress, ifaces[:1]
		for _, l := range in.Config.Endpoint.Listen {
			ifaces = append(ifaces, decide.ListenerDevice(l))
		}
	}
	return health.Problem{Code: health.PathBlocked, Subject: subject, Message: message,
		Remedy: letThrough(b.Block), Command: b.Allow(ifaces, tunnels(in))}
}

// letThrough returns what ends a block, and keeps it from coming back: the command that stands
// beside it lasts until the filter is loaded again.
func letThrough(b kernel.Block) string {
	const remedy = "let through what ztbridge forwards"
	switch {
	case !strings.Contains(b.Table, "firewalld"):
		return remedy + "; do the same in the configuration of that firewall, or it comes back"
	case strings.Contains(b.Rule, "fib saddr"):
		return remedy + "; to keep it, set IPv6_rpfilter=no in /etc/firewalld/firewalld.conf"
	default:
		return remedy + "; to keep it, add these interfaces to firewalld's zone trusted " +
			"(firewall-cmd --permanent --zone=trusted --add-interface=NAME)"
	}
}

// tunnels returns the interfaces of egresses that are ours alone.
func tunnels(in Input) (out []string) {
	for _, e := range in.Decided.Intent.Egresses {
		if e.Owned && e.Present {
			out = append(out, e.Iface)
		}
	}
	return out
}

// explained reports whether what diverts or blocks an ingress explains that a client of the box's
// own gets no answer: it is told once.
func explained(in Input, c decide.PathClient) bool {
	s := in.Snapshot
	by, blocked := s.Paths.Blocks[c.Key]
	return slices.ContainsFunc(s.Paths.IfaceBlocks, func(b kernel.IfaceBlock) bool {
		if blocked {
			return b.Block.String() == by.String()
		}
		// no trace sees what drops packets before, or answers before they are translated
		return !b.Device.IsValid() && (b.Family == 0 || b.Family == c.Family) &&
			b.Hook != kernel.HookForward
	}) || (!blocked || by.Ours) && slices.ContainsFunc(s.Paths.Diversions,
		func(v kernel.Diversion) bool {
			return !v.Some && policyroute.FamilyOf(v.Src) == c.Family
		})
}

// pathProblem returns why a client of one list and IP version gets no answer. If the probes of its
// egress are not answered either, the egress's own problem explains it.
func pathProblem(in Input, c decide.PathClient, r pathcheck.Result) (health.Problem, bool) {
	s := in.Snapshot
	failed, all := failedKinds(r)
	what := fmt.Sprintf("devices that use %s have no %s", c.Egress, familyName(c.Family))
	if !all {
		what = fmt.Sprintf("devices that use %s get no answer by %s over %s", c.Egress,
			joined(failed), familyName(c.Family))
	}
	if b, ok := s.Paths.Blocks[c.Key]; ok && !b.Ours {
		ifaces := []string{decide.PathDevice}
		for _, g := range in.Decided.Intent.Ingresses {
			if g.Iface != decide.PathDevice {
				ifaces = append(ifaces, g.Iface)
			}
		}
		return health.Problem{Code: health.PathBlocked, Subject: c.Key,
			Message: fmt.Sprintf("%s: %s drops their packets", what, b),
			Remedy:  letThrough(b),
			Command: b.Allow(ifaces, tunnels(in))}, true
	}
	dns, echo, tcp, udp := r.Outcomes[pathcheck.DNS], r.Outcomes[pathcheck.Echo],
		r.Outcomes[pathcheck.TCP], r.Outcomes[pathcheck.UDP]
	refuses := "drops"
	if tcp.Refused == pathcheck.Resets {
		refuses = "resets"
	}
	switch {
	case dns.Asked && !dns.Answered && (echo.Answered || tcp.Answered):
		why := cmp.Or(dns.Refused, "does not answer")
		return health.Problem{Code: health.DNSUnanswered, Subject: c.Key,
			Message: fmt.Sprintf("devices that use %s cannot look up names: its DNS server %s %s",
				c.Egress, resolverOf(in.Decided.Intent, c), why),
			Remedy: fmt.Sprintf("name another one, as %s: {…, dns: [9.9.9.9]} under egress:, "+
				"then: ztbridge reload", c.Egress)}, true
	case echo.Answered && !tcp.Answered && r.Ever[pathcheck.TCP] && s.Paths.Traced[c.Key]:
		return health.Problem{Code: health.PathBroken, Subject: c.Key,
			Message: fmt.Sprintf("%s, though pings are answered: %s, or a network beyond it, "+
				"%s connections", what, c.Egress, refuses),
			Remedy: "ask the provider, or put another egress first in the rule"}, true
	case echo.Answered && tcp.Answered && udp.Asked && !udp.Answered && s.Paths.Traced[c.Key]:
		return health.Problem{Code: health.PathBroken, Subject: c.Key, Severity: health.Warning,
			Message: fmt.Sprintf("%s, though pings and connections are answered: %s, or a "+
				"network beyond it, drops UDP to port %d at least; calls and games may need it, "+
				"pages do not", what, c.Egress, pathcheck.WebPort),
			Remedy: "ask the provider, or put another egress first in the rule"}, true
	case !echo.Answered && !tcp.Answered && getsThrough(s, c) && s.Paths.Traced[c.Key]:
		return health.Problem{Code: health.PathBroken, Subject: c.Key,
			Message: fmt.Sprintf("%s, though this box itself gets through by it: what it "+
				"forwards is lost here or at the other end", what),
			Remedy: "run ztbridge doctor; if all else is well, ask the provider"}, true
	}
	if !echo.Answered && !tcp.Answered && !getsThrough(s, c) {
		const more = ", or add another egress to the rule: it would take over"
		p := health.Problem{Code: health.EgressSilent, Subject: c.Key,
			Message: fmt.Sprintf("%s: nothing beyond %s answers", what, c.Egress),
			Remedy:  "ask the provider" + more}
		if s.Peers[c.Egress].Grade >= probe.Fresh {
			p.Message += ", though the machine that it leads to does"
			p.Remedy = "see whether that machine lets this box through, and has Internet " +
				"itself: ztbridge status there" + more
		}
		return p, true
	}
	return health.Problem{}, false
}

// toldSilent reports whether devices are said to get nothing by an egress: then it does not work
// all the same.
func toldSilent(in Input, told []health.Problem, egress string) bool {
	return slices.ContainsFunc(told, func(p health.Problem) bool {
		return p.Code == health.EgressSilent && slices.ContainsFunc(in.Decided.PathClients,
			func(c decide.PathClient) bool { return c.Key == p.Subject && c.Egress == egress })
	})
}

// getsThrough reports whether the box's own packets are answered while the client's are not.
func getsThrough(s decide.Snapshot, c decide.PathClient) bool {
	p, version := s.Probes[c.Egress], decide.ProbeVersion(c.Family)
	if p.Asked[version] {
		return p.Of[version] >= probe.Fresh
	}
	return p.Grade >= probe.Fresh
}

// failedKinds returns the kinds that were not answered, and whether those are all that were asked.
func failedKinds(r pathcheck.Result) (failed []string, all bool) {
	all = true
	for _, k := range pathcheck.Kinds {
		if r.Outcomes[k].Answered {
			all = false
		} else if r.Outcomes[k].Asked {
			failed = append(failed, k.String())
		}
	}
	return failed, all
}

// joined lists words as a sentence does.
func joined(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " and " + words[last]
}

func familyName(f policyroute.Family) string {
	if f == policyroute.V6 {
		return "IPv6"
	}
	return "IPv4"
}

// resolverOf returns the resolver that a client's queries are steered to.
func resolverOf(intent policyroute.Intent, c decide.PathClient) string {
	for _, e := range intent.Egresses {
		if e.Name != c.Egress {
			continue
		}
		for _, a := range e.DNS {
			if policyroute.FamilyOf(a) == c.Family {
				return a.String()
			}
		}
	}
	return "over TLS"
}

// backupResolvers returns problems of dead resolvers that others replace.
func backupResolvers(in Input) []health.Problem {
	var out []health.Problem
	for _, e := range in.Decided.Intent.Egresses {
		for _, a := range e.DNS {
			of := decide.ResolverOf{Egress: e.Name, Addr: a}
			if !in.Snapshot.DeadResolvers[of] {
				continue
			}
			p := health.Problem{Code: health.DNSBackup,
				Subject: e.Name + " " + a.String(),
				Message: fmt.Sprintf("DNS server %s of %s does not look names up", a, e.Name),
				Remedy: fmt.Sprintf("if it does not come back, name others, as %s: {…, dns: "+
					"[9.9.9.9]} under egress:, then: ztbridge reload", e.Name)}
			if in.Snapshot.BackResolvers[of] {
				p.Severity, p.Remedy = health.Info, "nothing is left to do"
				p.Message = fmt.Sprintf("DNS server %s of %s answers again; it is used again in "+
					"half a minute if it goes on", a, e.Name)
			}
			out = append(out, p)
		}
	}
	return out
}

// uncoveredIngresses returns ingresses that no rule of the policy names: all their traffic is
// refused, which nobody configures an ingress for.
func uncoveredIngresses(in Input) []health.Problem {
	var out []health.Problem
	for _, g := range in.Decided.Intent.Ingresses {
		if g.Iface == decide.PathDevice || peers(in, g.Name) ||
			slices.ContainsFunc(in.Config.Policy,
				func(r config.Rule) bool { return mayMatch(r, g, in.Snapshot) }) {
			continue
		}
		name := g.Name
		if ingressKind(in.Config, g.Name) == "endpoint" {
			name = config.EndpointIngress
		}
		if slices.ContainsFunc(out, func(p health.Problem) bool { return p.Subject == name }) {
			continue // the listeners of the endpoint are one ingress to a person
		}
		p := health.Problem{Code: health.IngressUncovered, Subject: name,
			Message: fmt.Sprintf("devices that come by %s have no Internet: no rule of the "+
				"policy covers them", name),
			Remedy: fmt.Sprintf("add %s to from: of a rule under policy:, then: ztbridge "+
				"reload", name)}
		if leadsThrough(in.Config, g.Name) { // it may be here for that alone
			p.Severity = health.Info
			p.Remedy = "nothing, if they should have none; else " + p.Remedy
		}
		out = append(out, p)
	}
	return out
}

// leadsThrough reports whether an egress leads through a network.
func leadsThrough(cfg *config.Config, network string) bool {
	return slices.ContainsFunc(cfg.Egresses, func(e config.Egress) bool {
		return e.Peer != nil && e.Peer.Network == network
	})
}

// peers reports whether a peering names the ingress: it may be meant for nothing else.
func peers(in Input, ingress string) bool {
	return slices.ContainsFunc(in.Config.Peering, func(p config.Peering) bool {
		return slices.Contains(decide.Expand([]string{p.From, p.To}, in.Snapshot), ingress)
	})
}

// mayMatch reports whether a rule can match a packet that enters by the ingress. A client named by
// a rule is a client of the endpoint.
func mayMatch(r config.Rule, g policyroute.Ingress, s decide.Snapshot) bool {
	if len(r.From) == 0 {
		return true
	}
	return slices.ContainsFunc(r.From, func(sel config.Selector) bool {
		switch sel.Kind {
		case config.ByIngress:
			return slices.Contains(decide.Expand(sel.Ingress, s), g.Name)
		case config.ByPrefix:
			return len(g.Prefixes) == 0 || slices.ContainsFunc(g.Prefixes, sel.Prefix.Overlaps)
		default:
			return g.Owned
		}
	})
}

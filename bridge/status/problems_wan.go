package status

import (
	"fmt"
	"net/netip"
	"slices"

	"ztbridge/bridge/decide"
	"ztbridge/bridge/health"
	"ztbridge/bridge/openvpn/client"
	"ztbridge/bridge/portal"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// remedySignIn is for networks that want a person to sign in first.
const remedySignIn = "sign in with a browser on another device in this network, or ask who runs " +
	"it; then the exit connects by itself"

// wanProblems returns problems of the box's own connection.
func wanProblems(in Input) []health.Problem {
	s := in.Snapshot
	const remedy = "check the router's own connection, or restart it; the network of a hotel or " +
		"café may want a sign-in first"
	switch {
	case decide.UplinkID(s.Host) == "":
		return []health.Problem{{Code: health.WANDown,
			Message: "this box has no Internet connection: no default route",
			Remedy:  "check its cable, Wi-Fi or DHCP"}}
	case s.SignIn == portal.OwnPage && decide.UplinkSilent(s):
		return []health.Problem{{Code: health.WANSignIn,
			Message: "this network seems to want a sign-in first: it answers web requests in the " +
				"place of others, and nothing else",
			Remedy: remedySignIn}}
	case s.SignIn != "" && s.SignIn != portal.OwnPage:
		return []health.Problem{{Code: health.WANSignIn,
			Message: fmt.Sprintf("this network wants a sign-in first: it leads web requests to %s",
				s.SignIn),
			Remedy: remedySignIn}}
	case decide.UplinkSilent(s):
		return []health.Problem{lineProblem(s, health.Problem{Code: health.WANSilent,
			Message: fmt.Sprintf("nothing on the Internet answers this box: %s passes nothing "+
				"on", gatewayOf(s.Host, policyroute.Families[:]...)),
			Remedy: remedy}, policyroute.Families[:]...)}
	}
	var out []health.Problem
	for _, f := range policyroute.Families {
		if !decide.UplinkSilentOver(s, f) {
			continue
		}
		// What needs the other version alone is not concerned.
		if e := waitsOver(s, f); e != "" {
			out = append(out, lineProblem(s, health.Problem{Code: health.WANSilent,
				Message: fmt.Sprintf("nothing on the Internet answers this box over %s: %s "+
					"passes none of it on, and %s needs it", familyName(f),
					gatewayOf(s.Host, f), e),
				Remedy: remedy}, f))
		}
	}
	return append(out, signIns(in)...)
}

// lineProblem adds what helps beside the router: what somebody has fixed of it, or another line.
func lineProblem(s decide.Snapshot, p health.Problem, of ...policyroute.Family) health.Problem {
	p = fixedRouter(s, p, of...)
	for _, r := range s.Host.Defaults {
		first := s.Host.Default(r.Family)
		if p.Command == "" && slices.Contains(of, r.Family) && r.Iface != first.Iface &&
			first.Gateway.IsValid() {
			p.Remedy += fmt.Sprintf("; or use this box's other line, %s: take away the default "+
				"route by %s, which comes first", r.Iface, first.Iface)
			p.Command = fmt.Sprintf("ip route del default via %s dev %s metric %d",
				first.Gateway, first.Iface, first.Metric)
		}
	}
	return p
}

// fixedRouter tells that somebody has fixed the router's hardware address, if so: where that is
// wrong, the router gets nothing that it could pass on.
func fixedRouter(s decide.Snapshot, p health.Problem, of ...policyroute.Family) health.Problem {
	for _, f := range of {
		mac, fixed := s.FixedRouters[f]
		if !fixed {
			continue
		}
		r := s.Host.Default(f)
		p.Message += fmt.Sprintf("; or what is sent to it goes astray: its hardware address is "+
			"fixed here as %s", mac)
		p.Remedy = "if that is not the router's, remove it; else " + p.Remedy
		p.Command = fmt.Sprintf("ip neigh del %s dev %s", r.Gateway, r.Iface)
		break
	}
	return p
}

// waitsOver returns an egress whose server is asked by an IP version, and does not answer; "" if
// there is none.
func waitsOver(s decide.Snapshot, f policyroute.Family) string {
	var names []string
	for name, t := range s.Tunnels {
		if t.State != client.StateUp && t.Server.IsValid() &&
			policyroute.FamilyOf(t.Server.Addr().Unmap()) == f {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Concat(names, []string{""})[0]
}

// signIns returns tunnels whose server's name leads to the box's own router: networks that want a
// person to sign in first answer every name so.
func signIns(in Input) []health.Problem {
	var out []health.Problem
	for _, e := range in.Config.Egresses {
		t := in.Snapshot.Tunnels[e.Name]
		server := t.Server.Addr().Unmap()
		_, literal := netip.ParseAddr(t.Remote.Host)
		// A tunnel that was up before may have its server on the router.
		if e.OpenVPN == nil || t.State == client.StateUp || t.Generation > 0 || literal == nil ||
			t.Remote.Host == "" || !slices.ContainsFunc(in.Snapshot.Host.Defaults,
			func(r kernel.DefaultRoute) bool { return r.Gateway == server }) {
			continue
		}
		out = append(out, health.Problem{Code: health.WANSignIn, Subject: e.Name,
			Message: fmt.Sprintf("this network seems to want a sign-in first: the name of %s's "+
				"server (%s) leads to its router (%s)", e.Name, t.Remote.Host, server),
			Remedy: remedySignIn})
	}
	return out
}

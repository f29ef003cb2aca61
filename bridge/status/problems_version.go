package status

import (
	"fmt"

	"ztbridge/bridge/config"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/health"
	"ztbridge/policyroute"
)

// lacksIPv4 returns egresses in use that carry no IPv4, though their devices have it. Where one
// carries no IPv6, devices fall back to IPv4 by themselves: nothing is wrong with that.
func lacksIPv4(in Input) []health.Problem {
	var out []health.Problem
	told := map[string]bool{}
	for _, c := range in.Decided.PathClients { // there is one only where devices have that version
		name := in.Decided.Choices[c.List].Of(c.Family)
		if c.Family != policyroute.V4 || name == "" || told[name] {
			continue
		}
		for i, e := range in.Decided.Intent.Egresses {
			if e.Name != name || !e.NoIPv4 {
				continue
			}
			told[name] = true
			why, remedy := whyNoIPv4(in.Config.Egresses[i], in.Snapshot.Host)
			out = append(out, health.Problem{Code: health.NoIPv4, Subject: name,
				Message: fmt.Sprintf("devices that use %s have no IPv4: %s", name, why),
				Remedy:  remedy})
		}
	}
	return out
}

// whyNoIPv4 says why an egress carries no IPv4, and what to do about it.
func whyNoIPv4(e config.Egress, host decide.HostState) (why, remedy string) {
	switch {
	case e.OpenVPN != nil:
		return "its server assigned IPv6 alone",
			"use another server, or ask the provider; with IPv4 it is used by itself"
	case e.Peer != nil:
		return "it leads to an IPv6 address alone",
			"write the peer's IPv4 address under via:, too, then: ztbridge reload"
	}
	iface := decide.UplinkOf(e.WAN, host).Iface
	return fmt.Sprintf("this box's connection by %s carries IPv6 alone", iface),
		fmt.Sprintf("see whether DHCP gives %s an address and a gateway: ip -4 route; where the "+
			"network has no IPv4, use a tunnel that has", iface)
}

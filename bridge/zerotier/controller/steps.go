package controller

import (
	"fmt"
	"strings"
)

// Steps returns a plan as instructions for the web page of ZeroTier Central, one a line.
func Steps(p Plan) []string {
	id := p.Network.ID.String()
	out := []string{"Open https://central.zerotier.com (older accounts: " +
		"https://my.zerotier.com/network/" + id + ") and choose the network " + id + "."}
	if p.Network.ID == 0 {
		out = []string{"Open https://central.zerotier.com, create a private network, and put its " +
			"id into the configuration under zerotier: networks: [ID]."}
	}
	for _, c := range p.Changes {
		if s := p.step(c); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// step returns what a person does on the page for one change.
func (p Plan) step(c Change) string {
	verb := "add "
	if c.Remove {
		verb = "remove "
	}
	switch c.Item {
	case ItemAuthorization:
		return fmt.Sprintf("Members: find %s (this box) and authorise it (the box \"Auth\").",
			p.Box.Address)
	case ItemAddress:
		return fmt.Sprintf("Members: give %s (this box) the managed IP %s.", p.Box.Address, c.Addr)
	case ItemRoute:
		if !c.Route.Via.IsValid() {
			return fmt.Sprintf("Managed Routes: %s%s, via left empty.", verb, c.Route.Target)
		}
		return fmt.Sprintf("Managed Routes: %s%s.", verb, c.Route)
	case ItemPool:
		return fmt.Sprintf("IPv4 Auto-Assign (for IPv6: IPv6 Auto-Assign): set the range %s to %s.",
			c.Pool.First, c.Pool.Last)
	case ItemAssignV4:
		return "IPv4 Auto-Assign: switch it on."
	case ItemV6Modes:
		return "IPv6 Auto-Assign: switch on " + strings.ReplaceAll(c.modes(), "from the pools",
			"Auto-Assign from Range") + "."
	case ItemDNS:
		return fmt.Sprintf("DNS: set the servers %s.", addrs(c.DNS.Servers))
	}
	return ""
}

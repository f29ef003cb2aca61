package policyroute

import (
	"fmt"
	"strings"
)

// ip is the iproute2 command for the family.
func (f Family) ip() string {
	if f == V6 {
		return "ip -6"
	}
	return "ip"
}

func (f Family) iptables() string {
	if f == V6 {
		return "ip6tables"
	}
	return "iptables"
}

// String prints the rule as arguments of `ip rule add`.
func (r Rule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "priority %d", r.Priority)
	if r.From.IsValid() {
		fmt.Fprintf(&b, " from %s", r.From)
	}
	if r.To.IsValid() {
		fmt.Fprintf(&b, " to %s", r.To)
	}
	if r.IIF != "" {
		fmt.Fprintf(&b, " iif %s", r.IIF)
	}
	if r.Proto != "" {
		fmt.Fprintf(&b, " ipproto %s", r.Proto)
	}
	if r.SrcPort != 0 {
		fmt.Fprintf(&b, " sport %d", r.SrcPort)
	}
	if r.DstPort != 0 {
		fmt.Fprintf(&b, " dport %d", r.DstPort)
	}
	if r.Mark != 0 {
		fmt.Fprintf(&b, " fwmark %#x", r.Mark)
	}
	switch r.Action {
	case Lookup:
		fmt.Fprintf(&b, " lookup %d", r.Table)
		if r.MinBits > 0 {
			fmt.Fprintf(&b, " suppress_prefixlength %d", r.MinBits-1)
		}
	case Goto:
		fmt.Fprintf(&b, " goto %d", r.Target)
	case Unreachable:
		b.WriteString(" unreachable")
	}
	return b.String()
}

// protocol is the rule's mark of origin.
func (r Rule) protocol() int {
	if r.Kept {
		return ProtocolKept
	}
	return Protocol
}

// String prints the route as arguments of `ip route replace`.
func (r Route) String() string {
	var b strings.Builder
	if r.Type == UnreachableRoute {
		b.WriteString("unreachable ")
	}
	if r.Dst.Bits() == 0 {
		b.WriteString("default")
	} else {
		b.WriteString(r.Dst.String())
	}
	if r.Gateway.IsValid() {
		fmt.Fprintf(&b, " via %s", r.Gateway)
	}
	if r.Dev != "" {
		fmt.Fprintf(&b, " dev %s", r.Dev)
	}
	if r.Gateway.IsValid() {
		b.WriteString(" onlink")
	}
	fmt.Fprintf(&b, " metric %d table %d", r.Metric, r.Table)
	return b.String()
}

// String prints the parameter as an argument of `sysctl -w`.
func (s Sysctl) String() string { return s.Key + "=" + s.Value }

// String prints the link as the commands that configure it.
func (l Link) String() string {
	lines := []string{SetLink{Name: l.Name, MTU: l.MTU, Up: l.Up}.String()}
	for _, a := range l.Addrs {
		lines = append(lines, AddAddr{Dev: l.Name, Addr: a}.String())
	}
	return strings.Join(lines, "\n")
}

// String prints the chain as `iptables -S` does, with the jump to it.
func (c Chain) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s -N %s", c.Family.iptables(), c.Name)
	for _, r := range c.Rules {
		fmt.Fprintf(&b, "\n%s -A %s %s", c.Family.iptables(), c.Name, r)
	}
	if c.Parent != "" {
		fmt.Fprintf(&b, "\n%s -I %s 1 -j %s", c.Family.iptables(), c.Parent, c.Name)
	}
	return b.String()
}

// String prints the state as the commands that create it where only our devices exist.
func (s State) String() string {
	bare := make([]Link, len(s.Links))
	for i, l := range s.Links {
		bare[i].Name = l.Name
	}
	return Diff(State{Links: bare}, s).String()
}

package policytest

import (
	"fmt"
	"net/netip"

	"ztbridge/policyroute"
)

// Prefixes parses prefixes; a bare address stands for itself alone. It panics on anything else.
func Prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range texts {
		if a, err := netip.ParseAddr(s); err == nil {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// Names of the devices in the scenes. A target that is a real kernel must have them.
const (
	Ingress0 = "ztlab0"
	Ingress1 = policyroute.TunPrefix + "srv"
	Tunnel0  = policyroute.TunPrefix + "0"
	Tunnel1  = policyroute.TunPrefix + "1"
	WAN      = "wanlab0"
)

// Devices are all devices of the scenes.
var Devices = []string{Ingress0, Ingress1, Tunnel0, Tunnel1, WAN}

// sourceConns is what a host of 32,768 connections leaves one source.
const sourceConns = 4096

func members() policyroute.Ingress {
	return policyroute.Ingress{Name: "zerotier", Iface: Ingress0, Present: true,
		Carries:  policyroute.ZeroTierPacket,
		Prefixes: Prefixes("10.147.17.0/24", "fd80:56c2:e21c::/88")}
}

func endpoint() policyroute.Ingress {
	return policyroute.Ingress{Name: "endpoint", Iface: Ingress1, Present: true, Owned: true,
		MTU:   1500,
		Addrs: Prefixes("10.9.0.1/24", "fd09::1/64"), Prefixes: Prefixes("10.9.0.0/24",
			"fd09::/64")}
}

func provider() policyroute.Egress {
	return policyroute.Egress{Name: "provider", Kind: policyroute.EgressOpenVPN, Iface: Tunnel0,
		Present: true, IPv6: true,
		Owned: true, Addrs: Prefixes("10.8.0.6/24", "fd08::6/64"), MTU: 1380,
		DNS: []netip.Addr{netip.MustParseAddr("10.8.0.1"), netip.MustParseAddr("fd08::1")}}
}

func backup() policyroute.Egress {
	return policyroute.Egress{Name: "backup", Kind: policyroute.EgressOpenVPN, Iface: Tunnel1,
		Present: true,
		Owned:   true, Addrs: Prefixes("10.88.0.6/24"), MTU: 1500, DNS: []netip.Addr{
			netip.MustParseAddr("1.1.1.1")}}
}

func direct() policyroute.Egress {
	return policyroute.Egress{Name: "direct", Kind: policyroute.EgressWAN, Iface: WAN,
		Present: true, IPv6: true,
		Gateway4: netip.MustParseAddr("203.0.113.1"),
		Gateway6: netip.MustParseAddr("fe80::1"), MTU: 1500,
		Closed: Prefixes("169.254.0.0/16", "192.168.1.0/24", "fd00:ec2::254"),
		NAT6: policyroute.NAT{Kind: policyroute.NoNAT,
			Prefix: netip.MustParsePrefix("2001:db8:1:2::/80")}}
}

func home() policyroute.Egress {
	return policyroute.Egress{Name: "home", Kind: policyroute.EgressPeer, Iface: Ingress0,
		Present:  true,
		Gateway4: netip.MustParseAddr("10.147.17.2"),
		Local:    []netip.Addr{netip.MustParseAddr("10.147.17.1")},
		MTU:      2800, Carries: policyroute.ZeroTierPacket,
		DNS: []netip.Addr{netip.MustParseAddr("10.147.17.2")}}
}

// Uno is members of a ZeroTier network leaving by a provider, with a second one behind it.
func Uno() policyroute.Intent {
	return policyroute.Intent{
		Ingresses: []policyroute.Ingress{members()},
		Egresses:  []policyroute.Egress{provider(), backup()},
		Policies: []policyroute.Policy{{Name: "policy[0]", Egress: []string{"provider", "backup"},
			Use: "provider"}},
		Links6: []string{WAN}, SourceConns: sourceConns,
	}
}

// Duo is Uno with clients of an endpoint, who reach the members. It adds a private network that
// nobody may reach, in which the provider's resolver lies.
func Duo() policyroute.Intent {
	in := Uno()
	in.Ingresses = append(in.Ingresses, endpoint())
	in.Policies = []policyroute.Policy{
		{Name: "policy[0]", To: Prefixes("10.0.0.0/8", "192.168.0.0/16", "fc00::/7")},
		{Name: "policy[1]", Egress: []string{"provider", "backup"}, Use: "provider"},
	}
	in.Peerings = []policyroute.Peering{{From: "endpoint", To: "zerotier"}}
	in.Listeners = []policyroute.Listener{{Proto: "tcp", Port: 443}, {Proto: "udp", Port: 1194}}
	return in
}

// Dinosaur is clients of an endpoint leaving by another member, through the interface by which
// other members enter.
func Dinosaur() policyroute.Intent {
	return policyroute.Intent{
		Ingresses: []policyroute.Ingress{members(), endpoint()},
		Egresses:  []policyroute.Egress{provider(), home()},
		Policies: []policyroute.Policy{
			{Name: "policy[0]", Ingress: []string{"endpoint"}, Egress: []string{"home"},
				Use: "home"},
			{Name: "policy[1]", Ingress: []string{"zerotier"}, Egress: []string{"provider"},
				Use: "provider"},
		},
		Links6: []string{WAN}, SourceConns: sourceConns,
	}
}

// Exit is an intent in which members leave by the box's own WAN. The Internet may reach a service
// of one of them, and one may go nowhere.
func Exit() policyroute.Intent {
	return policyroute.Intent{
		Ingresses: []policyroute.Ingress{members()},
		Egresses:  []policyroute.Egress{direct()},
		Policies: []policyroute.Policy{
			{Name: "policy[0]", From: Prefixes("10.147.17.66")},
			{Name: "policy[1]", From: Prefixes("10.147.17.0/24", "2001:db8:1:2::/80",
				"fd80:56c2:e21c::/88"), Egress: []string{"direct"}, Use: "direct"},
		},
		Inbound: []policyroute.Inbound{
			{Egress: "direct", To: netip.MustParsePrefix("fd80:56c2:e21c::7/128"), Proto: "tcp",
				Ports: []uint16{22, 443}}},
		Edges: []policyroute.Edge{{Iface: WAN, Family: policyroute.V4},
			{Iface: WAN, Family: policyroute.V6, Switches: true}},
		ForceForwarding6: true,
	}
}

// Everything is Uno whose policies name every address by a prefix, as the kernel does not.
func Everything() policyroute.Intent {
	in := Uno()
	all := Prefixes("0.0.0.0/0", "::/0")
	in.Policies = []policyroute.Policy{
		{Name: "policy[0]", From: all, To: Prefixes("1.1.1.0/24", "2606:4700::/32")},
		{Name: "policy[1]", From: Prefixes("10.147.17.66", "fd80:56c2:e21c::66"), To: all,
			Egress: []string{"backup"}, Use: "backup"},
		{Name: "policy[2]", From: all, To: all, Egress: []string{"provider", "backup"},
			Use: "provider"},
	}
	return in
}

// Many is n policies with perPolicy members each, and one for everybody else.
func Many(n, perPolicy int) policyroute.Intent {
	in := Uno()
	in.Egresses = append(in.Egresses, direct())
	in.Ingresses[0].Prefixes = Prefixes("10.144.0.0/12", "fd80:56c2:e21c::/88")
	in.Policies = nil
	lists := []policyroute.Policy{
		{Egress: []string{"provider", "backup"}, Use: "provider"},
		{Egress: []string{"backup", "provider"}, Use: "backup"},
		{Egress: []string{"direct"}, Use: "direct"},
		{},
	}
	for i := range n {
		p := lists[i%len(lists)]
		p.Name = fmt.Sprintf("policy[%d]", i)
		for j := range perPolicy {
			p.From = append(p.From, member(i*perPolicy+j))
		}
		in.Policies = append(in.Policies, p)
	}
	p := lists[0]
	p.Name = fmt.Sprintf("policy[%d]", n)
	in.Policies = append(in.Policies, p)
	return in
}

// member scatters members over a /12, each at another place.
func member(n int) netip.Prefix {
	// Fibonacci hashing: the multiplier is odd, so 20 bits rarely repeat
	at := uint32(n) * 2654435761 >> 12
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 144 | byte(at>>16&15), byte(at >> 8),
		byte(at)}), 32)
}

package config

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// DefaultZeroTierHome is where Debian's and the vendor's packages of zerotier-one keep their state.
const DefaultZeroTierHome = "/var/lib/zerotier-one"

// defaultMoonPort is zerotier-one's primary port (ZT_DEFAULT_PORT).
const defaultMoonPort = 9993

const (
	// networkPlaceholder stands in the reference configuration where a person's own id belongs.
	networkPlaceholder = "your-16-digit-network-id"
	// publicNetwork is the vendor's public example network ("Earth").
	publicNetwork = "8056c2e21c000001"
)

var (
	networkRE = regexp.MustCompile(`^[0-9a-f]{16}$`)
	moonRE    = regexp.MustCompile(`^(000000)?[0-9a-f]{10}$`)
)

func (d *decoder) zerotier(v value) {
	z := &d.cfg.ZeroTier
	v.object(fields{
		"home": func(v value) {
			if path, ok := v.path(); ok {
				z.Home = path
			}
		},
		"networks": func(v value) {
			for _, item := range v.items() {
				d.network(item)
			}
		},
		"orbit": func(v value) {
			for _, item := range v.items() {
				if id, ok := item.moonID(); ok {
					z.Orbit = append(z.Orbit, id)
				}
			}
		},
		"moon": func(v value) {
			z.Moon = &Moon{}
			const problem, remedy = "a moon needs public addresses at which members find it",
				"add `endpoints: [203.0.113.7/9993]` with this box's own"
			written := false
			v.object(fields{"endpoints": func(v value) {
				written = true
				for _, item := range v.some(problem, remedy) {
					if ap, ok := item.moonEndpoint(); ok {
						z.Moon.Endpoints = append(z.Moon.Endpoints, ap)
					}
				}
			}})
			if !written {
				v.fail(ErrMissing, problem, remedy)
			}
		},
	}, "networks", "orbit", "moon")
}

func (d *decoder) network(v value) {
	var n Network
	id := v
	if v.node.Kind != yaml.ScalarNode {
		id.node = nil
		v.object(fields{
			"id":           func(v value) { id = v },
			"name":         func(v value) { n.Name = v.name() },
			"allow_global": func(v value) { n.AllowGlobal = v.boolean() },
		})
		if id.node == nil {
			v.fail(ErrMissing, "a network needs its id", "add `id:` with its 16 hexadecimal digits")
			return
		}
	}
	text, ok := id.text()
	if !ok {
		return
	}
	n.ID = strings.ToLower(text)
	if problem, remedy := badNetworkID(text); problem != "" {
		id.fail(ErrValue, problem, remedy)
		return
	}
	for _, other := range d.cfg.ZeroTier.Networks {
		if other.ID == n.ID {
			id.fail(ErrDuplicate, "this network is listed twice", "remove one of them")
			return
		}
	}
	n.Name = cmp.Or(n.Name, n.ID)
	if d.claimIngress(n.Name, v.pos()) {
		d.cfg.ZeroTier.Networks = append(d.cfg.ZeroTier.Networks, n)
	}
}

// badNetworkID returns why text cannot be the id of a network to join and what to do, or "", "".
func badNetworkID(text string) (problem, remedy string) {
	const find = "the 16 hexadecimal digits beside your network's name on " +
		"https://central.zerotier.com (older accounts: https://my.zerotier.com), or " +
		"`ztbridge network setup`, which can also make one"
	switch id := strings.ToLower(text); {
	case id == networkPlaceholder:
		return fmt.Sprintf("%q stands for the id of your own network", text), "write " + find
	case !networkRE.MatchString(id):
		return fmt.Sprintf("%q is not a network id", text), "write " + find
	case id == publicNetwork:
		return fmt.Sprintf("%s is ZeroTier's public network, which anybody may join: strangers "+
			"would reach this box and use its exits", id), "make a private network: write " + find
	}
	return "", ""
}

func (v value) moonID() (string, bool) {
	return parsed(v, func(text string) (string, bool) {
		id := strings.ToLower(text)
		return id[max(0, len(id)-10):], moonRE.MatchString(id)
	}, "is not the id of a moon", "write the 10 hexadecimal digits of the moon's own address")
}

// moonEndpoint accepts ZeroTier's own form, 203.0.113.7/9993, and the usual one with a colon.
func (v value) moonEndpoint() (netip.AddrPort, bool) {
	text, ok := v.text()
	if !ok {
		return netip.AddrPort{}, false
	}
	if host, port, found := strings.Cut(text, "/"); found {
		text = net.JoinHostPort(host, port)
	}
	ap, err := netip.ParseAddrPort(text)
	if addr, addrErr := netip.ParseAddr(text); addrErr == nil {
		ap, err = netip.AddrPortFrom(addr, defaultMoonPort), nil
	}
	if err != nil || ap.Port() == 0 || !unicast(ap.Addr()) {
		v.fail(ErrValue, fmt.Sprintf("%q is not an address with a port", text),
			"write it as 203.0.113.7/9993")
		return netip.AddrPort{}, false
	}
	return ap, true
}

// interfaces decodes `ingress`.
func (d *decoder) interfaces(v value) {
	for _, item := range v.items() {
		d.ingressInterface(item)
	}
}

func (d *decoder) ingressInterface(v value) {
	in := Interface{Pos: v.pos()}
	at := v
	if v.node.Kind == yaml.ScalarNode {
		in.Iface = v.iface()
	} else {
		at.node = nil
		v.object(fields{
			"interface": func(v value) { at = v; in.Iface = v.iface() },
			"name":      func(v value) { in.Name = v.name() },
			"prefixes": func(v value) {
				in.Prefixes = prefixes(v.items())
				for _, p := range in.Prefixes {
					if p.Bits() == 0 {
						v.fail(ErrValue,
							fmt.Sprintf("%s would be every address, the Internet's too",
								p), "write the networks that lie behind the interface")
						continue
					}
					d.claim(p, v.pos(), "behind an interface", membersSide)
				}
			},
		})
		if at.node == nil {
			v.fail(ErrMissing, "an ingress needs its interface",
				"add `interface:` with a name that `ip -brief link` lists")
		}
	}
	if in.Iface == "" {
		return
	}
	for _, other := range d.cfg.Interfaces {
		if other.Iface == in.Iface {
			at.fail(ErrDuplicate, "this interface is listed twice", "remove one of them")
			return
		}
	}
	in.Name = cmp.Or(in.Name, in.Iface)
	if d.claimIngress(in.Name, v.pos()) {
		d.cfg.Interfaces = append(d.cfg.Interfaces, in)
	}
}

// claimIngress makes sure that a name means one ingress.
func (d *decoder) claimIngress(name string, at Position) bool {
	if name == zeroTierWord || name == EndpointIngress {
		d.fail(at, ErrValue, fmt.Sprintf("%q is the name of a whole kind of ingress", name),
			"choose another `name:`")
		return false
	}
	if _, err := netip.ParseAddr(name); err == nil {
		d.fail(at, ErrValue, fmt.Sprintf("%q would be taken for an address in `from`", name),
			"choose a `name:`")
		return false
	}
	if before, taken := d.where["ingress "+name]; taken {
		d.fail(at, ErrDuplicate, fmt.Sprintf("the ingress name %q is taken already at line %d",
			name, before.Line),
			"give one of them another `name:`")
		return false
	}
	d.where["ingress "+name] = at
	return true
}

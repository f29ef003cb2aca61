package lab

import (
	"context"
	"fmt"
	"net/netip"

	"ztbridge/policyroute/netlab"
)

// AddProvider adds a provider and starts it. The n-th one, from 0, is named provider-a, -b, …
func (t *Topology) AddProvider(ctx context.Context, opts ProviderOptions) (*Provider, error) {
	n := len(t.Providers)
	label := fmt.Sprintf("provider-%c", 'a'+n)
	ns, err := t.Host(label)
	if err != nil {
		return nil, err
	}
	net4 := netip.MustParsePrefix(fmt.Sprintf("203.0.113.%d/28", 16*n))
	net6 := netip.MustParsePrefix(fmt.Sprintf("2001:db8:cb:%x::/64", n))
	addrs := append(inSubnet(net4, net6, 2), inSubnet(net4, net6, 3)...)
	_, err = netlab.Connect(
		ns, netlab.Iface{Name: "eth0", Addrs: addrs,
			Routes: netlab.DefaultVia(host(net4, 1), host(net6, 1))},
		t.Router, netlab.Iface{Name: routerPort(label), Addrs: inSubnet(net4, net6, 1)})
	if err != nil {
		return nil, err
	}
	p, err := newProvider(ns, "eth0", opts, t.Dir)
	if err != nil {
		return nil, err
	}
	p.SetPool(netip.MustParsePrefix(fmt.Sprintf("10.8.%d.0/24", 16*n)),
		netip.MustParsePrefix(fmt.Sprintf("fd08:%x::/64", n)))
	for i, letter := range []string{"vpn1", "vpn2"} {
		p.Public4 = append(p.Public4, host(net4, byte(2+i)))
		p.Public6 = append(p.Public6, host(net6, byte(2+i)))
		p.Hosts = append(p.Hosts, fmt.Sprintf("%s.%s.lab", letter, label))
		t.Zone.Set(p.Hosts[i], p.Public4[i])
	}
	if p.DNS, err = ServeDNS(ns, label, t.Zone); err != nil {
		return nil, err
	}
	t.Defer(p.DNS.Close)
	t.Providers = append(t.Providers, p)
	return p, p.Start(ctx)
}

// ServeOnBox makes the box itself a VPN server, set up like a provider's but without a resolver.
// Our box is compared with it.
func (t *Topology) ServeOnBox(ctx context.Context, opts ProviderOptions) (*Provider, error) {
	p, err := newProvider(t.Box, WANIface, opts, t.Dir)
	if err != nil {
		return nil, err
	}
	p.SetPool(netip.MustParsePrefix("10.9.0.0/24"), netip.MustParsePrefix("fd09::/64"))
	p.Hosts, p.Public4, p.Public6 = []string{BoxWAN4.String()}, []netip.Addr{BoxWAN4},
		[]netip.Addr{BoxWAN6}
	return p, p.Start(ctx)
}

// Cafe is a network of guests behind NAT, with one guest.
type Cafe struct {
	// the café's router; put faults on Site.Router of the lab's router, or use BlockUDP
	Site   *Site
	Client *netlab.Namespace
}

// AddCafe adds a café: 192.168.80.0/24 behind one public address, IPv4 only.
func (t *Topology) AddCafe() (*Cafe, error) {
	site, err := t.AddSite("cafe")
	if err != nil {
		return nil, err
	}
	client, err := t.Host("guest")
	if err != nil {
		return nil, err
	}
	inside := netip.MustParsePrefix("192.168.80.0/24")
	gateway := netip.PrefixFrom(host(inside, 1), inside.Bits())
	_, err = netlab.Connect(
		client, netlab.Iface{Name: "eth0", Addrs: []netip.Prefix{
			netip.PrefixFrom(host(inside, 2), inside.Bits())},
			Routes: netlab.DefaultVia(gateway.Addr())},
		site.NS, netlab.Iface{Name: "guests", Addrs: []netip.Prefix{gateway}})
	if err != nil {
		return nil, err
	}
	for _, step := range []func() error{
		site.NS.Forwarding,
		func() error { return site.NS.Masquerade("eth0") },
		func() error { return client.SetResolvers(ResolverAddr.String()) },
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return &Cafe{Site: site, Client: client}, nil
}

// BlockUDP drops all of the guests' UDP but DNS.
func (c *Cafe) BlockUDP() error { return c.Site.NS.BlockUDP("guests") }

// WatchLeaks captures packets on the far side of the box's WAN link that must never be there. They
// are packets to or from a client's address, packets to or from a target that only clients talk to,
// and packets that carry the clients' marker.
func (t *Topology) WatchLeaks() (*netlab.Capture, error) {
	prefixes := append([]netip.Prefix(nil), t.ClientPrefixes...)
	for _, a := range []netip.Addr{ClientTarget4, ClientTarget6, PublicResolver4, PublicResolver6} {
		prefixes = append(prefixes, netip.PrefixFrom(a, a.BitLen()))
	}
	return t.Router.Capture(t.WANSegment.Port(t.Box, WANIface),
		netlab.Any(netlab.Within(prefixes...), netlab.Carrying(t.Marker)))
}

// Version is an IP version.
type Version int

// The versions.
const (
	IPv4 Version = 4
	IPv6 Version = 6
)

func versionOf(a netip.Addr) Version {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

func (v Version) pick(a4, a6 netip.Addr) netip.Addr {
	if v == IPv6 {
		return a6
	}
	return a4
}

// ClientStream starts a marked stream from the client to the Internet. DNS goes to the fixed
// resolver, everything else to the clients' own target.
func (t *Topology) ClientStream(kind Kind, v Version, rate int) (*Stream, error) {
	to := netip.AddrPortFrom(v.pick(ClientTarget4, ClientTarget6), EchoPort)
	if kind == DNS {
		to = netip.AddrPortFrom(v.pick(PublicResolver4, PublicResolver6), 53)
	}
	return t.start(StreamConfig{From: t.Client, Kind: kind, To: to, Rate: rate, Marker: t.Marker})
}

// BoxStream starts a stream from the box itself to the Internet, marked as the host's own.
func (t *Topology) BoxStream(kind Kind, v Version, rate int) (*Stream, error) {
	to := netip.AddrPortFrom(v.pick(HostTarget4, HostTarget6), EchoPort)
	if kind == DNS {
		to = netip.AddrPortFrom(ResolverAddr, 53)
	}
	return t.start(StreamConfig{From: t.Box, Kind: kind, To: to, Rate: rate, Marker: t.HostMarker})
}

// SessionIntoBox opens one TCP connection from the Internet into the box, as an administrator's,
// and keeps it. It can be called once for each version.
func (t *Topology) SessionIntoBox(v Version, rate int) (*Stream, error) {
	at := v.pick(BoxWAN4, BoxWAN6)
	echo, err := ServeEcho(t.Box, at)
	if err != nil {
		return nil, err
	}
	t.Defer(echo.Close)
	return t.start(StreamConfig{From: t.Internet, Kind: TCP, To: netip.AddrPortFrom(at, EchoPort),
		Rate: rate, Marker: t.HostMarker, Hold: true})
}

// start starts a stream that ends with the lab, at the latest.
func (t *Topology) start(cfg StreamConfig) (*Stream, error) {
	s, err := StartStream(cfg)
	if err != nil {
		return nil, err
	}
	t.Defer(func() error { s.Stop(); return nil })
	return s, nil
}

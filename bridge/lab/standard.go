package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"ztbridge/policyroute/netlab"
)

// The standard topology. Interfaces are written beside the host they belong to, addresses as .n
// within the network of the link; IPv6 alike, with ::n.
//
//	client eth0 .2 ──┐ 10.77.0.0/24
//	                 │ fd77::/64
//	              (switch)                       198.51.100.0/24
//	                 │                           2001:db8:b0::/64
//	                 └── .1 ing0 ┌─────┐ wan0 .2 ──(bridge)── .1 wan ┌────────┐
//	                             │ box │          ▲ what is captured  │ router │
//	                 ┌── .1 lan0 └─────┘          │ for leaks         └─┬──┬─┬─┘
//	                 │ 192.168.50.0/24            port "box.wan0"       │  │ │
//	nas eth0 .20 ────┘ fd50::/64                                        │  │ └── sites: 198.18.n.0/24,
//	                                                                    │  │     2001:db8:12:n::/64
//	          203.0.113.16n/28, 2001:db8:cb:n::/64                      │  │
//	  provider-a, -b, … eth0 .2 .3 ─────────────────────────────────────┘  │
//	  (OpenVPN, resolvers, NAT; inside: 10.8.n.0/24, fd08:n::/64)          │
//	                                                                       │ 192.0.2.0/24
//	  internet eth0 ───────────────────────────────────────────────────────┘ 2001:db8:c0::/64
//	    .10 for hosts, .77 for clients only, .53 the box's resolver;
//	    8.8.4.4 and 2001:4860:4860::8844 beside, a resolver that clients have hard-wired, and the
//	    other well-known resolvers, which serve as targets of probes
//
// The router has no way back to 10.77.0.0/24, as the Internet has none: what leaks is seen, and
// lost.
var (
	IngressNet4 = netip.MustParsePrefix("10.77.0.0/24")
	IngressNet6 = netip.MustParsePrefix("fd77::/64")
	LANNet4     = netip.MustParsePrefix("192.168.50.0/24")
	LANNet6     = netip.MustParsePrefix("fd50::/64")
	WANNet4     = netip.MustParsePrefix("198.51.100.0/24")
	WANNet6     = netip.MustParsePrefix("2001:db8:b0::/64")
	netNet4     = netip.MustParsePrefix("192.0.2.0/24")
	netNet6     = netip.MustParsePrefix("2001:db8:c0::/64")

	// PathClients4 and PathClients6 are the addresses of a box's own clients, which must not leak
	// either (decide.PathDevice).
	PathClients4 = netip.MustParsePrefix("192.0.0.128/25")
	PathClients6 = netip.MustParsePrefix("fdb4:6a1e:72c5::/64")

	BoxWAN4 = host(WANNet4, 2)
	BoxWAN6 = host(WANNet6, 2)
	// HostTarget4 and HostTarget6 are Internet addresses that hosts talk to. Only clients talk to
	// ClientTarget4 and ClientTarget6: so a client's packet is known by its destination even when
	// its source was translated and it has no content, as a SYN.
	HostTarget4   = host(netNet4, 10)
	HostTarget6   = netip.MustParseAddr("2001:db8:c0::10")
	ClientTarget4 = host(netNet4, 77)
	ClientTarget6 = netip.MustParseAddr("2001:db8:c0::77")
	ResolverAddr  = host(netNet4, 53)
	// PublicResolver4 and PublicResolver6 are resolvers that clients ask by themselves.
	PublicResolver4 = netip.MustParseAddr("8.8.4.4")
	PublicResolver6 = netip.MustParseAddr("2001:4860:4860::8844")
	// wellKnown are addresses of the Internet host that a box may probe by itself, and that no
	// client uses.
	wellKnown = []netip.Addr{
		netip.MustParseAddr("1.1.1.1"), netip.MustParseAddr("9.9.9.9"), netip.MustParseAddr(
			"8.8.8.8"),
		netip.MustParseAddr("2606:4700:4700::1111"), netip.MustParseAddr(
			"2620:fe::fe"), netip.MustParseAddr("2001:4860:4860::8888"),
	}
)

// The interfaces of the box.
const (
	IngressIface = "ing0"
	LANIface     = "lan0"
	WANIface     = "wan0"
)

// Options describe a standard topology. The zero value is the one in the drawing, with one
// provider.
type Options struct {
	Providers []ProviderOptions // none means one with the defaults
	// RouterAdvertisements gives the box its IPv6 default route by router advertisements instead of
	// a static one.
	RouterAdvertisements bool
	// RemoteClient puts the client at another site, from which it reaches the box over the Internet
	// only. There is no ingress link.
	RemoteClient bool
}

// Topology is the standard lab, running.
type Topology struct {
	*Lab
	Client   *netlab.Namespace
	Box      *netlab.Namespace
	NAS      *netlab.Namespace
	Router   *netlab.Namespace
	Internet *netlab.Namespace

	Ingress    *netlab.Link // the box's end is ing0; nil with a remote client
	LAN        *netlab.Link // the box's end is lan0
	WAN        *netlab.Link // the box's end is wan0
	WANSegment *netlab.Segment
	// IngressSegment is the switch in the drawing; nil with a remote client.
	IngressSegment *netlab.Segment
	ClientSite     *Site // of a remote client, else nil

	Providers []*Provider // started
	Echo      *Echo       // on all targets of the Internet host
	DNS       *DNSServer  // on all addresses of the Internet host

	// Marker is carried by what clients send, HostMarker by what hosts send.
	Marker     string
	HostMarker string
	// ClientPrefixes are the networks of clients: add to them what else clients send from.
	ClientPrefixes []netip.Prefix

	opts Options
}

// Standard builds the standard topology and starts the providers. ctx bounds the building only; the
// caller must Close the topology.
func Standard(ctx context.Context, opts Options) (*Topology, error) {
	lab, err := NewLab()
	if err != nil {
		return nil, err
	}
	t := &Topology{Lab: lab, opts: opts, Marker: NewMarker(), HostMarker: NewMarker(),
		ClientPrefixes: []netip.Prefix{IngressNet4, IngressNet6, PathClients4, PathClients6}}
	if err := t.build(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("building the lab: %w", err), lab.Close())
	}
	return t, nil
}

func (t *Topology) build(ctx context.Context) error {
	for _, step := range []func() error{t.buildHosts, t.buildInternet, t.buildWAN, t.buildLAN,
		t.buildClient} {
		if err := step(); err != nil {
			return err
		}
	}
	providers := t.opts.Providers
	if len(providers) == 0 {
		providers = []ProviderOptions{{}}
	}
	for _, opts := range providers {
		if _, err := t.AddProvider(ctx, opts); err != nil {
			return err
		}
	}
	return nil
}

func (t *Topology) buildHosts() (err error) {
	for _, h := range []struct {
		label string
		ns    **netlab.Namespace
	}{
		{"router", &t.Router}, {"internet", &t.Internet}, {"box", &t.Box}, {"nas", &t.NAS},
	} {
		if *h.ns, err = t.Host(h.label); err != nil {
			return err
		}
	}
	return t.Router.Forwarding()
}

func (t *Topology) buildInternet() error {
	addrs := inSubnet(netNet4, netNet6, 10)
	addrs[1] = netip.PrefixFrom(HostTarget6, 64)
	for _, a := range []netip.Addr{ClientTarget4, ResolverAddr, ClientTarget6} {
		addrs = append(addrs, netip.PrefixFrom(a, a.BitLen()))
	}
	routed := append([]netip.Addr{PublicResolver4, PublicResolver6}, wellKnown...)
	var routes []netlab.Route
	for _, a := range routed {
		addrs = append(addrs, netip.PrefixFrom(a, a.BitLen()))
		routes = append(routes, netlab.Route{Dst: netip.PrefixFrom(a, a.BitLen()),
			Via: versionOf(a).pick(HostTarget4, HostTarget6)})
	}
	_, err := netlab.Connect(
		t.Internet, netlab.Iface{Name: "eth0", Addrs: addrs,
			Routes: netlab.DefaultVia(host(netNet4, 1), host(netNet6, 1))},
		t.Router, netlab.Iface{Name: routerPort("internet"), Addrs: inSubnet(netNet4, netNet6, 1),
			Routes: routes})
	if err != nil {
		return err
	}
	if t.Echo, err = ServeEcho(t.Internet, HostTarget4, ClientTarget4, HostTarget6,
		ClientTarget6); err != nil {
		return err
	}
	t.Defer(t.Echo.Close)
	if t.DNS, err = ServeDNS(t.Internet, "internet", t.Zone); err != nil {
		return err
	}
	t.Defer(t.DNS.Close)
	t.Zone.Set("internet.lab", HostTarget4, HostTarget6)
	t.Zone.Set("client.internet.lab", ClientTarget4, ClientTarget6)
	return nil
}

func (t *Topology) buildWAN() (err error) {
	t.WANSegment, err = netlab.NewSegment(t.Router, "wan", inSubnet(WANNet4, WANNet6, 1)...)
	if err != nil {
		return err
	}
	hops := []netip.Addr{host(WANNet4, 1)}
	if !t.opts.RouterAdvertisements {
		hops = append(hops, host(WANNet6, 1))
	}
	t.WAN, err = t.WANSegment.Attach(t.Box,
		netlab.Iface{Name: WANIface, Addrs: inSubnet(WANNet4, WANNet6, 2),
			Routes: netlab.DefaultVia(hops...)})
	if err != nil {
		return err
	}
	if t.opts.RouterAdvertisements {
		stop, err := Advertise(t.Router, "wan", WANNet6)
		if err != nil {
			return err
		}
		t.Defer(stop)
	}
	return t.Box.SetResolvers(ResolverAddr.String())
}

func (t *Topology) buildLAN() (err error) {
	t.LAN, err = netlab.Connect(
		t.Box, netlab.Iface{Name: LANIface, Addrs: inSubnet(LANNet4, LANNet6, 1)},
		t.NAS, netlab.Iface{Name: "eth0", Addrs: inSubnet(LANNet4, LANNet6, 20),
			Routes: netlab.DefaultVia(host(LANNet4, 1), host(LANNet6, 1))})
	return err
}

func (t *Topology) buildClient() error {
	if t.opts.RemoteClient {
		site, err := t.AddSite("client")
		if err != nil {
			return err
		}
		t.ClientSite, t.Client = site, site.NS
		return nil
	}
	sw, err := t.Host("switch")
	if err != nil {
		return err
	}
	seg, err := netlab.NewSegment(sw, "sw")
	if err != nil {
		return err
	}
	t.IngressSegment = seg
	if t.Client, err = t.Host("client"); err != nil {
		return err
	}
	if t.Ingress, err = seg.Attach(t.Box,
		netlab.Iface{Name: IngressIface,
			Addrs: inSubnet(IngressNet4, IngressNet6, 1)}); err != nil {
		return err
	}
	_, err = seg.Attach(t.Client, netlab.Iface{Name: "eth0",
		Addrs:  inSubnet(IngressNet4, IngressNet6, 2),
		Routes: netlab.DefaultVia(host(IngressNet4, 1), host(IngressNet6, 1))})
	if err != nil {
		return err
	}
	return t.Client.SetResolvers(PublicResolver4.String())
}

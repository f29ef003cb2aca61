package decide

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ztbridge/bridge/bridgetest"
	"ztbridge/bridge/openvpn/client"
	"ztbridge/bridge/openvpn/profile"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// What a server assigns is not used where the box needs it, whichever of both came first.
func TestAddressConflict(t *testing.T) {
	cfg := bridgetest.Parse(t, "zerotier: {networks: ["+bridgetest.Network+`]}
ingress: [{name: lan, interface: br-lan, prefixes: [192.168.50.0/24]}]
egress:
  first: {openvpn: {profile: provider.ovpn}}
  second: {openvpn: {profile: provider.ovpn}}
policy: [{egress: [second, first]}]
endpoint: {listen: [udp/1194], address: vm.example.org, pool: 10.66.0.0/24}
probe: {targets: [9.9.9.9, "2620:fe::fe"]}
`)
	base := func() Snapshot {
		w := HostState(bridgetest.HostState("first", "second"))
		return Snapshot{Host: w, ZeroTier: bridgetest.Joined(), Tunnels: map[string]client.Status{
			"first":  bridgetest.Up("10.8.0.2/24"),
			"second": bridgetest.Up("10.9.0.2/24"),
		}}
	}
	for name, tt := range map[string]struct {
		change func(*Snapshot)
		want   string
	}{
		"well":           {func(*Snapshot) {}, ""},
		"a probe target": {func(s *Snapshot) { s.Tunnels["second"] = bridgetest.Up("9.9.9.9/24") }, "probe"},
		"a resolver": {func(s *Snapshot) {
			s.Servers = []netip.Addr{netip.MustParseAddr("10.9.0.2")}
		}, "resolver"},
		"a tunnel's server": {func(s *Snapshot) {
			first := s.Tunnels["first"]
			first.Server = netip.MustParseAddrPort("10.9.0.2:1194")
			s.Tunnels["first"] = first
		}, "tunnel first"},
		"a server that is not connected": {func(s *Snapshot) {
			s.Tunnels["first"] = client.Status{Remote: profile.Remote{Host: "10.9.0.2"}}
		}, "tunnel first"},
		"a member's": {func(s *Snapshot) {
			s.Tunnels["second"] = bridgetest.Up("10.147.17.77/24")
		}, "behind"},
		"of an ingress that is away": {func(s *Snapshot) {
			s.Tunnels["second"] = bridgetest.Up("192.168.50.7/24")
		}, "behind lan"},
		"in a network that came later": {func(s *Snapshot) {
			s.Host.Links = append(s.Host.Links, kernel.Link{Name: "eth7", Up: true,
				Addrs: []netip.Prefix{netip.MustParsePrefix("10.9.0.9/24")}})
		}, "eth7"},
		"a gateway that came later": {func(s *Snapshot) {
			s.Host.Defaults = append(s.Host.Defaults, kernel.DefaultRoute{
				Family: policyroute.V4, Iface: "eth7", Gateway: netip.MustParseAddr("10.9.0.2")})
		}, "the gateway of eth7"},
		"what paths are checked with": {func(s *Snapshot) {
			s.Tunnels["second"] = bridgetest.Up("192.0.0.130/24")
		}, "checks paths"},
		"a client's of the endpoint": {func(s *Snapshot) {
			s.Tunnels["second"] = bridgetest.Up("10.66.0.9/24")
			s.Listeners, _ = ListenersOf(cfg)
		}, "behind"},
		"another tunnel's resolver": {func(s *Snapshot) {
			first := s.Tunnels["first"]
			first.Session.DNS = []netip.Addr{netip.MustParseAddr("10.9.0.2")}
		}, "resolver of tunnel first"},
		"IPv6, a probe target": {func(s *Snapshot) {
			s.Tunnels["second"] = bridgetest.Up("10.9.0.2/24", "2620:fe::fe/64")
		}, "probe"},
		"IPv6, a resolver": {func(s *Snapshot) {
			s.Tunnels["second"] = bridgetest.Up("10.9.0.2/24", "2001:db8:5::53/64")
			s.Servers = []netip.Addr{netip.MustParseAddr("2001:db8:5::53")}
		}, "resolver"},
		"IPv6, a tunnel's server": {func(s *Snapshot) {
			s.Tunnels["second"] = bridgetest.Up("10.9.0.2/24", "2001:db8:5::1/64")
			first := s.Tunnels["first"]
			first.Server = netip.MustParseAddrPort("[2001:db8:5::1]:1194")
			s.Tunnels["first"] = first
		}, "tunnel first"},
		"IPv6, what paths are checked with": {func(s *Snapshot) {
			s.Tunnels["second"] = bridgetest.Up("10.9.0.2/24", "fdb4:6a1e:72c5::2/64")
		}, "checks paths"},
		"IPv6, another tunnel's": {func(s *Snapshot) {
			s.Tunnels["first"] = bridgetest.Up("10.8.0.2/24", "2001:db8:5::1/64")
			s.Tunnels["second"] = bridgetest.Up("10.9.0.2/24", "2001:db8:5::1/64")
		}, "tunnel first has"},
		"another tunnel's": {func(s *Snapshot) {
			s.Tunnels["second"] = bridgetest.Up("10.8.0.2/24")
		}, "tunnel first has"},
	} {
		t.Run(name, func(t *testing.T) {
			s := base()
			tt.change(&s)
			got := AddressConflict(cfg, cfg.Egresses[1], s)
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if first := AddressConflict(cfg, cfg.Egresses[0], s); first != "" {
				t.Errorf("the other tunnel: %q", first)
			}
			d := Decide(cfg, s)
			if used := len(d.Intent.Egresses[1].Addrs) > 0; used != (tt.want == "") ||
				(d.Health["second"] == Unusable) != (tt.want != "") {
				t.Errorf("addresses %v, health %v", d.Intent.Egresses[1].Addrs, d.Health["second"])
			}
		})
	}
}

// A server that names another tunnel's address as its resolver harms nobody but itself.
func TestResolversAreOutsideTheBox(t *testing.T) {
	cfg := bridgetest.Parse(t, "zerotier: {networks: ["+bridgetest.Network+`]}
egress: {first: {openvpn: {profile: provider.ovpn}}, second: {openvpn: {profile: provider.ovpn}}}
policy: [{egress: [first, second]}]
`)
	s := Snapshot{Host: HostState(bridgetest.HostState("first", "second")),
		ZeroTier: bridgetest.Joined(), Tunnels: map[string]client.Status{
			"first": bridgetest.Up("10.8.0.2/24"), "second": bridgetest.Up("10.9.0.2/24")}}
	outside := netip.MustParseAddr("10.9.0.1")
	s.Tunnels["second"].Session.DNS = []netip.Addr{netip.MustParseAddr("10.8.0.2"), outside}
	for _, e := range Decide(cfg, s).Intent.Egresses {
		if len(e.Addrs) == 0 {
			t.Errorf("%s is refused", e.Name)
		}
		if e.Name == "second" && !slices.Equal(e.DNS, []netip.Addr{outside}) {
			t.Errorf("resolvers %v", e.DNS)
		}
	}
}

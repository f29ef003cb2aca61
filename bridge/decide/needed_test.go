package decide

import (
	"net/netip"
	"strings"
	"testing"

	"ztbridge/bridge/bridgetest"
	"ztbridge/bridge/openvpn/client"
	"ztbridge/bridge/openvpn/profile"
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

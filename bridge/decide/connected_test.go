package decide

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"ztbridge/bridge/bridgetest"
	"ztbridge/bridge/zerotier"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

const behindConfig = bridgetest.Uno + `
ingress: [{interface: br-lan, name: lan, prefixes: [192.168.60.0/24]}]
peering: [{from: lan, to: zerotier}]
`

// refused says that the members' table refuses a prefix and leads nowhere else with it.
func refused(t *testing.T, intent policyroute.Intent, prefix string) bool {
	t.Helper()
	state, err := policyroute.Compile(intent)
	if err != nil {
		t.Fatal(err)
	}
	refused, led := false, false
	for _, r := range state.Routes {
		if r.Table == policyroute.TableMembers && r.Dst.String() == prefix {
			refused = refused || r.Type == policyroute.UnreachableRoute
			led = led || r.Type == policyroute.Unicast
		}
	}
	return refused && !led
}

// Members stay members while zerotier-one, or a link without its addresses, cannot tell that they
// are: else what is sent to them leaves by an egress. It is so, too, for a daemon that has only
// just started.
func TestMembersStayMembers(t *testing.T) {
	cfg := bridgetest.Parse(t, behindConfig)
	w := HostState(bridgetest.HostState())
	w.Links = append(w.Links, kernel.Link{Name: "br-lan", Index: 4, Up: true, MTU: 1500,
		Addrs: []netip.Prefix{
			netip.MustParsePrefix("192.168.50.1/24"), netip.MustParsePrefix("fd50::1/64")}})
	before := Decide(cfg, Snapshot{Host: w, ZeroTier: bridgetest.Joined()})
	known := before.Connected

	bare := HostState(bridgetest.HostState())
	bare.Links = []kernel.Link{bare.Links[0], {Name: "br-lan", Index: 4}}
	for name, s := range map[string]Snapshot{
		"everything is gone":     {Host: HostState{Links: w.Links[:1]}},
		"a link without address": {Host: bare},
		"the network is not ours": {Host: bare,
			ZeroTier: zerotier.Status{
				Networks: []zerotier.NetworkStatus{{ID: bridgetest.Joined().Networks[0].ID,
					Iface: bridgetest.Iface(), State: zerotier.NetworkDenied}}}},
	} {
		s.Connected = known
		d := Decide(cfg, s)
		for _, prefix := range []string{"10.147.17.0/24", "192.168.50.0/24", "192.168.60.0/24",
			"fd50::/64"} {
			if !refused(t, d.Intent, prefix) {
				t.Errorf("%s: packets for %s are not refused", name, prefix)
			}
		}
		if !reflect.DeepEqual(d.Connected, known) {
			t.Errorf("%s: knows %v of %v", name, d.Connected, known)
		}
	}
}

// What is known now counts alone: a network that was renumbered, a subnet that is behind another
// ingress by now.
func TestWhatIsKnownNowCounts(t *testing.T) {
	cfg := bridgetest.Parse(t, behindConfig)
	s := Snapshot{Host: HostState(bridgetest.HostState()), ZeroTier: bridgetest.Joined(),
		Connected: map[string]ConnectedPrefixes{
			bridgetest.Iface(): {Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}},
			"br-lan": {Prefixes: []netip.Prefix{netip.MustParsePrefix("10.147.17.0/24"),
				netip.MustParsePrefix("fd50::/64")}},
			"gone0": {Prefixes: []netip.Prefix{netip.MustParsePrefix("10.2.0.0/16")}},
		}}
	want := map[string]ConnectedPrefixes{
		bridgetest.Iface(): {Prefixes: []netip.Prefix{netip.MustParsePrefix("10.147.17.0/24")}},
		"br-lan":           {Prefixes: []netip.Prefix{netip.MustParsePrefix("fd50::/64")}},
	}
	got := Decide(cfg, s).Connected
	for iface, b := range want {
		if !slices.Equal(got[iface].Prefixes, b.Prefixes) {
			t.Errorf("%s: %v, want %v", iface, got[iface].Prefixes, b.Prefixes)
		}
	}
	if len(got) != len(want) {
		t.Errorf("knows %v", got)
	}
}

// A part of a network that is behind another ingress says nothing of the rest, which has nobody
// else. A subnet that was moved to another link, or is configured for another ingress, is not kept
// where it was.
func TestWhatIsElsewhereIsForgotten(t *testing.T) {
	cfg := bridgetest.Parse(t, bridgetest.Uno+`
ingress: [{interface: br-lan, name: lan}, {interface: eth7, name: old}, {interface: eth8, name: wide, prefixes: [10.9.0.0/16]}]
`)
	prefixes := func(list ...string) []netip.Prefix {
		var out []netip.Prefix
		for _, p := range list {
			out = append(out, netip.MustParsePrefix(p))
		}
		return out
	}
	w := HostState(bridgetest.HostState())
	w.Links = append(w.Links,
		kernel.Link{Name: "br-lan", Index: 40, Up: true, Addrs: prefixes("10.244.5.1/24")},
		kernel.Link{Name: "br0", Index: 41, Up: true, Addrs: prefixes("192.168.50.1/24")})
	got := Decide(cfg, Snapshot{Host: w, Connected: map[string]ConnectedPrefixes{
		bridgetest.Iface(): {Prefixes: prefixes("10.244.0.0/16")},
		"eth7": {Prefixes: prefixes("192.168.50.0/24", "10.9.3.0/24",
			"192.168.51.0/24")},
	}}).Connected
	for iface, want := range map[string][]netip.Prefix{
		bridgetest.Iface(): prefixes("10.244.0.0/16"), "br-lan": prefixes(
			"10.244.5.0/24"), "eth7": prefixes("192.168.51.0/24"),
	} {
		if !slices.Equal(got[iface].Prefixes, want) {
			t.Errorf("behind %s: %v, want %v", iface, got[iface].Prefixes, want)
		}
	}
}

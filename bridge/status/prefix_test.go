package status

import (
	"net/netip"
	"strings"
	"testing"

	"ztbridge/bridge/bridgetest"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/prefixcheck"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

func TestPrefixTrouble(t *testing.T) {
	const members = "2001:db8:1:2:8000::/80"
	wan := func(addr string) decide.HostState {
		w := decide.HostState(bridgetest.HostState())
		w.Links[0].Addrs = append(w.Links[0].Addrs, netip.MustParsePrefix(addr))
		w.Defaults = append(w.Defaults, kernel.DefaultRoute{Family: policyroute.V6, Iface: "eth0",
			Gateway: netip.MustParseAddr("2001:db8:1:2::1")})
		return w
	}
	for _, tc := range []struct {
		name, ipv6, ConnectedPrefixes string
		host                          decide.HostState
		verdict                       prefixcheck.Outcome
		want                          string // part of the message; empty: none
	}{
		{"on-link", `{prefix: "` + members + `"}`, members, wan("2001:db8:1:2::5/64"),
			prefixcheck.Works, ""},
		{"not tried yet", `{prefix: "` + members + `"}`, members, wan("2001:db8:1:2::5/64"),
			prefixcheck.Unknown, ""},
		{"not sent here", `{prefix: "` + members + `"}`, members, wan("2001:db8:1:2::5/64"),
			prefixcheck.Lost, "do not come back"},
		{"no IPv6", `{prefix: "` + members + `"}`, members,
			decide.HostState(bridgetest.HostState()),
			prefixcheck.Unknown,
			"eth0 has no IPv6 default route"},
		{"the WAN's own subnet", `{prefix: "2001:db8:1:2::/64"}`, members,
			wan(
				"2001:db8:1:2::5/64"), prefixcheck.Unknown,
			"holds the address of eth0, 2001:db8:1:2::5"},
		{"the router in it", `{prefix: "2001:db8:1:2::/80"}`, "2001:db8:1:2::/80",
			wan("2001:db8:1:2:1::5/64"), prefixcheck.Unknown, "holds the provider's router"},
		{"on-link, and silent", `{prefix: "` + members + `", ndp: false}`, members,
			wan("2001:db8:1:2::5/64"), prefixcheck.Unknown, "nobody answers"},
		{"routed, and silent", `{prefix: "` + members + `", ndp: false}`, members,
			wan("2001:db8:9::5/64"), prefixcheck.Works, ""},
		{"nobody numbered from it", `{prefix: "` + members + `"}`, "fd99::/64",
			wan("2001:db8:1:2::5/64"), prefixcheck.Unknown, "no device can have an address"},
		{"translated", `nat66`, members, decide.HostState(bridgetest.HostState()),
			prefixcheck.Unknown,
			""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := bridgetest.Parse(t, "zerotier: {networks: ["+bridgetest.Network+
				"]}\negress: {direct: {wan: {ipv6: "+tc.ipv6+"}}}\npolicy: [{egress: [direct]}]\n")
			s := decide.Snapshot{Host: tc.host, ZeroTier: bridgetest.Joined(),
				Prefixes: map[string]prefixcheck.Outcome{"direct": tc.verdict}}
			s.ZeroTier.Networks[0].Prefixes = []netip.Prefix{
				netip.MustParsePrefix(tc.ConnectedPrefixes)}
			got, remedy := prefixTrouble(cfg.Egresses[0], s, decide.Decide(cfg, s).Intent)
			if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) ||
				(got == "") != (remedy == "") {
				t.Errorf("got %q, remedy %q; want %q", got, remedy, tc.want)
			}
		})
	}
}

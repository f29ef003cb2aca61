package zerotier

import (
	"net/netip"
	"strings"
	"testing"

	"ztbridge/bridge/health"
)

func TestRouteProblems(t *testing.T) {
	const no, other = health.NetworkNoRoute, health.NetworkOtherRoute
	cases := []struct {
		name, addrs, routes string
		code                health.Code
		says                []string // in message or remedy
		to                  string   // what the box is there for; empty: everything
	}{
		{"all is there", "10.99.0.1/16 fd99::1/64", "0.0.0.0/0=10.99.0.1 ::/0=fd99::1", "", nil, ""},
		{"in halves", "10.99.0.1/16", "0.0.0.0/1=10.99.0.1 128.0.0.0/1=10.99.0.1", "", nil, ""},
		{"one half", "10.99.0.1/16", "0.0.0.0/1=10.99.0.1", no, []string{"0.0.0.0/0"}, ""},
		{"none", "10.99.0.1/16 fd99::1/64", "10.99.0.0/16=", no,
			[]string{"0.0.0.0/0 and ::/0", "0.0.0.0/0 via 10.99.0.1 and ::/0 via fd99::1",
				"network setup --yes"}, ""},
		{"no IPv6 route", "10.99.0.1/16 fd99::1/64", "0.0.0.0/0=10.99.0.1", no,
			[]string{"no managed route ::/0 by", "::/0 via fd99::1"}, ""},
		{"no IPv4 route", "10.99.0.1/16 fd99::1/64", "::/0=fd99::1", no,
			[]string{"no managed route 0.0.0.0/0 by"}, ""},
		{"no IPv6 in the network", "10.99.0.1/16", "0.0.0.0/0=10.99.0.1", "", nil, ""},
		{"via an old address", "10.99.0.1/16", "0.0.0.0/0=10.99.0.9", other,
			[]string{"0.0.0.0/0 via 10.99.0.9", "add 0.0.0.0/0 via 10.99.0.1", "wait 10 s"}, ""},
		{"IPv6 via an old address", "10.99.0.1/16 fd99::1/64", "0.0.0.0/0=10.99.0.1 ::/0=fd99::9",
			other, []string{"::/0 via fd99::9", "add ::/0 via fd99::1"}, ""},
		{"two of them, ours is first", "10.99.0.1/16",
			"0.0.0.0/0=10.99.0.1 0.0.0.0/0=10.99.0.9", "", nil, ""},
		{"two of them, ours is second", "10.99.0.1/16",
			"0.0.0.0/0=10.99.0.9 0.0.0.0/0=10.99.0.1", other,
			[]string{"0.0.0.0/0 via 10.99.0.9"}, ""},
		{"on the link", "10.99.0.1/16", "0.0.0.0/0=", no, nil, ""},
		{"any address of a 6PLANE member",
			"fc9c:56c2:e389:e92c:eee5::1/40", "::/0=fc9c:56c2:e389:e92c:eee5::77", "", nil, ""},
		{"no address yet", "", "0.0.0.0/0=10.99.0.1", "", nil, ""},
		{"the halves lead elsewhere", "10.99.0.1/16",
			"0.0.0.0/0=10.99.0.1 0.0.0.0/1=10.99.0.9 128.0.0.0/1=10.99.0.9", other,
			[]string{"0.0.0.0/1 via 10.99.0.9", "add 0.0.0.0/0 via 10.99.0.1"}, ""},
		{"one half leads elsewhere", "10.99.0.1/16", "0.0.0.0/0=10.99.0.1 128.0.0.0/1=10.99.0.9",
			other, []string{"128.0.0.0/1 via 10.99.0.9"}, ""},
		{"the halves lead here, the whole elsewhere", "10.99.0.1/16",
			"0.0.0.0/0=10.99.0.9 0.0.0.0/1=10.99.0.1 128.0.0.0/1=10.99.0.1", other,
			[]string{"0.0.0.0/0 via 10.99.0.9"}, ""},
		{"a part goes elsewhere on purpose", "10.99.0.1/16",
			"0.0.0.0/0=10.99.0.1 192.168.7.0/24=10.99.0.9", "", nil, ""},
		{"a destination by its own route", "10.99.0.1/16", "198.51.100.0/24=10.99.0.1", "", nil,
			"198.51.100.0/24"},
		{"a destination by a wider route", "10.99.0.1/16", "198.51.0.0/16=10.99.0.1", "", nil,
			"198.51.100.0/24"},
		{"a destination by half of all", "10.99.0.1/16", "128.0.0.0/1=10.99.0.1", "", nil,
			"198.51.100.0/24"},
		{"a destination without a route", "10.99.0.1/16", "10.99.0.0/16=", no,
			[]string{"no managed route 198.51.100.0/24", "controller: 198.51.100.0/24 via 10.99.0.1"},
			"198.51.100.0/24"},
		{"a destination whose route leads elsewhere", "10.99.0.1/16",
			"0.0.0.0/0=10.99.0.1 198.51.100.0/24=10.99.0.9", other,
			[]string{"198.51.100.0/24 via 10.99.0.9"}, "198.51.100.0/24"},
		{"a destination of another IP version", "10.99.0.1/16", "", "", nil, "2001:db8::/32"},
	}
	for _, c := range cases {
		to := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
		if c.to != "" {
			to = []netip.Prefix{netip.MustParsePrefix(c.to)}
		}
		var n NetworkStatus
		for text := range strings.FieldsSeq(c.addrs) {
			n.Addrs = append(n.Addrs, netip.MustParsePrefix(text))
		}
		for text := range strings.FieldsSeq(c.routes) {
			to, via, _ := strings.Cut(text, "=")
			r := Route{Target: netip.MustParsePrefix(to)}
			if via != "" {
				r.Via = netip.MustParseAddr(via)
			}
			n.Routes = append(n.Routes, r)
		}
		got := n.RouteProblems("home", to)
		if c.code == "" {
			if len(got) > 0 {
				t.Errorf("%s: %+v", c.name, got)
			}
			continue
		}
		if len(got) != 1 || got[0].Code != c.code || got[0].Subject != "home" {
			t.Errorf("%s: %+v, want %s", c.name, got, c.code)
			continue
		}
		for _, text := range c.says {
			if !strings.Contains(got[0].Message+"\n"+got[0].Remedy, text) {
				t.Errorf("%s: %+v does not say %q", c.name, got[0], text)
			}
		}
	}
}

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
	}{
		{"all is there", "10.99.0.1/16 fd99::1/64", "0.0.0.0/0=10.99.0.1 ::/0=fd99::1", "", nil},
		{"in halves", "10.99.0.1/16", "0.0.0.0/1=10.99.0.1 128.0.0.0/1=10.99.0.1", "", nil},
		{"one half", "10.99.0.1/16", "0.0.0.0/1=10.99.0.1", no, []string{"0.0.0.0/0"}},
		{"none", "10.99.0.1/16 fd99::1/64", "10.99.0.0/16=", no,
			[]string{"0.0.0.0/0 and ::/0", "0.0.0.0/0 via 10.99.0.1 and ::/0 via fd99::1",
				"network setup --yes"}},
		{"no IPv6 route", "10.99.0.1/16 fd99::1/64", "0.0.0.0/0=10.99.0.1", no,
			[]string{"no managed route ::/0 by", "::/0 via fd99::1"}},
		{"no IPv4 route", "10.99.0.1/16 fd99::1/64", "::/0=fd99::1", no,
			[]string{"no managed route 0.0.0.0/0 by"}},
		{"no IPv6 in the network", "10.99.0.1/16", "0.0.0.0/0=10.99.0.1", "", nil},
		{"via an old address", "10.99.0.1/16", "0.0.0.0/0=10.99.0.9", other,
			[]string{"0.0.0.0/0 via 10.99.0.9", "add 0.0.0.0/0 via 10.99.0.1", "wait 10 s"}},
		{"IPv6 via an old address", "10.99.0.1/16 fd99::1/64", "0.0.0.0/0=10.99.0.1 ::/0=fd99::9",
			other, []string{"::/0 via fd99::9", "add ::/0 via fd99::1"}},
		{"two of them, one is ours", "10.99.0.1/16", "0.0.0.0/0=10.99.0.9 0.0.0.0/0=10.99.0.1", "",
			nil},
		{"on the link", "10.99.0.1/16", "0.0.0.0/0=", no, nil},
		{"any address of a 6PLANE member",
			"fc9c:56c2:e389:e92c:eee5::1/40", "::/0=fc9c:56c2:e389:e92c:eee5::77", "", nil},
		{"no address yet", "", "0.0.0.0/0=10.99.0.1", "", nil},
	}
	for _, c := range cases {
		var n NetworkStatus
		for _, text := range strings.Fields(c.addrs) {
			n.Addrs = append(n.Addrs, netip.MustParsePrefix(text))
		}
		for _, text := range strings.Fields(c.routes) {
			to, via, _ := strings.Cut(text, "=")
			r := Route{Target: netip.MustParsePrefix(to)}
			if via != "" {
				r.Via = netip.MustParseAddr(via)
			}
			n.Routes = append(n.Routes, r)
		}
		got := n.RouteProblems("home")
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

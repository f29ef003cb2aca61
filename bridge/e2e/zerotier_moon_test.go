package e2e

import (
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/health"
	"ztbridge/bridge/lab"
	"ztbridge/bridge/lab/ztlab"
)

const moonConfig = `
egress: {provider: {openvpn: {profile: provider.ovpn}}}
probe: {targets: [192.0.2.10], hold_down: 1s}
`

// TestMoon: box A is a moon, and nothing else; box B follows it by configuration and a laptop by
// the command that box A's status prints. With the planet down, both start again, come online and
// reach each other; a node that follows no moon does not come online.
func TestMoon(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	var nodes []*ztlab.Node
	for i, name := range []string{"laptop", "hermit"} {
		site, err := p.lab.AddSite(name)
		must(t, err)
		n := p.node(site.NS, netip.AddrFrom4([4]byte{10, 99, 0, byte(31 + i)}))
		p.join(n, false)
		nodes = append(nodes, n)
	}
	laptop, hermit := nodes[0], nodes[1]
	p.a.write("ztbridge.yaml", "zerotier: {home: "+p.na.Home+
		", moon: {endpoints: [198.51.100.2/9993]}}\n"+moonConfig)
	p.b.write("ztbridge.yaml", strings.Replace(p.zerotier(p.nb), "}\n",
		", orbit: ["+p.na.Address+"]}\n", 1)+moonConfig)
	p.a.start()
	p.b.start()

	var command string
	p.a.await("a moon", func(st api.Status) bool {
		c, ok := condition(st, health.ServiceIsMoon)
		_, command, _ = strings.Cut(c.Remedy, ": ")
		return ok && strings.HasPrefix(command, "zerotier-cli orbit "+p.na.Address)
	})
	if out, _ := p.a.run("status"); !strings.Contains(out, command) {
		t.Errorf("status does not print %q:\n%s", command, out)
	}
	_, err := laptop.NS.Run(p.ctx, "sh", "-c",
		strings.Replace(command, "zerotier-cli", "zerotier-cli -D"+laptop.Home, 1))
	must(t, err)
	for _, n := range []*ztlab.Node{p.nb, laptop} {
		await(t, n.NS.Label+" to take box A for a moon", func() bool { return p.isMoon(n) })
		if files, _ := filepath.Glob(filepath.Join(n.Home, "moons.d",
			"*"+p.na.Address+".moon")); len(files) != 1 {
			t.Errorf("%s keeps %v, want the moon's file", n.NS.Label, files)
		}
	}

	p.planet.Root.Kill()
	for _, n := range []*ztlab.Node{p.nb, laptop, hermit} {
		must(t, n.Restart(p.ctx))
	}
	began := time.Now()
	must(t, p.nb.AwaitOnline(p.ctx))
	must(t, laptop.AwaitOnline(p.ctx))
	t.Logf("online by the moon after %s", time.Since(began).Round(100*time.Millisecond))
	awaitAnswers(t, p.stream(laptop.NS, lab.Ping, boxB4, netip.Addr{}, p.lab.HostMarker), 10)
	p.b.await("to be well, without the planet", func(st api.Status) bool {
		return networkStatus(st).Status == "ok" &&
			!slices.ContainsFunc(st.Conditions, func(c api.Condition) bool {
				return health.AreaOf(c.Code) == health.Service
			})
	})
	var alone struct{ Online bool }
	must(t, hermit.Get(p.ctx, "/status", &alone))
	if alone.Online {
		t.Error("a node that follows no moon is online: the test proves nothing")
	}
}

// isMoon asks a node what box A is to it.
func (p *pair) isMoon(n *ztlab.Node) bool {
	var peer struct{ Role string }
	return n.Get(p.ctx, "/peer/"+p.na.Address, &peer) == nil && peer.Role == "MOON"
}

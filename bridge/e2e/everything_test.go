package e2e

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
	"ztbridge/bridge/lab/ztlab"
	"ztbridge/policyroute/netlab"
)

// everythingConfig is a box that is all of it at once: gateway, exit node on two lines, endpoint,
// and one half of a Dinosaur.
const everythingConfig = `
egress:
  provider: {openvpn: {profile: provider.ovpn}}
  home: {zerotier: {via: [10.99.0.2, "fd99::2"]}}
  direct: {wan: {interface: wan0, ipv6: {prefix: "2001:db8:b0:0:8000::/80"}}}
  fixed: {wan: {interface: wan1, snat: 198.18.99.9}}
policy:
  - {from: [10.99.0.20], to: [192.0.2.77], egress: [provider]}
  - {from: [10.99.0.20, "fd99::20", "2001:db8:b0:0:8000::/80"], egress: [direct]}
  - {from: [10.99.0.21], egress: [fixed]}
  - {from: [10.99.0.22, "fd99::22"], egress: block}
  - {from: [endpoint], egress: [home]}
  - {from: [zerotier], egress: [provider]}
endpoint: {address: 198.51.100.2, listen: [udp/1194, tcp/443]}
probe: {targets: [192.0.2.10, "2001:db8:c0::10"], hold_down: 1s}
`

// everyone is who talks, and where each may be seen in clear. Everyone has a marker of their own.
//
//	first  ── zt ──┐               ┌── tunztb-provider ── provider-a   first to one destination, all others
//	second ── zt ──┤               ├── wan0    masquerade, NDP, NAT66   first
//	third  ── zt ──┼── zt ── box ──┤
//	others ── zt ──┘               ├── wan1    SNAT                     second
//	phone  ── openvpn ─────────────┘── zt ── box B ── tunztb-provider ── provider-b    phone
type everyone struct {
	*pair
	markers map[string]string
	// watches are captures by place and name of whose packets they count.
	watches map[string]map[string]*netlab.Capture
}

// watch counts everyone's packets on an interface.
func (e *everyone) watch(place string, ns *netlab.Namespace, iface string) {
	e.t.Helper()
	e.watches[place] = map[string]*netlab.Capture{}
	for name, marker := range e.markers {
		c, err := ns.Capture(iface, netlab.Carrying(marker))
		must(e.t, err)
		e.watches[place][name] = c
	}
}

// seen stops the captures and fails the test unless exactly those were seen at each place that may
// be.
func (e *everyone) seen(want map[string][]string) {
	e.t.Helper()
	for _, place := range slices.Sorted(maps.Keys(e.watches)) {
		var words []string
		for _, name := range slices.Sorted(maps.Keys(e.watches[place])) {
			c := e.watches[place][name]
			must(e.t, c.Stop())
			r, err := c.Result()
			must(e.t, err)
			words = append(words, fmt.Sprintf("%s %d", name, r.Matched))
			if allowed := slices.Contains(want[place], name); allowed != (r.Matched > 0) {
				e.t.Errorf("%s: packets of %s: %d, want some: %v; %v", place, name, r.Matched,
					allowed, r)
			}
			if r.Dropped > 0 {
				e.t.Errorf("%s: the capture missed %d packets", place, r.Dropped)
			}
		}
		e.t.Logf("%s: of %s", place, strings.Join(words, ", "))
	}
}

// TestEverythingAtOnce: on one box, on real ZeroTier, all kinds of egress serve at the same time,
// by member, by destination and by ingress, with managed, RFC 4193, 6PLANE and public addresses,
// and nobody's packets are seen where they do not belong, also while tunnels and daemon die and
// return.
func TestEverythingAtOnce(t *testing.T) {
	t.Parallel()
	members := netip.MustParsePrefix("2001:db8:b0:0:8000::/80")
	m := newMesh(t, lab.Options{RemoteClient: true, Providers: []lab.ProviderOptions{{}, {}}},
		ztlab.NetworkConfig{RFC4193: true, SixPlane: true,
			Routes: []ztlab.ManagedRoute{{Target: members}}})
	top := m.lab
	wan1, router := netlab.Iface{Name: "wan1", Addrs: []netip.Prefix{
		netip.MustParsePrefix("198.18.99.2/24"), netip.MustParsePrefix("198.18.99.9/24")}},
		netlab.Iface{Name: "r-wan1", Addrs: []netip.Prefix{netip.MustParsePrefix("198.18.99.1/24")}}
	_, err := netlab.Connect(top.Box, wan1, top.Router, router)
	must(t, err)
	must(t, top.Box.IP("route add default via 198.18.99.1 dev wan1 metric 500"))

	e := &everyone{pair: &pair{mesh: m}, watches: map[string]map[string]*netlab.Capture{},
		markers: map[string]string{
			"first": top.Marker, "second": lab.NewMarker(), "third": lab.NewMarker(),
			"fourth": lab.NewMarker(), "phone": lab.NewMarker(),
		}}
	e.site, err = top.AddSite("boxb")
	must(t, err)
	e.na, e.nb = m.node(top.Box, ztlab.Box4, ztlab.Box6), m.node(e.site.NS, boxB4, boxB6)
	hosts, at := map[string]*netlab.Namespace{"first": top.Client}, map[string]ztlab.Membership{}
	e.iface = m.join(e.na, false).Iface
	m.join(e.nb, false)
	for i, name := range []string{"first", "second", "third", "fourth"} {
		if hosts[name] == nil {
			site, err := top.AddSite(name)
			must(t, err)
			hosts[name] = site.NS
		}
		// The third is blocked by its managed addresses alone, and has others.
		node := m.node(hosts[name], netip.AddrFrom4([4]byte{10, 99, 0, byte(20 + i)}),
			netip.MustParseAddr(fmt.Sprintf("fd99::2%d", i)))
		at[name] = m.joinAsClient(node)
	}
	global := netip.MustParseAddr("2001:db8:b0:0:8000::20")
	must(t, hosts["first"].IP(fmt.Sprintf("addr add %s/80 dev %s nodad", global,
		at["first"].Iface)))

	e.a, e.b = newBox(t, top.Box), newBox(t, e.site.NS)
	e.a.write("provider.ovpn", top.Providers[0].Config())
	e.b.write("provider.ovpn", top.Providers[1].Config())
	e.b.write("ztbridge.yaml", m.zerotier(e.nb)+providerConfig)
	e.a.write("ztbridge.yaml", m.zerotier(e.na)+everythingConfig)
	mainA, err := top.Box.MainTable(t.Context())
	must(t, err)
	e.watch("wan0", top.Router, top.WANSegment.Port(top.Box, lab.WANIface))
	e.watch("wan1", top.Router, "r-wan1")
	e.watch("box B's line", top.Router, e.site.Router)
	e.watch("provider-a", top.Providers[0].NS, "tun-udp")
	e.watch("provider-b", top.Providers[1].NS, "tun-udp")
	e.b.start()
	e.a.start()
	e.b.awaitEgress("provider")
	ready := func(st api.Status) bool {
		return len(st.Egresses) == 4 &&
			!slices.ContainsFunc(st.Egresses, func(x api.Egress) bool { return x.RTT == 0 })
	}
	e.a.await("all egresses", ready)
	phone := newGuest(t, top, e.a, "phone", "udp")

	streams, wants := map[string]*lab.Stream{}, map[string]netip.Addr{}
	talk := func(name string, source, target, want netip.Addr) {
		t.Helper()
		what := fmt.Sprintf("%s as %s to %s", name, source, target)
		streams[what], wants[what] = m.stream(hosts[name], lab.UDP, target, source,
			e.markers[name]), want
	}
	a, b := top.Providers[0], top.Providers[1]
	hosts["phone"] = phone.ns
	talk("phone", phone.addr4, lab.ClientTarget4, b.Public4[0])
	talk("phone", phone.addr6, lab.ClientTarget6, b.Public6[0])
	first4 := netip.MustParseAddr("10.99.0.20")
	talk("first", first4, lab.ClientTarget4, a.Public4[0])
	talk("first", first4, lab.HostTarget4, lab.BoxWAN4)
	talk("first", netip.MustParseAddr("fd99::20"), lab.ClientTarget6, lab.BoxWAN6)
	talk("first", global, lab.ClientTarget6, global)
	talk("second", netip.MustParseAddr("10.99.0.21"), lab.ClientTarget4,
		netip.MustParseAddr("198.18.99.9"))
	for _, name := range []string{"third", "fourth"} {
		for _, addr := range at[name].Addrs {
			source := addr.Addr()
			blocked := name == "third" && (source.Is4() || ztlab.Net6.Contains(source))
			switch {
			case blocked:
				talk(name, source, pick(source, lab.ClientTarget4, lab.ClientTarget6),
					netip.Addr{})
			case source.Is4():
				talk(name, source, lab.ClientTarget4, a.Public4[0])
			default:
				talk(name, source, lab.ClientTarget6, a.Public6[0])
			}
		}
	}
	all := func() {
		t.Helper()
		for what, s := range streams {
			if wants[what].IsValid() {
				awaitAnswers(t, s, 10)
			}
		}
	}
	all()
	explained(t, e.a, phone.addr4.String(), "leaves by home (by rule 5)")
	explained(t, e.a, "10.99.0.21", "leaves by fixed (by rule 3)")
	explained(t, e.a, global.String(), "leaves by direct (by rule 2)")
	explained(t, e.a, at["fourth"].Addrs[len(at["fourth"].Addrs)-1].Addr().String(),
		"leaves by provider (by rule 6)")

	for name, do := range map[string]func(){
		"openvpn killed": func() {
			must(t, syscall.Kill(e.a.openvpn("provider"), syscall.SIGKILL))
		},
		"provider's server killed": func() {
			a.Kill()
			time.Sleep(time.Second) // the outage
			must(t,
				a.Start(t.Context()))
		},
		"the far box restarted": func() { e.b.stop(); e.b.start() },
		"the box's daemon kill -9": func() {
			e.a.daemon.KillAlone()
			e.a.start()
			e.a.await("all egresses", ready)
		},
		"the second uplink cut for a second": func() {
			must(t, top.Router.IP("link set r-wan1 down"))
			time.Sleep(time.Second) // the outage
			must(t, top.Router.IP("link set r-wan1 up"))
		},
	} {
		began := time.Now()
		do()
		all()
		t.Logf("%s: all flow again after %s", name, time.Since(began).Round(time.Millisecond))
	}

	stopAll(slices.Collect(maps.Values(streams))...)
	for _, what := range slices.Sorted(maps.Keys(streams)) {
		if want := wants[what]; want.IsValid() {
			onlySeenAs(t, what, streams[what], want)
		} else if r := streams[what].Stop(); r.Received > 0 {
			t.Errorf("%s is blocked, and answered: %v", what, r)
		}
	}
	e.seen(map[string][]string{
		"wan0": {"first"}, "wan1": {"second"}, "provider-a": {"first", "third",
			"fourth"}, "provider-b": {"phone"},
	})
	now, err := top.Box.MainTable(t.Context())
	must(t, err)
	if now != mainA {
		t.Errorf("the main table differs:\n%s\nbefore:\n%s", now, mainA)
	}
}

func pick(like, a4, a6 netip.Addr) netip.Addr {
	if like.Is4() {
		return a4
	}
	return a6
}

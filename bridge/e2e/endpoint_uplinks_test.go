package e2e

import (
	"net/netip"
	"testing"

	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

// TestEndpointAnswersByTheLineAsked: on a box with two lines, clients of the endpoint reach it by
// either, and what it answers leaves by that one; hosts that main knows a way to are answered by
// that way.
//
//	phone ── internet ──┬── wan0, main's default ── box ── lan0 ── nas
//	                    └── wan1 ───────────────────┘
func TestEndpointAnswersByTheLineAsked(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{})
	second, second6 := netip.MustParsePrefix("198.18.99.2/24"),
		netip.MustParsePrefix("2001:db8:99::2/64")
	_, err := netlab.Connect(top.Box,
		netlab.Iface{Name: "wan1", Addrs: []netip.Prefix{second, second6}},
		top.Router, netlab.Iface{Name: "r-wan1", Addrs: []netip.Prefix{
			netip.MustParsePrefix("198.18.99.1/24"), netip.MustParsePrefix("2001:db8:99::1/64")}})
	must(t, err)
	must(t, top.Box.IP("route add default via 198.18.99.1 dev wan1 metric 500"))
	must(t, top.Box.IP("route add ::/0 via 2001:db8:99::1 dev wan1 metric 5000"))
	main, err := top.Box.MainTable(t.Context())
	must(t, err)
	answers := func(port uint16) netlab.Match {
		return func(p netlab.Packet) bool {
			return (p.Src == second.Addr() || p.Src == second6.Addr()) && p.SrcPort == port
		}
	}
	b := newBox(t, top.Box)
	b.write("provider.ovpn", top.Providers[0].Config())
	b.write("ztbridge.yaml", `
endpoint: {address: 198.18.99.2, listen: [udp/1194, tcp/443]}
egress: {provider: {openvpn: {profile: provider.ovpn}}}
probe: {targets: [192.0.2.10], hold_down: 1s}
`)
	b.start()
	b.awaitEgress("provider")
	for transport, port := range map[string]uint16{"udp": 1194, "tcp": 443} {
		wrong, err := top.Router.Capture(top.WANSegment.Port(top.Box, lab.WANIface),
			answers(port))
		must(t, err)
		right, err := top.Router.Capture("r-wan1", answers(port))
		must(t, err)
		phone := newGuest(t, top, b, "phone-"+transport, transport)
		stream := phone.stream(lab.UDP, targetOf(lab.ClientTarget4), 50, top.Marker)
		awaitAnswers(t, stream, 20)
		onlySeenAs(t, transport, stream, top.Providers[0].Public4[0])
		must(t, right.Stop())
		if r, err := right.Result(); err != nil || r.Matched == 0 {
			t.Errorf("%s: no answer left by the line that was asked: %v %v", transport, r, err)
		}
		noLeak(t, wrong)
	}
	wrong, err := top.Router.Capture(top.WANSegment.Port(top.Box, lab.WANIface), answers(443))
	must(t, err)
	if _, err := top.Internet.Run(t.Context(), "timeout", "5", "bash", "-c",
		": < /dev/tcp/2001:db8:99::2/443"); err != nil {
		t.Errorf("the second line is not answered by IPv6: %v", err)
	}
	noLeak(t, wrong)
	_, err = top.NAS.Run(t.Context(), "sh", "-c",
		"ip route replace 198.18.99.2 via 192.168.50.1; timeout 5 bash -c ': < /dev/tcp/198.18.99.2/443'")
	if err != nil {
		t.Errorf("a host of the LAN does not reach the endpoint by the second line's address: %v",
			err)
	}
	now, err := top.Box.MainTable(t.Context())
	must(t, err)
	if now != main {
		t.Errorf("the main table differs:\n%s\nbefore:\n%s", now, main)
	}
}

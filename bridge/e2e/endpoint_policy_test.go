package e2e

import (
	"net/netip"
	"strings"
	"testing"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

const byClientConfig = `
endpoint: {address: 198.51.100.2, listen: [udp/1194, tcp/443]}
egress:
  first: {openvpn: {profile: first.ovpn, credentials: first.auth}}
  second: {openvpn: {profile: second.ovpn}}
policy:
  - {from: [phone], egress: [second]}
  - {from: [endpoint], egress: [first]}
probe: {targets: [192.0.2.10], hold_down: 1s}
`

// TestEndpointPolicyByClient: a client that a rule names leaves by the rule's egress, whichever
// listener it comes by, and all others by the other.
func TestEndpointPolicyByClient(t *testing.T) {
	t.Parallel()
	top, b := newFailover(t, byClientConfig)
	leaks := watchGuests(t, top)
	first, second := top.Providers[0], top.Providers[1]
	b.await("both providers", func(st api.Status) bool {
		return len(st.Policies) == 2 && st.Policies[0].Egress == "second" &&
			st.Policies[1].Egress == "first"
	})
	phone := newGuest(t, top, b, "phone", "udp")
	tablet := newGuest(t, top, b, "tablet", "tcp")
	phone.seenAs(top.Marker, second.Public4[0], second.Public6[0])
	tablet.seenAs(top.Marker, first.Public4[0], first.Public6[0])
	phone.connect(b, "tcp")
	tablet.connect(b, "udp")
	phone.seenAs(top.Marker, second.Public4[0], second.Public6[0])
	tablet.seenAs(top.Marker, first.Public4[0], first.Public6[0])

	// A client that opens the page is recognised by its tunnel, and takes an exit of its list.
	b.write("ztbridge.yaml", strings.Replace(byClientConfig, "[endpoint], egress: [first]}",
		"[endpoint], choose: [first, second]}", 1)+"page: {}\n")
	b.mustRun("reload")
	for i, address := range boxInside(t, top.Box, "tunztb.udp1194") {
		page := opens(t, tablet.ns, address, netip.Addr{})
		await(t, "the page, and the new list on it", func() bool {
			body, err := page.try("/")
			return err == nil && strings.Contains(body, "<form")
		})
		page.choose("second")
		tablet.seenAs(top.Marker, second.Public4[0], second.Public6[0])
		if body := page.get("/"); !strings.Contains(body, "tablet") ||
			strings.Contains(body, "phone") || !strings.Contains(body, "Leaves by second") {
			t.Errorf("the tablet sees at %s:\n%s", address, body)
		}
		if i == 0 {
			page.choose("")
			tablet.seenAs(top.Marker, first.Public4[0], first.Public6[0])
		}
	}
	for _, address := range boxInside(t, top.Box, "tunztb.tcp443") {
		body := opens(t, phone.ns, address, netip.Addr{}).get("/")
		if !strings.Contains(body, "Leaves by second") || strings.Contains(body, "<form") ||
			strings.Contains(body, "tablet") {
			t.Errorf("the phone, whose rule offers nothing, sees at %s:\n%s", address, body)
		}
	}
	noLeak(t, leaks)
}

// boxInside returns the box's addresses in the network of a listener, by the listener's device.
func boxInside(t *testing.T, box *netlab.Namespace, device string) []netip.Addr {
	t.Helper()
	out, err := box.Run(t.Context(), "ip", "-o", "addr", "show", "scope", "global", "dev", device)
	must(t, err)
	var list []netip.Addr
	for line := range strings.Lines(out) {
		p, err := netip.ParsePrefix(strings.Fields(line)[3])
		must(t, err)
		list = append(list, p.Addr())
	}
	if len(list) != 2 {
		t.Fatalf("the box has on %s:\n%s", device, out)
	}
	return list
}

// TestEndpointPolicyHoldsFromTheFirstPacket: a client that is added while the box runs connects at
// once and talks at once. Its rule is in force by then.
func TestEndpointPolicyHoldsFromTheFirstPacket(t *testing.T) {
	t.Parallel()
	top, b := newFailover(t, byClientConfig)
	first, second := top.Providers[0], top.Providers[1]
	b.await("both providers", func(st api.Status) bool {
		return len(st.Policies) == 2 && st.Policies[0].Egress == "second" &&
			st.Policies[1].Egress == "first"
	})
	from := func(p *lab.Provider) *netlab.Capture {
		target := netip.PrefixFrom(lab.ClientTarget4, 32)
		c, err := top.Internet.Capture("eth0", func(q netlab.Packet) bool {
			return netlab.Within(target)(q) && netlab.Within(netip.PrefixFrom(p.Public4[0], 32))(q)
		})
		must(t, err)
		return c
	}
	wrong, right := from(first), from(second)
	newGuest(t, top, b, "phone", "udp", "--script-security", "2",
		"--route-up", "/bin/sh -c 'ping -q -c 100 -i 0.01 "+lab.ClientTarget4.String()+" &'")
	await(t, "the phone's packets", func() bool {
		r, err := right.Result()
		return err == nil && r.Matched >= 50
	})
	must(t, right.Stop())
	must(t, wrong.Stop())
	strayed, err := wrong.Result()
	must(t, err)
	if strayed.Matched > 0 || strayed.Dropped > 0 {
		t.Errorf("packets of the phone left by the other clients' egress: %v", strayed)
	}
}

const endpoint6Config = `
endpoint: {address: "2001:db8:b0::2", listen: [udp/1194, tcp/443]}
egress:
  provider: {openvpn: {profile: provider.ovpn}}
probe: {targets: [192.0.2.10], hold_down: 1s}
`

// TestEndpointIPv6: clients connect to the box by IPv6, and both families inside leave by the
// provider.
func TestEndpointIPv6(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{})
	provider := top.Providers[0]
	b := newBox(t, top.Box)
	b.write("provider.ovpn", provider.Config())
	b.write("ztbridge.yaml", endpoint6Config)
	leaks := watchGuests(t, top)
	b.start()
	b.awaitEgress("provider")
	for name, transport := range map[string]string{"phone": "udp", "tablet": "tcp"} {
		newGuest(t, top, b, name, transport).seenAs(top.Marker, provider.Public4[0],
			provider.Public6[0])
	}
	noLeak(t, leaks)
}

// TestEndpointRefusesIPv6WithoutAWay: the provider has no IPv6, so the clients' is refused, while
// they have IPv6 of their own in the tunnel, and the box on its WAN.
func TestEndpointRefusesIPv6WithoutAWay(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{Providers: []lab.ProviderOptions{{IPv4Only: true}}})
	b := newBox(t, top.Box)
	b.write("provider.ovpn", top.Providers[0].Config())
	b.write("ztbridge.yaml", duoConfig)
	leaks := watchGuests(t, top)
	b.start()
	b.awaitEgress("provider")
	phone := newGuest(t, top, b, "phone", "udp")
	four := phone.stream(lab.UDP, targetOf(lab.ClientTarget4), 50, top.Marker)
	awaitAnswers(t, four, 20)
	six := phone.stream(lab.UDP, targetOf(lab.ClientTarget6), 50, top.Marker)
	awaitAnswers(t, four, 50)
	if r := six.Stop(); r.Sent == 0 || r.Received > 0 {
		t.Errorf("IPv6 has a way out: %v", r)
	}
	onlySeenAs(t, "the phone", four, top.Providers[0].Public4[0])
	noLeak(t, leaks)
}

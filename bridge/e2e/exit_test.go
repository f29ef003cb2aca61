package e2e

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

const directConfig = `
ingress: [ing0]
egress:
  provider: {openvpn: {profile: provider.ovpn}}
  direct: {wan: {ipv6: {prefix: "2001:db8:b0:0:8000::/80", ndp: true}}}
policy:
  - {from: [10.77.0.3], to: [192.0.2.77], egress: [provider]}
  - {from: [10.77.0.4], egress: block}
  - {egress: [direct]}
inbound:
  - {to: "2001:db8:b0:0:8000::2", tcp: [7]}
probe: {targets: [192.0.2.10], hold_down: 2s}
`

// TestExitNode gives clients the box's own way out, with IPv6 addresses of their own out of the
// WAN's /64, for which the box answers the upstream router; and, beside it on the same box, other
// members another way, by source and by destination.
func TestExitNode(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{})
	must(t, top.Client.IP("addr add 10.77.0.3/24 dev eth0", "addr add 10.77.0.4/24 dev eth0",
		"addr add 2001:db8:b0:0:8000::2/80 dev eth0 nodad"))
	must(t, top.Box.IP("addr add 2001:db8:b0:0:8000::1/80 dev ing0 nodad"))
	b := newBox(t, top.Box)
	b.write("provider.ovpn", top.Providers[0].Config())
	b.write("ztbridge.yaml", directConfig)
	b.start()
	b.await("both egresses", func(st api.Status) bool {
		return len(st.Egresses) == 2 && st.Egresses[0].Usable && st.Egresses[1].Usable
	})

	seen := func(source string, target netip.Addr) netip.Addr {
		t.Helper()
		s, err := lab.StartStream(lab.StreamConfig{
			From: top.Client, Kind: lab.UDP, To: targetOf(
				target), Rate: 50, Marker: top.Marker, Source: netip.MustParseAddr(source),
		})
		must(t, err)
		defer s.Stop()
		await(t, "an answer to "+source, func() bool { return len(s.Report().Egresses()) > 0 })
		for egress := range s.Report().Egresses() {
			return egress
		}
		return netip.Addr{}
	}
	for _, c := range []struct {
		name, source string
		target, want netip.Addr
	}{
		{"IPv4 by the box's own address", "10.77.0.2", lab.ClientTarget4, lab.BoxWAN4},
		{"IPv6 by the member's own address", "2001:db8:b0:0:8000::2", lab.ClientTarget6,
			netip.MustParseAddr("2001:db8:b0:0:8000::2")},
		{"IPv6 outside of the prefix is translated", "fd77::2", lab.ClientTarget6,
			lab.BoxWAN6},
		{"one member to one destination by the provider", "10.77.0.3", lab.ClientTarget4,
			top.Providers[0].Public4[0]},
		{"the same member elsewhere directly", "10.77.0.3", lab.HostTarget4, lab.BoxWAN4},
	} {
		if got := seen(c.source, c.target); got != c.want {
			t.Errorf("%s: the Internet saw %v, want %v", c.name, got, c.want)
		}
	}
	out, err := top.Client.Run(t.Context(), "ping", "-c1", "-W3", "-I", "10.77.0.4",
		lab.ClientTarget4.String())
	if err == nil || !strings.Contains(strings.ToLower(out), "unreachable") {
		t.Errorf("a blocked member: %v: %s", err, out)
	}
	unsolicited(t, top)
	neighbours(t, top)
	inner(t, top)
	services(t, top)

	// The kernel goes on by itself: a box whose daemon was killed is not closed.
	b.daemon.Kill()
	seen("10.77.0.2", lab.ClientTarget4)
	if st, err := b.status(); st.State != api.Degraded {
		t.Errorf("with its daemon killed: %s: %q (%v)", st.State, st.Summary, err)
	}
}

// inner has a member try what only the box is to reach: a network that it is in, and its cloud's
// metadata.
func inner(t *testing.T, top *lab.Topology) {
	t.Helper()
	must(t, top.Box.IP("link add lan9 type veth peer name lan9peer", "link set lan9peer up",
		"link set lan9 up",
		"addr add 192.168.9.1/24 dev lan9", "addr add 2001:db8:99::1/64 dev lan9 nodad"))
	targets := []string{"192.168.9.7", "169.254.169.254", "2001:db8:99::7"}
	// By the box itself: the router of its WAN does not know these networks either.
	box := []string{"From 10.77.0.1 ", "From fd77::1 ", "From 2001:db8:b0:0:8000::1 "}
	refused := func(target string) (string, bool) {
		out, err := top.Client.Run(t.Context(), "ping", "-c1", "-W1", target)
		said := slices.ContainsFunc(box,
			func(from string) bool { return strings.Contains(out, from) })
		return out, err != nil && said && strings.Contains(strings.ToLower(out), "unreachable")
	}
	for _, target := range targets { // the box has to notice its new network first
		await(t, "the refusal of "+target, func() bool {
			_, ok := refused(target)
			return ok
		})
	}
	var captures []*netlab.Capture
	for _, iface := range []string{lab.WANIface, "lan9"} {
		c, err := top.Box.Capture(iface,
			func(p netlab.Packet) bool { return slices.Contains(targets, p.Dst.String()) })
		must(t, err)
		captures = append(captures, c)
	}
	for _, target := range targets {
		_, _ = refused(target) // not told each time: Linux limits its errors
	}
	for _, c := range captures {
		must(t, c.Stop())
		result, err := c.Result()
		must(t, err)
		if result.Matched > 0 {
			t.Errorf("out of the box went %v", result)
		}
	}
}

// services has a program of the box open a port that a member sends from: the member loses it.
func services(t *testing.T, top *lab.Topology) {
	t.Helper()
	const port = "51820"
	sends := func() string {
		c, err := top.Client.ListenPacket("udp4", "10.77.0.2:"+port)
		must(t, err)
		defer c.Close()
		_, err = c.WriteTo([]byte("hello"), &net.UDPAddr{IP: net.IP(lab.ClientTarget4.AsSlice()),
			Port: 4000})
		must(t, err)
		out, err := top.Box.Run(t.Context(), "conntrack", "-L", "-p", "udp", "-s", "10.77.0.2",
			"--sport", port)
		must(t, err)
		return out
	}
	const taken = "dport=" + port
	if out := sends(); !strings.Contains(out, taken) {
		t.Errorf("before the service was there, a member's connection is\n%s", out)
	}
	c, err := top.Box.ListenPacket("udp4", "0.0.0.0:"+port)
	must(t, err)
	defer c.Close()
	await(t, "another port for the member", func() bool {
		out := sends()
		return out != "" && !strings.Contains(out, taken)
	})
}

// unsolicited opens connections from the Internet to a member.
func unsolicited(t *testing.T, top *lab.Topology) {
	t.Helper()
	member := "2001:db8:b0:0:8000::2"
	for _, port := range []string{"7", "9"} {
		l, err := top.Client.Listen("tcp6", net.JoinHostPort(member, port))
		must(t, err)
		defer l.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		c, err := top.Internet.Dial(ctx, "tcp6", net.JoinHostPort(member, port))
		cancel()
		if err == nil {
			_ = c.Close()
		}
		if allowed := port == "7"; (err == nil) != allowed {
			t.Errorf("from the Internet to port %s of a member: %v, want allowed=%v", port, err,
				allowed)
		}
	}
}

// neighbours has the upstream router look for addresses that are not the box's to answer for.
func neighbours(t *testing.T, top *lab.Topology) {
	t.Helper()
	for _, foreign := range []string{"2001:db8:b0::99", "2001:db8:b0:0:9000::2"} {
		_, _ = top.Router.Run(t.Context(), "ping", "-6", "-c1", "-W2", foreign)
		out, err := top.Router.Run(t.Context(), "ip", "-6", "neigh", "show", foreign)
		must(t, err)
		if strings.Contains(out, "lladdr") {
			t.Errorf("somebody answered for %s: %s", foreign, out)
		}
	}
}

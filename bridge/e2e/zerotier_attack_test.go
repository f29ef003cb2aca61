package e2e

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
	"ztbridge/bridge/lab/ztlab"
	"ztbridge/policyroute/netlab"
)

// TestZeroTierMemberAttacksTheBox lets a member of a real ZeroTier network do what any member can:
// advertise itself as a router, send from addresses that are not its own, and talk to the box while
// zerotier-one ends and returns. Nothing of it may leave by the box's WAN.
func TestZeroTierMemberAttacksTheBox(t *testing.T) {
	t.Parallel()
	m := newMesh(t, lab.Options{RemoteClient: true}, ztlab.NetworkConfig{})
	top := m.lab
	node := m.node(top.Box, ztlab.Box4, ztlab.Box6)
	member := m.node(top.Client, ztlab.Client4, ztlab.Client6)
	iface := m.join(node, false).Iface
	there := m.join(member, false).Iface
	b := newBox(t, top.Box)
	b.write("provider.ovpn", top.Providers[0].Config())
	b.write("ztbridge.yaml", m.zerotier(node)+providerConfig)
	b.start()
	b.await("the provider", func(st api.Status) bool {
		return len(st.Policies) > 0 && st.Policies[0].Egress == "provider"
	})
	echo, err := lab.ServeEcho(top.Box, ztlab.Box4, ztlab.Box6)
	must(t, err)
	t.Cleanup(func() { _ = echo.Close() })
	for _, to := range []netip.Addr{ztlab.Box4, ztlab.Box6} {
		awaitAnswers(t, m.stream(top.Client, lab.Ping, to, netip.Addr{}, top.Marker), 10)
	}
	t.Run("router advertisements", func(t *testing.T) { advertiseAsMember(t, m, iface, there) })
	t.Run("spoofed sources", func(t *testing.T) { spoofAsMember(t, m, there) })
	t.Run("zerotier-one restarted", func(t *testing.T) { talkOverRestart(t, m, node) })
	if out := shrinkAsMember(t, m); strings.Contains(out, "mtu") {
		t.Errorf("a member made the box's path smaller: %s", out)
	}
	b.stop()
	b.mustRun("down")
	await(t, "a smaller path without ztbridge", func() bool {
		return strings.Contains(shrinkAsMember(t, m), "mtu 1280")
	})
}

// shrinkAsMember tells the box that a packet of its own to the Internet, which it never sent, was
// too big, and returns the route of such packets.
func shrinkAsMember(t *testing.T, m *mesh) string {
	const tooBig = `
import socket, struct, sys
box, to = sys.argv[1], sys.argv[2]
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
echo = struct.pack("!BBHHH", 128, 0, 0, 1, 1)
quoted = struct.pack("!IHBB", 6 << 28, len(echo), 58, 60) + socket.inet_pton(socket.AF_INET6, box) + \
    socket.inet_pton(socket.AF_INET6, to) + echo
s.sendto(struct.pack("!BBHI", 2, 0, 0, 1280) + quoted, (sys.argv[3], 0))`
	uplink, err := m.lab.Box.Run(m.ctx, "sh", "-c", "ip -6 route get "+lab.HostTarget6.String()+
		" | sed -n 's/.* src \\([^ ]*\\).*/\\1/p'")
	must(t, err)
	_, err = m.lab.Client.Run(m.ctx, "python3", "-c", tooBig, strings.TrimSpace(uplink),
		lab.HostTarget6.String(), ztlab.Box6.String())
	must(t, err)
	// What follows it arrives after it.
	s := m.stream(m.lab.Client, lab.Ping, ztlab.Box6, netip.Addr{}, m.lab.Marker)
	awaitAnswers(t, s, 3)
	s.Stop()
	out, err := m.lab.Box.Run(m.ctx, "ip", "-6", "route", "get", lab.HostTarget6.String())
	must(t, err)
	return out
}

// advertiseAsMember sends router advertisements into the network until the box has got some.
func advertiseAsMember(t *testing.T, m *mesh, iface, there string) {
	const routerAdvertisement, icmpAt = 134, 14 + 40 // behind Ethernet and IPv6
	arrived, err := m.lab.Box.Capture(iface, func(p netlab.Packet) bool {
		return p.Proto == "icmpv6" && len(p.Data) > icmpAt && p.Data[icmpAt] == routerAdvertisement
	})
	must(t, err)
	prefix := netip.MustParsePrefix("2001:db8:bad::/64")
	// By number: package net remembers indexes by name, and both hosts call theirs alike.
	there = strconv.Itoa(ifindex(t, m.lab.Client, there))
	stop, err := lab.Advertise(m.lab.Client, there, prefix)
	must(t, err)
	defer func() { must(t, stop()) }()
	await(t, "router advertisements at the box", func() bool {
		r, err := arrived.Result()
		must(t, err)
		return r.Matched >= 3
	})
	must(t, arrived.Stop())
	for _, command := range []string{"ip -6 route show table all dev " + iface,
		"ip -6 addr show dev " + iface} {
		out, err := m.lab.Box.Run(m.ctx, "sh", "-c", command)
		must(t, err)
		if strings.Contains(out, "proto ra") || strings.Contains(out, "2001:db8:bad:") {
			t.Errorf("the box took a member for its router: %s\n%s", command, out)
		}
	}
}

// spoofAsMember talks to the box from addresses of the Internet.
func spoofAsMember(t *testing.T, m *mesh, there string) {
	// Time for a SYN and its first repetition, and for 75 of the others.
	const attempts = 1500 * time.Millisecond
	forged := map[netip.Addr]netip.Addr{
		ztlab.Box4: netip.MustParseAddr("192.0.2.77"),
		ztlab.Box6: netip.MustParseAddr("2001:db8:77::7"),
	}
	for _, from := range forged {
		_, err := m.lab.Client.Run(m.ctx, "ip", "addr", "add",
			netip.PrefixFrom(from, from.BitLen()).String(), "dev", there, "nodad")
		must(t, err)
	}
	leaks, err := m.lab.WatchLeaks()
	must(t, err)
	for to, from := range forged {
		for _, kind := range []lab.Kind{lab.Ping, lab.UDP, lab.TCP} {
			s := m.stream(m.lab.Client, kind, to, from, m.lab.Marker)
			time.Sleep(attempts)
			if r := s.Stop(); r.Received > 0 {
				t.Errorf("%v from %s was answered: %v", kind, from, r)
			}
		}
	}
	noLeak(t, leaks)
}

// talkOverRestart keeps sessions with the box while its interface goes and returns.
func talkOverRestart(t *testing.T, m *mesh, node *ztlab.Node) {
	leaks, err := m.lab.WatchLeaks()
	must(t, err)
	var streams []*lab.Stream
	for to, from := range map[netip.Addr]netip.Addr{ztlab.Box4: ztlab.Client4,
		ztlab.Box6: ztlab.Client6} {
		for _, kind := range []lab.Kind{lab.UDP, lab.TCP} {
			s := m.stream(m.lab.Client, kind, to, from, m.lab.Marker)
			awaitAnswers(t, s, 10)
			streams = append(streams, s)
		}
	}
	// The box's TCP repeats what was not acknowledged for as long as nobody takes it.
	const absent = 2 * time.Second
	node.Kill()
	time.Sleep(absent) // the outage
	must(t, node.Start(m.ctx))
	_, err = node.AwaitMembership(m.ctx, m.network.ID)
	must(t, err)
	for _, s := range streams {
		s.Stop()
	}
	noLeak(t, leaks)
}

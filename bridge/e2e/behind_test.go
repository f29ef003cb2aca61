package e2e

import (
	"net/netip"
	"strings"
	"testing"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
	"ztbridge/bridge/lab/ztlab"
	"ztbridge/policyroute/netlab"
)

// TestMembersAreNotLookedForInTheInternet: what a client of the endpoint sends to a member is
// refused while zerotier-one does not run, by the daemon that knew the member and by one that
// starts meanwhile. It leaves neither by the provider nor by the WAN.
func TestMembersAreNotLookedForInTheInternet(t *testing.T) {
	t.Parallel()
	m := newMesh(t, lab.Options{RemoteClient: true}, ztlab.NetworkConfig{})
	top := m.lab
	must(t, m.network.SetRoutes(m.ctx, ztlab.ManagedRoute{Target: ztlab.Net4},
		ztlab.ManagedRoute{Target: ztlab.Net6},
		ztlab.ManagedRoute{Target: clientPool4, Via: ztlab.Box4}, ztlab.ManagedRoute{
			Target: clientPool6, Via: ztlab.Box6}))
	node := m.node(top.Box, ztlab.Box4, ztlab.Box6)
	iface := m.join(node, false).Iface
	m.join(m.node(top.Client, ztlab.Client4, ztlab.Client6), false)
	b := newBox(t, top.Box)
	b.write("provider.ovpn", top.Providers[0].Config())
	b.write("ztbridge.yaml", m.zerotier(node)+peeringConfig+
		"peering: [{from: endpoint, to: zerotier}]\n")
	leaks := watchGuests(t, top)
	b.start()
	tunnel := b.awaitEgress("provider").Egresses[0].Interface
	phone := newGuest(t, top, b, "phone", "udp")
	echo, err := lab.ServeEcho(top.Client, ztlab.Client4, ztlab.Client6)
	must(t, err)
	defer echo.Close()
	watch := func() *netlab.Capture {
		c, err := top.Box.Capture(tunnel, netlab.Within(ztlab.Net4, ztlab.Net6))
		must(t, err)
		return c
	}
	inTunnel := watch()
	streams := func() (out []*lab.Stream) {
		for _, to := range []netip.Addr{ztlab.Client4, ztlab.Client6} {
			s := phone.stream(lab.UDP, targetOf(to), 50, top.Marker)
			awaitAnswers(t, s, 20)
			out = append(out, s)
		}
		return out
	}

	open := streams()
	told, err := phone.ns.Capture("tun0", refusalOf(top.Marker))
	must(t, err)
	node.Stop()
	b.await("the end of the network",
		func(st api.Status) bool { return networkStatus(st).Status == "unknown" })
	if ifindex(t, top.Box, iface) != 0 {
		t.Errorf("%s outlived its service", iface)
	}
	await(t, "refusals", func() bool {
		r, err := told.Result()
		must(t, err)
		return r.Matched > 10 // of IPv6: Linux is slow to tell a busy sender of IPv4
	})
	must(t, told.Stop())
	stopAll(open...)
	noLeak(t, inTunnel)

	b.stop()
	// The endpoint keeps the later of two sessions with one name: the old client must not come back
	// beside the new one.
	phone.proc.Stop()
	b.start()
	b.awaitEgress("provider")
	inTunnel = watch()
	phone.connect(b, "udp")
	for _, pair := range [][2]netip.Addr{{phone.addr4, ztlab.Client4},
		{phone.addr6, ztlab.Client6}} {
		await(t, "a refusal of "+pair[1].String(), func() bool {
			out, _ := phone.ns.Run(m.ctx, "ping", "-n", "-c", "2", "-W", "1", "-I", pair[0].String(),
				pair[1].String())
			return strings.Contains(strings.ToLower(out), "unreachable")
		})
	}
	must(t, node.Start(m.ctx))
	stopAll(streams()...)
	noLeak(t, inTunnel)
	noLeak(t, leaks)
}

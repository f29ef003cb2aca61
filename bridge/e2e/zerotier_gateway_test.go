package e2e

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/doctor"
	"ztbridge/bridge/health"
	"ztbridge/bridge/lab"
	"ztbridge/bridge/lab/ztlab"
	"ztbridge/policyroute/netlab"
)

const providerConfig = `
egress:
  provider: {openvpn: {profile: provider.ovpn}}
probe: {targets: [192.0.2.10], hold_down: 1s}
`

// TestZeroTierGateway: members whose default route is the box leave by the provider, or not at all,
// while tunnel and zerotier-one die and return.
func TestZeroTierGateway(t *testing.T) {
	t.Parallel()
	m := newMesh(t, lab.Options{RemoteClient: true}, ztlab.NetworkConfig{})
	top, provider := m.lab, m.lab.Providers[0]
	node := m.node(top.Box, ztlab.Box4, ztlab.Box6)
	client := m.node(top.Client, ztlab.Client4, ztlab.Client6)
	// Joined by hand before: what the main tables hold from now on is ZeroTier's, not ours.
	iface := m.join(node, false).Iface
	main, err := top.Box.MainTable(m.ctx)
	must(t, err)
	leaks, err := top.WatchLeaks()
	must(t, err)

	b := newBox(t, top.Box)
	b.write("provider.ovpn", provider.Config())
	b.write("ztbridge.yaml", m.zerotier(node)+providerConfig)
	b.start()
	m.joinAsClient(client)
	tr := startTraffic(t, top)
	tr.awaitFlow("start")

	if text := b.mustRun("doctor", "--member"); !strings.Contains(text,
		"0.0.0.0/0 via "+ztlab.Box4.String()+"\n") {
		t.Errorf("doctor --member does not name the box:\n%s", text)
	}
	restarted := func(end func()) func() {
		return func() {
			before := ifindex(t, top.Box, iface)
			end()
			if ifindex(t, top.Box, iface) != 0 {
				t.Errorf("%s outlived its service", iface)
			}
			must(t, node.Start(m.ctx))
			b.await("the new interface", func(st api.Status) bool {
				now := ifindex(t, top.Box, iface)
				return now != 0 && now != before && len(st.Ingresses) == 1 &&
					st.Ingresses[0].State == "up"
			})
		}
	}
	for _, e := range []struct {
		name string
		do   func()
	}{
		{"tunnel killed", func() {
			if text, err := b.run("doctor"); err != nil {
				t.Errorf("doctor finds a healthy box ill: %v", err)
			} else {
				t.Logf("doctor:\n%s", text)
			}
			provider.Kill()
			b.awaitEgress("")
			if text, err := b.run("doctor"); err == nil ||
				!strings.HasSuffix(text, "\nTo fix: egress provider.\n") {
				t.Errorf("doctor does not find that it is the tunnel: %v\n%s", err, text)
			}
			must(t, provider.Start(m.ctx))
		}},
		{"zerotier-one SIGKILL", restarted(node.Kill)},
		{"zerotier-one SIGTERM", restarted(node.Stop)},
	} {
		began := time.Now()
		e.do()
		tr.awaitFlow(e.name)
		t.Logf("%s: flows again after %s", e.name, time.Since(began).Round(time.Millisecond))
		now, err := top.Box.MainTable(m.ctx)
		must(t, err)
		if now != main {
			t.Errorf("after %s the main table differs:\n%s\nbefore:\n%s", e.name, now, main)
		}
	}
	tr.stop()
	for name, s := range tr.clients {
		for seen := range s.Report().Egresses() {
			if seen != provider.Public4[0] && seen != provider.Public6[0] &&
				!provider.Inside(seen) {
				t.Errorf("%s was seen from %s, which is not the provider's", name, seen)
			}
		}
	}
	noLeak(t, leaks)
}

// TestZeroTierMembershipIsSaidPlainly: a box that its network does not let in says so, and whom to
// let in; and one that is expelled does not leak.
func TestZeroTierMembershipIsSaidPlainly(t *testing.T) {
	t.Parallel()
	m := newMesh(t, lab.Options{RemoteClient: true}, ztlab.NetworkConfig{})
	top, provider := m.lab, m.lab.Providers[0]
	node := m.node(top.Box)
	must(t, m.network.Deauthorise(m.ctx, node))
	client := m.node(top.Client, ztlab.Client4, ztlab.Client6)
	leaks, err := top.WatchLeaks()
	must(t, err)
	b := newBox(t, top.Box)
	b.write("provider.ovpn", provider.Config())
	b.write("ztbridge.yaml", m.zerotier(node)+providerConfig)
	b.start()

	denied := func(st api.Status) bool {
		c, ok := condition(st, health.NetworkDenied)
		return ok && strings.Contains(c.Remedy, node.Address) &&
			networkStatus(st).Status == api.NetworkDenied &&
			networkStatus(st).Member == node.Address
	}
	b.await("the word that the box is not authorised", denied)
	if text, _ := b.run("status"); !strings.Contains(text, "authorise member "+node.Address) {
		t.Errorf("`ztbridge status` does not say whom to authorise:\n%s", text)
	}

	must(t, m.network.Authorise(m.ctx, node, ztlab.Box4, ztlab.Box6))
	m.joinAsClient(client)
	stream := m.stream(top.Client, lab.UDP, lab.ClientTarget4, ztlab.Client4, top.Marker)
	awaitAnswers(t, stream, 20)
	if text := b.mustRun("status"); strings.Contains(text, "authorise") {
		t.Errorf("`ztbridge status` of an authorised box still says whom to authorise:\n%s", text)
	}

	// The service asks its controller once a minute, or when it starts, and until then says OK from
	// its cache.
	must(t, m.network.Deauthorise(m.ctx, node))
	node.Kill()
	must(t, node.Start(m.ctx))
	b.await("the word that the box was expelled", denied)
	onlySeenAs(t, "the member", stream, provider.Public4[0])
	noLeak(t, leaks)
}

// TestLinuxMemberKeepsItsIPv6 shows why Linux members are told to run the commands of
// doctor.KeepIPv6, and that they help: while the box does not answer, a member's IPv6 leaves by its
// own line without them.
func TestLinuxMemberKeepsItsIPv6(t *testing.T) {
	t.Parallel()
	m := newMesh(t, lab.Options{RemoteClient: true}, ztlab.NetworkConfig{})
	top := m.lab
	box := m.node(top.Box, ztlab.Box4, ztlab.Box6)
	client := m.node(top.Client, ztlab.Client4, ztlab.Client6)
	m.join(box, false)
	iface := m.join(client, true).Iface
	m.awaitDefault(client)
	box.Kill()

	ownLine := func(version string, target netip.Addr) int {
		capture, err := top.Router.Capture(top.ClientSite.Router, netlab.Carrying(top.Marker))
		must(t, err)
		stream := m.stream(top.Client, lab.UDP, target, netip.Addr{}, top.Marker)
		// Longer than neighbour discovery takes to give up: three solicitations a second apart.
		time.Sleep(5 * time.Second)
		stream.Stop()
		must(t, capture.Stop())
		seen, err := capture.Result()
		must(t, err)
		t.Logf("%s: %d packets by the member's own line", version, seen.Matched)
		return seen.Matched
	}
	if n := ownLine("IPv4", lab.ClientTarget4); n > 0 {
		t.Errorf("%d packets of IPv4 left by the member's own line", n)
	}
	if ownLine("IPv6, unprotected", lab.ClientTarget6) == 0 {
		t.Error("IPv6 stays without the commands: the advice is not needed any more")
	}
	for _, command := range doctor.KeepIPv6(iface) {
		_, err := top.Client.Run(m.ctx, "sh", "-c", command)
		must(t, err)
	}
	if n := ownLine("IPv6, with the commands", lab.ClientTarget6); n > 0 {
		t.Errorf("%d packets of IPv6 left by the member's own line all the same", n)
	}
	must(t, box.Start(m.ctx))
	awaitAnswers(t, m.stream(top.Client, lab.Ping, ztlab.Box6, netip.Addr{}, top.Marker), 5)
}

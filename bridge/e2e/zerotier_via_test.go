package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"ztbridge/bridge/api"
	"ztbridge/bridge/health"
	"ztbridge/bridge/lab"
	"ztbridge/bridge/lab/ztlab"
)

const viaConfig = `
egress:
  home: {zerotier: {via: %s}}
  provider: {openvpn: {profile: provider.ovpn}}
policy:
  - {from: [10.99.0.77], egress: [home]}
  - {from: [zerotier], egress: [provider]}
probe: {targets: [192.0.2.10], hold_down: 1s}
`

// TestImpossibleMember names the box itself, and then nobody at all, as the member to go through:
// the other egress works all the same, and the status says which one does not, and why.
func TestImpossibleMember(t *testing.T) {
	t.Parallel()
	m := newMesh(t, lab.Options{RemoteClient: true}, ztlab.NetworkConfig{})
	top := m.lab
	node := m.node(top.Box, ztlab.Box4, ztlab.Box6)
	client := m.node(top.Client, ztlab.Client4, ztlab.Client6)
	iface := m.join(node, false).Iface
	leaks, err := top.WatchLeaks()
	must(t, err)
	b := newBox(t, top.Box)
	b.sh("ip addr add 10.99.0.190/32 broadcast 10.99.0.200 dev " + iface)
	b.write("provider.ovpn", top.Providers[0].Config())
	for _, c := range []struct {
		via     string
		code    health.Code
		message string
	}{
		{ztlab.Box4.String(), "via-unusable", "this box itself"},
		// A broadcast address that is no network's last one is known to the kernel alone.
		{"10.99.0.200", "reconcile-failed", "via 10.99.0.200"},
	} {
		b.write("ztbridge.yaml", m.zerotier(node)+fmt.Sprintf(viaConfig, c.via))
		if b.daemon == nil {
			b.start()
			m.joinAsClient(client)
		} else {
			must(t, b.daemon.Signal(reloadSignal))
		}
		b.await("word of "+c.via, func(st api.Status) bool {
			said, ok := condition(st, c.code)
			return ok && strings.Contains(said.Message, c.message)
		})
		if c.code == health.ViaUnusable { // doctor does not before it knows of the network
			await(t, "doctor to say why", func() bool {
				text, _ := b.run("doctor")
				return strings.Contains(text, c.message)
			})
		}
		b.await("the provider", func(st api.Status) bool {
			return len(st.Policies) == 2 &&
				st.Policies[1].Egress == "provider"
		})
		stream := m.stream(top.Client, lab.UDP, lab.ClientTarget4, netip.Addr{}, top.Marker)
		awaitAnswers(t, stream, 50)
		stream.Stop()
		onlySeenAs(t, "the client", stream, top.Providers[0].Public4[0])
	}
	noLeak(t, leaks)
}

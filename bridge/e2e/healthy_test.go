package e2e

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/health"
	"ztbridge/bridge/lab"
	"ztbridge/bridge/lab/ztlab"
	"ztbridge/policyroute/netlab"
)

// healthyFor is how long nothing may be said to be wrong.
const healthyFor = 10 * time.Minute

// TestLongHealthy leaves the usual set-ups alone: nothing may be said to be wrong, and no traffic
// may move.
func TestLongHealthy(t *testing.T) {
	netlab.Long(t, "ten minutes of each of four set-ups")
	for name, setUp := range map[string]func(*testing.T) []*box{
		"Uno": healthyUno, "Duo": healthyDuo, "Dinosaur": healthyDinosaur,
		"exit node": healthyExitNode,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			boxes := setUp(t)
			for _, b := range boxes {
				b.await("that all is well", func(st api.Status) bool {
					return st.State == api.Working && complaints(st) == ""
				})
			}
			staysHealthy(t, boxes)
		})
	}
}

// complaints returns what a status says is wrong.
func complaints(st api.Status) (out string) {
	for _, c := range st.Conditions {
		if c.Severity.AtLeast(health.Warning) {
			out += fmt.Sprintf("%s: %s; ", c.Code, c.Message)
		}
	}
	return out
}

func staysHealthy(t *testing.T, boxes []*box) {
	t.Helper()
	began := time.Now()
	last := make([]string, len(boxes))
	since := make([]time.Time, len(boxes))
	for time.Since(began) < healthyFor {
		for i, b := range boxes {
			st, err := b.status()
			must(t, err)
			said := complaints(st)
			if said != "" && said != last[i] {
				t.Errorf("after %v: %s", time.Since(began).Round(time.Second), said)
			}
			last[i] = said
			for _, rule := range st.Policies {
				if !since[i].IsZero() && rule.Since.After(since[i]) {
					t.Errorf("after %v: %s moved to %q: %s",
						time.Since(began).Round(time.Second), rule.Name, rule.Egress, rule.Why)
					since[i] = rule.Since
				}
			}
			if since[i].IsZero() {
				since[i] = st.Time
			}
		}
		time.Sleep(time.Second)
	}
	for _, b := range boxes {
		if text, err := b.run("doctor"); err != nil {
			t.Errorf("doctor: %v\n%s", err, text)
		}
	}
}

// clientFlows waits until the client reaches the Internet, which it goes on asking.
func (m *mesh) clientFlows() {
	m.t.Helper()
	for _, v := range []lab.Version{lab.IPv4, lab.IPv6} {
		stream, err := m.lab.ClientStream(lab.UDP, v, 10)
		must(m.t, err)
		awaitAnswers(m.t, stream, 20)
	}
}

func healthyUno(t *testing.T) []*box {
	m := newMesh(t, lab.Options{RemoteClient: true}, ztlab.NetworkConfig{})
	node := m.node(m.lab.Box, ztlab.Box4, ztlab.Box6)
	member := m.node(m.lab.Client, ztlab.Client4, ztlab.Client6)
	m.join(node, false)
	m.joinAsClient(member)
	b := newBox(t, m.lab.Box)
	b.write("provider.ovpn", m.lab.Providers[0].Config())
	b.write("ztbridge.yaml", m.zerotier(node)+providerConfig)
	b.start()
	m.clientFlows()
	return []*box{b}
}

func healthyExitNode(t *testing.T) []*box {
	m := newMesh(t, lab.Options{RemoteClient: true}, ztlab.NetworkConfig{})
	node := m.node(m.lab.Box, ztlab.Box4, ztlab.Box6)
	member := m.node(m.lab.Client, ztlab.Client4, ztlab.Client6)
	m.join(node, false)
	m.joinAsClient(member)
	b := newBox(t, m.lab.Box)
	b.write("ztbridge.yaml", m.zerotier(node)+`
egress: {direct: {wan: {}}}
policy: [{from: [zerotier], egress: [direct]}]
probe: {targets: [192.0.2.10]}
`)
	b.start()
	m.clientFlows()
	return []*box{b}
}

func healthyDuo(t *testing.T) []*box {
	m := newMesh(t, lab.Options{}, ztlab.NetworkConfig{})
	node := m.node(m.lab.Box, ztlab.Box4, ztlab.Box6)
	m.join(node, false)
	b := newBox(t, m.lab.Box)
	b.write("provider.ovpn", m.lab.Providers[0].Config())
	b.write("ztbridge.yaml", m.zerotier(node)+`
endpoint: {address: 198.51.100.2, listen: [udp/1194, tcp/443]}
egress: {provider: {openvpn: {profile: provider.ovpn}}}
policy: [{from: [zerotier, endpoint], egress: [provider]}]
probe: {targets: [192.0.2.10]}
`)
	b.start()
	b.awaitEgress("provider")
	phone := newGuest(t, m.lab, b, "phone", "tcp")
	awaitAnswers(t, phone.stream(lab.UDP, targetOf(lab.ClientTarget4), 10, m.lab.Marker), 20)
	return []*box{b}
}

func healthyDinosaur(t *testing.T) []*box {
	p := newPair(t)
	must(t, p.network.SetRoutes(p.ctx, // box B is what Uno is
		ztlab.ManagedRoute{Target: ztlab.Net4}, ztlab.ManagedRoute{Target: ztlab.Net6},
		ztlab.ManagedRoute{Target: netip.MustParsePrefix("0.0.0.0/0"), Via: boxB4},
		ztlab.ManagedRoute{Target: netip.MustParsePrefix("::/0"), Via: boxB6}))
	p.b.write("ztbridge.yaml", p.zerotier(p.nb)+providerConfig)
	p.a.write("ztbridge.yaml", p.zerotier(p.na)+dinosaurConfig+by("home", boxB4, boxB6))
	p.b.start()
	p.a.start()
	p.b.awaitEgress("provider")
	p.a.await("the way through box B", func(st api.Status) bool {
		return st.Policies[0].Egress == "home" && st.Egresses[0].RTT > 0
	})
	phone := newGuest(t, p.lab, p.a, "phone", "udp")
	awaitAnswers(t, phone.stream(lab.UDP, targetOf(lab.ClientTarget4), 10, p.lab.Marker), 20)
	return []*box{p.a, p.b}
}

package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

const gatewayConfig = `
ingress: [ing0]
egress:
  provider: {openvpn: {profile: provider.ovpn}}
probe: {targets: [192.0.2.10], hold_down: 3s}
`

// traffic is everything that flows while the box is mistreated.
type traffic struct {
	t       *testing.T
	clients map[string]*lab.Stream
	host    map[string]*lab.Stream
}

func startTraffic(t *testing.T, top *lab.Topology) *traffic {
	t.Helper()
	tr := &traffic{t: t, clients: map[string]*lab.Stream{}, host: map[string]*lab.Stream{}}
	for _, s := range []struct {
		kind    lab.Kind
		version lab.Version
		rate    int
	}{
		{lab.UDP, lab.IPv4, 500}, {lab.UDP, lab.IPv6, 200}, {lab.TCP, lab.IPv4,
			20},
		{lab.DNS, lab.IPv4, 10}, {lab.Ping, lab.IPv4, 20},
	} {
		stream, err := top.ClientStream(s.kind, s.version, s.rate)
		must(t, err)
		tr.clients[fmt.Sprintf("%s%d", s.kind, s.version)] = stream
	}
	var err error
	tr.host["the box's own ping"], err = top.BoxStream(lab.Ping, lab.IPv4, 20)
	must(t, err)
	tr.host["the box's own UDP"], err = top.BoxStream(lab.UDP, lab.IPv4, 20)
	must(t, err)
	tr.host["the box's own UDP6"], err = top.BoxStream(lab.UDP, lab.IPv6, 20)
	must(t, err)
	tr.host["a session into the box"], err = top.SessionIntoBox(lab.IPv4, 20)
	must(t, err)
	return tr
}

// awaitFlow waits until all of the clients' streams are answered again, from now on.
func (tr *traffic) awaitFlow(after string) {
	tr.t.Helper()
	before := map[string]int{}
	for name, s := range tr.clients {
		_, before[name], _ = s.Counts()
	}
	for name, s := range tr.clients {
		await(tr.t, fmt.Sprintf("answers to %s after %s", name, after), func() bool {
			_, now, _ := s.Counts()
			return now >= before[name]+5
		})
	}
}

// stop ends all streams and checks that the host never felt a thing.
func (tr *traffic) stop() {
	tr.t.Helper()
	for name, s := range tr.clients {
		tr.t.Logf("client %s: %v", name, s.Stop())
	}
	for name, s := range tr.host {
		r := s.Stop()
		tr.t.Logf("%s: %v", name, r)
		if r.Lost > 0 {
			tr.t.Errorf("%s lost %d of %d: the host's own traffic was disturbed", name, r.Lost,
				r.Sent)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func standard(t testing.TB, opts lab.Options) *lab.Topology {
	t.Helper()
	require(t, netlab.Root, netlab.OpenVPN, netlab.IPTables)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	top, err := lab.Standard(ctx, opts)
	must(t, err)
	t.Cleanup(func() {
		for _, p := range top.Providers {
			if t.Failed() {
				t.Logf("log of %s:\n%s", p.Name, p.Log())
			}
		}
		if err := top.Close(); err != nil {
			t.Errorf("closing the lab: %v", err)
		}
	})
	return top
}

// noLeak fails the test if the capture saw anything.
func noLeak(t *testing.T, c *netlab.Capture) {
	t.Helper()
	must(t, c.Stop())
	r, err := c.Result()
	must(t, err)
	if r.Matched != 0 {
		t.Errorf("%d leaked packets on the box's WAN:\n%v", r.Matched, r)
	}
	if r.Dropped != 0 {
		t.Errorf("the capture missed %d packets: it proves nothing", r.Dropped)
	}
	t.Logf("capture on the WAN: %v", r)
}

// watchedGateway starts a box whose clients leave by one provider, and captures what must never
// leave its WAN in clear.
func watchedGateway(t *testing.T) (*lab.Topology, *box, *netlab.Capture) {
	t.Helper()
	top := standard(t, lab.Options{})
	b := newBox(t, top.Box)
	b.write("provider.ovpn", top.Providers[0].Config())
	b.write("ztbridge.yaml", gatewayConfig)
	b.start()
	b.awaitEgress("provider")
	leaks, err := top.WatchLeaks()
	must(t, err)
	return top, b, leaks
}

// TestGatewayNeverLeaks mistreats the box in every way that it is likely to meet, while clients
// talk, and looks at its WAN.
func TestGatewayNeverLeaks(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{})
	provider := top.Providers[0]
	b := newBox(t, top.Box)
	b.write("provider.ovpn", provider.Config())
	b.write("ztbridge.yaml", gatewayConfig)
	ctx := t.Context()

	untouched, err := top.Box.Snapshot(ctx)
	must(t, err)
	leaks, err := top.WatchLeaks()
	must(t, err)

	// The guard alone, as at boot: forwarding is on, and nothing passes.
	b.mustRun("guard")
	b.sh("sysctl -qw net.ipv4.conf.ing0.forwarding=1")
	tr := startTraffic(t, top)
	awaitSent(t, tr.clients["udp4"], 100)
	if _, n, _ := tr.clients["udp4"].Counts(); n != 0 {
		t.Fatalf("%d packets were answered with the guard alone", n)
	}
	b.sh("sysctl -qw net.ipv4.conf.ing0.forwarding=0")

	b.start()
	tr.awaitFlow("start")

	kill := func() { b.kill("tunztb-provider") }
	// With the first of the list that is three times in a row.
	twice := []mistreatment{{"openvpn kill -9, once", kill}, {"openvpn kill -9, twice", kill}}
	tr.mistreat(top.Box, slices.Concat(twice, mistreatments(t, b, provider, gatewayConfig),
		[]mistreatment{
			{"our rules deleted", func() {
				b.sh(
					"ip rule del iif ing0 proto 90; ip -6 rule del iif ing0 proto 90; ip rule flush protocol 90")
			}},
			{"ingress removed and recreated", func() {
				must(t, top.Ingress.Delete())
				time.Sleep(200 * time.Millisecond) // the outage, as of a service that restarts
				must(t, top.Ingress.Recreate())
			}},
		}))

	b.stop()
	for _, s := range tr.clients {
		awaitSent(t, s, 20)
	}
	tr.stop()
	noLeak(t, leaks)
	b.sh("iptables -P FORWARD ACCEPT; ip6tables -P FORWARD ACCEPT")
	b.mustRun("down")
	after, err := top.Box.Snapshot(ctx)
	must(t, err)
	if diff := after.Diff(untouched); diff != "" {
		t.Errorf("after `down` the box is not as it was:\n%s", diff)
	}
}

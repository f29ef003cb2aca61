package e2e

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

const duoConfig = `
endpoint: {address: 198.51.100.2, listen: [udp/1194, tcp/443]}
egress:
  provider: {openvpn: {profile: provider.ovpn}}
probe: {targets: [192.0.2.10], hold_down: 3s}
`

// TestEndpoint lets a phone in a café reach the provider by the box's own OpenVPN server: by UDP,
// and by TCP 443 where the café lets nothing else out. Nothing of what it sends leaves the box in
// clear.
func TestEndpoint(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{})
	cafe, err := top.AddCafe()
	must(t, err)
	b := newBox(t, top.Box)
	b.write("provider.ovpn", top.Providers[0].Config())
	b.write("ztbridge.yaml", duoConfig)
	b.mustRun("client", "add", "phone")
	profile := b.mustRun("client", "show", "phone")
	b.start()
	b.awaitEgress("provider")
	leaks, err := top.WatchLeaks()
	must(t, err)

	for _, transport := range []string{"udp", "tcp"} {
		if transport == "tcp" {
			must(t, cafe.BlockUDP())
		}
		connected := func() bool {
			st, err := b.status()
			return err == nil && len(st.Clients) == 1 &&
				strings.HasPrefix(st.Clients[0].Listener, transport)
		}
		phone := connect(t, cafe.Client, profile)
		await(t, "the phone by "+transport, connected)
		stream := clientStream(t, top, cafe.Client)
		awaitAnswers(t, stream, 50)
		if transport == "tcp" {
			top.Providers[0].Kill()
			b.await("a refusal", func(st api.Status) bool { return st.Policies[0].Egress == "" })
			must(t, top.Providers[0].Start(t.Context()))
			awaitAnswers(t, stream, 50)
			b.mustRun("client", "revoke", "phone")
			revoked := time.Now()
			await(t, "the end of a revoked session", func() bool { return !connected() })
			endsWithin(t, stream.Stop(), revoked, time.Second)
		}
		for seen := range stream.Stop().Egresses() {
			if seen != top.Providers[0].Public4[0] {
				t.Errorf("by %s: the Internet saw %s, want the provider's %s", transport, seen,
					top.Providers[0].Public4[0])
			}
		}
		phone.Stop()
	}
	noLeak(t, leaks)
}

// endsWithin fails the test if requests that were sent later than that after a moment were
// answered.
func endsWithin(t *testing.T, r lab.Report, since time.Time, limit time.Duration) {
	t.Helper()
	var last time.Duration
	for _, round := range r.Rounds {
		if !round.Received.IsZero() {
			last = max(last, round.Sent.Sub(since))
		}
	}
	t.Logf("the last packet that was answered was sent %s after the revocation",
		last.Round(time.Millisecond))
	if last > limit {
		t.Errorf("packets were answered for %s after the revocation, want at most %s", last, limit)
	}
}

// TestEndpointByProxy lets a phone in a café reach the provider where nothing gets out but by the
// café's HTTP proxy.
func TestEndpointByProxy(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{})
	cafe, err := top.AddCafe()
	must(t, err)
	b := newBox(t, top.Box)
	b.write("provider.ovpn", top.Providers[0].Config())
	b.write("ztbridge.yaml", duoConfig)
	b.mustRun("client", "add", "phone")
	profile := b.mustRun("client", "show", "--tcp", "phone")
	b.start()
	b.awaitEgress("provider")
	leaks, err := top.WatchLeaks()
	must(t, err)

	proxy, err := lab.ServeProxy(cafe.Site.NS, netip.MustParseAddrPort("192.168.80.1:3128"),
		"room 12",
		"breakfast")
	must(t, err)
	defer proxy.Close()
	must(t,
		cafe.Site.NS.Nft(
			"table inet cafe {\nchain forward {\ntype filter hook forward priority 0\niifname guests drop\n}\n}"))
	password := filepath.Join(t.TempDir(), "proxy")
	must(t, os.WriteFile(password, []byte("room 12\nbreakfast\n"), 0o600))
	connect(t, cafe.Client, profile+"http-proxy 192.168.80.1 3128 "+password+" basic\n")
	stream := clientStream(t, top, cafe.Client)
	awaitAnswers(t, stream, 50)
	onlySeenAs(t, "the phone by the proxy", stream, top.Providers[0].Public4[0])
	if tunnels := proxy.Tunnels(); len(tunnels) == 0 || tunnels[0] != "198.51.100.2:443" {
		t.Errorf("the proxy passed on to %v, want the endpoint", tunnels)
	}
	noLeak(t, leaks)
}

// connect starts a plain openvpn client with a profile, as a user's own program would, and waits
// until it has set its routes: what is sent before leaves past the tunnel.
func connect(t testing.TB, ns *netlab.Namespace, profile string) *netlab.Process {
	t.Helper()
	path := filepath.Join(t.TempDir(), "phone.ovpn")
	must(t, os.WriteFile(path, []byte(profile), 0o600))
	p, err := ns.Start(netlab.Command("openvpn", "--config", path, "--verb", "3"))
	must(t, err)
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Logf("log of the client:\n%s", p.Log())
		}
	})
	await(t, "the client to connect",
		func() bool { return strings.Contains(p.Log(), "Initialization Sequence Completed") })
	return p
}

func clientStream(t *testing.T, top *lab.Topology, from *netlab.Namespace) *lab.Stream {
	t.Helper()
	s, err := lab.StartStream(lab.StreamConfig{
		From: from, Kind: lab.UDP, To: targetOf(
			lab.ClientTarget4), Rate: 100, Marker: top.Marker,
	})
	must(t, err)
	t.Cleanup(func() { s.Stop() })
	return s
}

package e2e

import (
	"strings"
	"testing"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
)

// TestHostWithoutIPv6 bridges on a box whose owner has switched IPv6 off, as many do on rented
// machines, with a provider, an endpoint and clients that have it: IPv4 flows, IPv6 is carried in
// tunnels alone, and nothing leaks.
func TestHostWithoutIPv6(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{})
	cafe, err := top.AddCafe()
	must(t, err)
	b := newBox(t, top.Box)
	b.sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
	before, err := top.Box.Snapshot(t.Context())
	must(t, err)
	leaks, err := top.WatchLeaks()
	must(t, err)
	b.write("provider.ovpn", top.Providers[0].Config())
	b.write("ztbridge.yaml", gatewayConfig+
		"endpoint: {address: 198.51.100.2, listen: [udp/1194]}\n")
	b.mustRun("client", "add", "phone")
	profile := b.mustRun("client", "show", "phone")
	b.mustRun("guard")
	b.start()
	b.awaitEgress("provider")

	refused, err := top.ClientStream(lab.UDP, lab.IPv6, 100)
	must(t, err)
	stream, err := top.ClientStream(lab.UDP, lab.IPv4, 100)
	must(t, err)
	awaitAnswers(t, stream, 50)
	phone := connect(t, cafe.Client, profile)
	b.await("the phone", func(st api.Status) bool { return len(st.Clients) == 1 })
	awaitAnswers(t, clientStream(t, top, cafe.Client), 50)
	out, err := cafe.Client.Run(t.Context(), "ping", "-c3", "-W3", lab.ClientTarget6.String())
	if err != nil {
		t.Errorf("IPv6 from tunnel to tunnel is not carried: %v: %s", err, out)
	}
	phone.Stop()
	_ = b.await("the daemon to be well",
		func(st api.Status) bool { return st.Reconcile.Error == "" && len(st.Reconcile.Ops) > 0 })
	if plan := b.mustRun("plan"); strings.TrimSpace(plan) != "" {
		t.Errorf("a settled daemon would still change something:\n%s", plan)
	}
	if r := refused.Report(); r.Received > 0 {
		t.Errorf("%d packets of the client's IPv6 were answered, on a box that takes none",
			r.Received)
	}
	noLeak(t, leaks)
	b.stop()
	b.mustRun("down")
	after, err := top.Box.Snapshot(t.Context())
	must(t, err)
	if diff := after.Diff(before); diff != "" {
		t.Errorf("after `down` the host is not as it was:\n%s", diff)
	}
}

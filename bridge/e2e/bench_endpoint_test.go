package e2e

import (
	"context"
	"fmt"
	"testing"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

// BenchmarkEndpoint compares the endpoint with an openvpn server as its manual's example has it,
// for one client, on the same host.
//
//	client ══ OpenVPN, TCP ══ endpoint ── Internet
//	client ~~ OpenVPN, TCP ~~ endpoint ── Internet    by the line of a café
//	client ══ OpenVPN, UDP ══ endpoint ══ OpenVPN, UDP ══ provider ── Internet
func BenchmarkEndpoint(b *testing.B) {
	overTCP := func(b *testing.B, wires wires) (ours, theirs path) {
		ours = roadWarrior(b, "tcp", "egress: {direct: {wan: {}}}\npolicy: [{egress: [direct]}]\n",
			wires)
		top := standard(b, lab.Options{})
		server, err := top.ServeOnBox(b.Context(),
			lab.ProviderOptions{Protos: []lab.Proto{lab.OverTCP}})
		must(b, err)
		return ours, path{top.Internet, plainClient(b, top, server, wires)}
	}
	b.Run("tcp", func(b *testing.B) {
		ours, theirs := overTCP(b, cards)
		b.Run("upload", func(b *testing.B) {
			compare(b, "endpoint over TCP, upload", 1.4, ours,
				theirs, false)
		})
		b.Run("download", func(b *testing.B) {
			compare(b, "endpoint over TCP, download", 1.4, ours,
				theirs, true)
		})
	})
	b.Run("line", func(b *testing.B) {
		ours, theirs := overTCP(b, cafe(aLine))
		compareTransfers(b, "endpoint over TCP, by a line", 1.4, 1.4, ours, theirs)
	})
	b.Run("waiting", func(b *testing.B) {
		ours, theirs := overTCP(b, cafe(aSlowLine))
		compareWaiting(b, "endpoint over TCP, by a slow line", 1.5, ours, theirs)
	})
	b.Run("chain", func(b *testing.B) {
		ours := roadWarrior(b, "udp", "egress: {provider: {openvpn: {profile: provider.ovpn}}}\n",
			cards)
		top := standard(b, lab.Options{})
		server, err := top.ServeOnBox(b.Context(), lab.ProviderOptions{})
		must(b, err)
		byHand(b, top, "tun-udp", true)
		theirs := path{top.Internet, plainClient(b, top, server, cards)}
		b.Run("upload", func(b *testing.B) {
			compare(b, "endpoint to provider, upload", 0.98, ours,
				theirs, false)
		})
		b.Run("download", func(b *testing.B) {
			compare(b, "endpoint to provider, download", 0.98,
				ours, theirs, true)
		})
	})
}

// wires says what a lab's wires are like, before the client at the site connects.
type wires func(b *testing.B, top *lab.Topology, site *lab.Site)

func cards(b *testing.B, top *lab.Topology, _ *lab.Site) { asCards(b, top) }

// cafe has the client at a line.
func cafe(line lab.Line) wires {
	return func(b *testing.B, top *lab.Topology, site *lab.Site) {
		byLine(b, top, site.Uplink, line)
	}
}

// roadWarrior is a host on the road that is connected to the endpoint of a box by the given
// transport.
func roadWarrior(b *testing.B, transport, egress string, wires wires) path {
	b.Helper()
	top := standard(b, lab.Options{})
	x := newBox(b, top.Box)
	x.write("provider.ovpn", top.Providers[0].Config())
	x.write("ztbridge.yaml", "endpoint: {address: 198.51.100.2, listen: [udp/1194, tcp/443]}\n"+
		egress+
		"probe: {targets: [192.0.2.10], hold_down: 3s}\n")
	x.mustRun("client", "add", "laptop")
	x.start()
	x.await("a way out", func(st api.Status) bool {
		return len(st.Policies) == 1 &&
			st.Policies[0].Egress != ""
	})
	site, err := top.AddSite("laptop")
	must(b, err)
	wires(b, top, site)
	connectClient(b, site.NS, onlyBy(transport, x.mustRun("client", "show", "laptop")))
	return path{top.Internet, site.NS}
}

// plainClient is a host on the road that is connected to a server that nobody tuned.
func plainClient(b *testing.B, top *lab.Topology, server *lab.Provider,
	wires wires) *netlab.Namespace {
	b.Helper()
	site, err := top.AddSite("laptop")
	must(b, err)
	wires(b, top, site)
	connectClient(b, site.NS, server.Config())
	return site.NS
}

// connectClient runs a plain openvpn client and returns when it is connected.
func connectClient(b *testing.B, ns *netlab.Namespace, profile string) {
	b.Helper()
	p := connect(b, ns, profile)
	ctx, cancel := context.WithTimeout(b.Context(), waitTimeout)
	defer cancel()
	// The route that pulls the traffic in comes last.
	const wait = "until ip route get %s | grep -q tun0; do sleep 0.1; done"
	if _, err := ns.Run(ctx, "sh", "-c", fmt.Sprintf(wait, lab.ClientTarget4)); err != nil {
		b.Fatalf("waiting for the client: %v\n%s", err, p.Log())
	}
}

package e2e

import (
	"context"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

// newNarrow is a box whose tunnel works, behind a line with two seconds of queue, as many a modem
// has.
func newNarrow(t *testing.T) (*lab.Topology, *box, api.Egress) {
	t.Helper()
	netlab.Require(t, netlab.IPerf3)
	top := standard(t, lab.Options{})
	b := newBox(t, top.Box)
	b.write("provider.ovpn", top.Providers[0].Config())
	b.write("ztbridge.yaml", gatewayConfig)
	b.start()
	st := b.await("a tunnel that answers", func(st api.Status) bool {
		return len(st.Egresses) > 0 && st.Egresses[0].RTT > 0 && len(st.Policies) > 0 &&
			st.Policies[0].Egress == "provider"
	})
	b.sh("tc qdisc replace dev " + lab.WANIface + " root tbf rate 4mbit burst 64kb latency 2s")
	return top, b, st.Egresses[0]
}

// upload has the client send to the Internet, as iperf3's arguments say.
func upload(t *testing.T, top *lab.Topology, args string) (client, server *netlab.Process) {
	t.Helper()
	server, err := top.Internet.Start(netlab.Command("iperf3", "-s", "-1", "-B",
		lab.ClientTarget4.String()))
	must(t, err)
	client, err = top.Client.Start(netlab.Command("sh", "-c",
		"sleep 0.5; exec iperf3 -c "+lab.ClientTarget4.String()+" "+args))
	must(t, err)
	return client, server
}

// TestFullTunnelIsNotDead uploads through a line so slow that probes are answered too late to
// count, or never. The tunnel must not be taken down for it: the upload would be what is cut.
func TestFullTunnelIsNotDead(t *testing.T) {
	t.Parallel()
	top, b, before := newNarrow(t)
	for name, args := range map[string]string{
		// Many connections at once: a single one is too polite to fill a queue.
		"TCP": "-P 24 -t 10",
		// Half as much again as the line carries, and nothing ever comes back.
		"UDP": "-u -b 6M -t 12",
	} {
		client, _ := upload(t, top, args)
		ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
		must(t, client.Wait(ctx))
		cancel()
		st, err := b.status()
		must(t, err)
		e := st.Egresses[0]
		t.Logf("%s: round trip %.3f s, %.0f %% of probes lost", name, e.RTT, 100*e.Loss)
		if e.RTT < 0.35 && e.Loss < 0.05 {
			t.Errorf("%s: probes were answered in %.3f s: the line was never full", name, e.RTT)
		}
		if !e.Since.Equal(before.Since) {
			t.Errorf("%s: the tunnel was up since %s and is %q since %s: %s", name, before.Since,
				e.State, e.Since, e.LastChange.Cause)
		}
		b.await("an empty queue", func(st api.Status) bool { return st.Egresses[0].RTT < 0.1 })
	}
}

// TestFullTunnelThatDiesIsNoticed kills the server in the midst of an upload that does not care.
func TestFullTunnelThatDiesIsNoticed(t *testing.T) {
	t.Parallel()
	top, b, before := newNarrow(t)
	client, server := upload(t, top, "-u -b 6M -t 60")
	defer server.Stop()
	defer client.Stop()
	b.await("a full line", func(st api.Status) bool { return st.Egresses[0].RTT > 0.3 })
	must(t, top.Providers[0].Blackhole())
	died := time.Now()
	b.await("a tunnel that reconnects",
		func(st api.Status) bool { return !st.Egresses[0].Since.Equal(before.Since) })
	noticed := time.Since(died)
	t.Logf("noticed after %v", noticed.Round(10*time.Millisecond))
	if limit := 6 * time.Second; noticed > limit {
		t.Errorf("noticed after %v, want at most %v", noticed, limit)
	}
}

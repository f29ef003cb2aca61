package e2e

import (
	"context"
	"testing"

	"ztbridge/bridge/api"
	"ztbridge/policyroute/netlab"
)

// TestFullTunnelIsNotDead uploads through a line so slow that probes are answered too late to count. The
// tunnel must not be taken down for it: the upload would be what is cut.
func TestFullTunnelIsNotDead(t *testing.T) {
	netlab.Require(t, netlab.IPerf3)
	lab := standard(t, netlab.Options{})
	b := newBox(t, lab.Box)
	b.write("provider.ovpn", lab.Providers[0].Config())
	b.write("ztbridge.yaml", gatewayConfig)
	b.start()
	up := b.await("a tunnel that answers", func(st api.Status) bool {
		return len(st.Egresses) > 0 && st.Egresses[0].RTT > 0 && len(st.Policies) > 0 && st.Policies[0].Egress == "provider"
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	// A line with two seconds of queue, as many a modem has.
	b.sh("tc qdisc replace dev " + netlab.WANIface + " root tbf rate 4mbit burst 64kb latency 2s")
	server, err := lab.Internet.Start(netlab.Command("iperf3", "-s", "-1", "-B", netlab.ClientTarget4.String()))
	must(t, err)
	// Many connections at once: a single one is too polite to fill a queue.
	_, err = lab.Client.Run(ctx, "sh", "-c", "sleep 0.5; iperf3 -P 24 -t 10 -c "+netlab.ClientTarget4.String())
	must(t, err)
	must(t, server.Wait(ctx))
	st, err := b.status()
	must(t, err)
	t.Logf("loss of probes %.2f, round trip %.3f s", st.Egresses[0].Loss, st.Egresses[0].RTT)
	if st.Egresses[0].Loss == 0 {
		t.Error("no probe went unanswered: the line was never full")
	}
	if was, is := up.Egresses[0].Since, st.Egresses[0].Since; !is.Equal(was) {
		t.Errorf("the tunnel was up since %s and is %q since %s: %s", was, st.Egresses[0].State, is, st.Egresses[0].LastChange.Cause)
	}
}

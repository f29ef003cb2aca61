package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/policyroute/netlab"
)

const failoverConfig = `
ingress: [ing0]
egress:
  first: {openvpn: {profile: first.ovpn}}
  second: {openvpn: {profile: second.ovpn}}
probe: {targets: [192.0.2.10], hold_down: 2s}
`

// newFailover is a lab with two providers and a box that uses both, the first one by preference.
func newFailover(t *testing.T, config string) (*netlab.Topology, *box) {
	t.Helper()
	lab := standard(t, netlab.Options{Providers: []netlab.ProviderOptions{{}, {}}})
	b := newBox(t, lab.Box)
	b.write("first.ovpn", lab.Providers[0].Config())
	b.write("second.ovpn", lab.Providers[1].Config())
	b.write("ztbridge.yaml", config)
	b.start()
	return lab, b
}

// awaitWarm waits until both tunnels are connected and the first carries the traffic.
func awaitWarm(b *box) {
	b.t.Helper()
	b.await("both tunnels", func(st api.Status) bool {
		return len(st.Egresses) == 2 && st.Egresses[0].State == "up" && st.Egresses[1].State == "up" &&
			st.Egresses[0].RTT > 0 && st.Egresses[1].RTT > 0 && st.Policies[0].Egress == "first"
	})
}

// TestFailoverGap measures how long clients wait when an egress dies and another is warm.
func TestFailoverGap(t *testing.T) {
	lab, b := newFailover(t, failoverConfig)
	leaks, err := lab.WatchLeaks()
	must(t, err)
	first := lab.Providers[0]
	awaitWarm(b)
	stream, err := lab.ClientStream(netlab.UDP, netlab.IPv4, 100)
	must(t, err)
	faults := []struct {
		name         string
		break_, mend func() error
	}{
		{"server killed", func() error { first.Kill(); return nil }, func() error { return first.Start(t.Context()) }},
		{"blackhole", first.Blackhole, first.Heal},
		{"link loss", func() error { return lab.Router.IP("link set r-provider-a down") }, func() error {
			return lab.Router.IP("link set r-provider-a up")
		}},
	}
	for _, f := range faults {
		awaitWarm(b)
		time.Sleep(300 * time.Millisecond)
		at := time.Now()
		must(t, f.break_())
		b.awaitEgress("second")
		moved := time.Now()
		gap := stream.Report().Gap(at, moved)
		t.Logf("%s: gap %v", f.name, gap.Round(time.Millisecond))
		if limit := 1500 * time.Millisecond; gap > limit {
			t.Errorf("%s: gap %v, want at most %v", f.name, gap, limit)
		}
		must(t, f.mend())
	}
	awaitWarm(b)
	r := stream.Stop()
	for seen := range r.Egresses() {
		if seen != lab.Providers[0].Public4[0] && seen != lab.Providers[1].Public4[0] {
			t.Errorf("the Internet saw %s, which is no egress of the list", seen)
		}
	}
	noLeak(t, leaks)
}

// TestFailoverNeverLeavesTheList lets two egresses die and return at random, while one client may use
// both and another only the first.
func TestFailoverNeverLeavesTheList(t *testing.T) {
	lab, b := newFailover(t, failoverConfig+`
policy:
  - {from: [10.77.0.3], egress: [first]}
  - {egress: [first, second]}
`)
	leaks, err := lab.WatchLeaks()
	must(t, err)
	must(t, lab.Client.IP("addr add 10.77.0.3/24 dev eth0"))
	both, err := lab.ClientStream(netlab.UDP, netlab.IPv4, 100)
	must(t, err)
	only, err := netlab.StartStream(netlab.StreamConfig{
		From: lab.Client, Kind: netlab.UDP, To: netip.AddrPortFrom(netlab.ClientTarget4, netlab.EchoPort),
		Rate: 100, Marker: lab.Marker, Source: netip.MustParseAddr("10.77.0.3"),
	})
	must(t, err)
	b.await("the first egress", func(st api.Status) bool { return len(st.Policies) == 2 && st.Policies[1].Egress == "first" })

	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("ZTBRIDGE_SEED"); s != "" {
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	length := 40 * time.Second
	if s := os.Getenv("ZTBRIDGE_LONG"); s != "" {
		length = 5 * time.Minute
	}
	t.Logf("ZTBRIDGE_SEED=%d, for %v (five minutes with ZTBRIDGE_LONG=1)", seed, length)
	disturb(t, lab, b, rand.New(rand.NewPCG(seed, 0)), length)

	onlyFirst, firstOrSecond := only.Stop(), both.Stop()
	t.Logf("bound to the first: %v", onlyFirst)
	t.Logf("bound to both: %v", firstOrSecond)
	a, z := lab.Providers[0].Public4[0], lab.Providers[1].Public4[0]
	for seen, n := range onlyFirst.Egresses() {
		if seen != a {
			t.Errorf("%d packets of the client bound to the first left by %s", n, seen)
		}
	}
	for seen, n := range firstOrSecond.Egresses() {
		if seen != a && seen != z {
			t.Errorf("%d packets of the client bound to both left by %s", n, seen)
		}
	}
	if firstOrSecond.Received == 0 || onlyFirst.Received == 0 {
		t.Error("a client was never answered: the test proves nothing")
	}
	noLeak(t, leaks)
}

// disturb breaks and mends providers at random.
func disturb(t *testing.T, lab *netlab.Topology, b *box, rng *rand.Rand, length time.Duration) {
	t.Helper()
	down := map[int]bool{}
	for end := time.Now().Add(length); time.Now().Before(end); {
		i := rng.IntN(2)
		p := lab.Providers[i]
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		switch {
		case down[i]:
			must(t, p.Heal())
			must(t, p.Restart(ctx))
			down[i] = false
		case rng.IntN(3) == 0:
			must(t, p.Blackhole())
			down[i] = true
		case rng.IntN(2) == 0:
			p.Kill()
			down[i] = true
		default:
			b.sh(fmt.Sprintf("ip link set tunztb-%s down", []string{"first", "second"}[i]))
		}
		cancel()
		time.Sleep(time.Duration(500+rng.IntN(3000)) * time.Millisecond)
	}
}

// A client whose list is exhausted is told so at once; it does not wait for a timeout.
func TestExhaustedListRefusesAtOnce(t *testing.T) {
	lab := standard(t, netlab.Options{})
	b := newBox(t, lab.Box)
	lab.Providers[0].Stop()
	b.write("provider.ovpn", lab.Providers[0].Config())
	b.write("ztbridge.yaml", gatewayConfig)
	b.start()
	b.await("a closed box", func(st api.Status) bool { return st.State == api.Closed })
	for _, target := range []netip.Addr{netlab.ClientTarget4, netlab.ClientTarget6} {
		// Not a TCP connection: where a refusal comes back before connect(2) has let go of its socket, as
		// between namespaces, Linux forgets it.
		out, err := lab.Client.Run(t.Context(), "ping", "-c1", "-W5", target.String())
		if err == nil {
			t.Fatalf("%s was reached with no egress", target)
		}
		if !strings.Contains(strings.ToLower(out), "unreachable") {
			t.Errorf("%s: not refused: %s", target, out)
		}
	}
}

// TestLossDoesNotFlap loses a third of one egress's packets for a minute.
func TestLossDoesNotFlap(t *testing.T) {
	lab, b := newFailover(t, failoverConfig)
	awaitWarm(b)
	must(t, lab.Providers[0].NS.Loss("eth0", 30))
	changes, last := 0, "first"
	length := 60 * time.Second
	for end := time.Now().Add(length); time.Now().Before(end); time.Sleep(250 * time.Millisecond) {
		st, err := b.status()
		must(t, err)
		if now := st.Policies[0].Egress; now != last {
			t.Logf("%s → %s", last, now)
			changes, last = changes+1, now
		}
	}
	if changes > 1 {
		t.Errorf("%d changes of egress in a minute of 30 %% loss, want at most one", changes)
	}
}

package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

// TestFailoverNeverLeavesTheList lets two egresses die and return at random, while one client may
// use both and another only the first.
func TestFailoverNeverLeavesTheList(t *testing.T) {
	t.Parallel()
	failAtRandom(t, 30*time.Second)
}

func TestLongFailoverNeverLeavesTheList(t *testing.T) {
	netlab.Long(t, "five minutes of failures at random")
	failAtRandom(t, 5*time.Minute)
}

// failAtRandom breaks both providers for the given time. ZTBRIDGE_SEED repeats a run.
func failAtRandom(t *testing.T, length time.Duration) {
	t.Helper()
	top, b := newFailover(t, failoverConfig+`
policy:
  - {from: [10.77.0.3], egress: [first]}
  - {egress: [first, second]}
`)
	leaks, err := top.WatchLeaks()
	must(t, err)
	must(t, top.Client.IP("addr add 10.77.0.3/24 dev eth0"))
	both, err := top.ClientStream(lab.UDP, lab.IPv4, 100)
	must(t, err)
	only, err := lab.StartStream(lab.StreamConfig{
		From: top.Client, Kind: lab.UDP, To: netip.AddrPortFrom(lab.ClientTarget4,
			lab.EchoPort),
		Rate: 100, Marker: top.Marker, Source: netip.MustParseAddr("10.77.0.3"),
	})
	must(t, err)
	b.await("the first egress", func(st api.Status) bool {
		return len(st.Policies) == 2 &&
			st.Policies[1].Egress == "first"
	})

	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("ZTBRIDGE_SEED"); s != "" {
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("ZTBRIDGE_SEED=%d, for %v", seed, length)
	refusals, err := top.Client.Capture("eth0", refusalOf(top.Marker))
	must(t, err)
	disturb(t, top, b, rand.New(rand.NewPCG(seed, 0)), length)
	must(t, refusals.Stop())
	refused, err := refusals.Result()
	must(t, err)
	t.Logf("%d refusals were said to clients", refused.Matched)
	if refused.Matched == 0 {
		t.Error("no client was ever told that its list was exhausted")
	}

	onlyFirst, firstOrSecond := only.Stop(), both.Stop()
	t.Logf("bound to the first: %v", onlyFirst)
	t.Logf("bound to both: %v", firstOrSecond)
	a, z := top.Providers[0].Public4[0], top.Providers[1].Public4[0]
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

// disturb breaks and repairs providers at random.
func disturb(t *testing.T, top *lab.Topology, b *box, rng *rand.Rand, length time.Duration) {
	t.Helper()
	down := map[int]bool{}
	for end := time.Now().Add(length); time.Now().Before(end); {
		i := rng.IntN(2)
		p := top.Providers[i]
		ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
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
		// until the next fault: a random pause, in which the last one may or may not be repaired
		time.Sleep(time.Duration(500+rng.IntN(3000)) * time.Millisecond)
	}
}

// refusalOf matches what tells a client that its packet cannot be delivered.
func refusalOf(marker string) netlab.Match {
	quotes := netlab.Carrying(marker)
	return func(p netlab.Packet) bool {
		return !p.Outgoing && strings.HasPrefix(p.Proto, "icmp") &&
			quotes(p)
	}
}

// TestExhaustedListRefusesAtOnce: a client whose list is exhausted is told so; it does not wait for
// a timeout.
func TestExhaustedListRefusesAtOnce(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{})
	b := newBox(t, top.Box)
	b.write("provider.ovpn", top.Providers[0].Config())
	b.write("ztbridge.yaml", gatewayConfig)
	b.start()
	b.await("traffic by a tunnel that answers", func(st api.Status) bool {
		return len(st.Egresses) == 1 && st.Egresses[0].RTT > 0 && st.State != api.Closed
	})
	top.Providers[0].Kill()
	b.await("a closed box", func(st api.Status) bool { return st.State == api.Closed })

	refuses := refusalOf(top.Marker)
	watch, err := top.Client.Capture("eth0", netlab.Carrying(top.Marker))
	must(t, err)
	targets := []netip.Addr{lab.ClientTarget4, lab.ClientTarget6}
	// Linux sends one client about one error in two seconds, after the first few (ip_error,
	// icmp_global_allow).
	const rounds, pause = 4, 2500 * time.Millisecond
	for range rounds {
		for _, target := range targets {
			conn, err := top.Client.Dial(t.Context(), "udp", targetOf(target).String())
			must(t, err)
			_, err = conn.Write([]byte(top.Marker))
			must(t, errors.Join(err, conn.Close()))
		}
		time.Sleep(pause)
	}
	must(t, watch.Stop())
	seen, err := watch.Result()
	must(t, err)
	sent, refused, slowest := map[bool]time.Time{}, 0, time.Duration(0)
	for _, p := range seen.Kept {
		if v6 := p.Src.Is6(); refuses(p) {
			refused++
			slowest = max(slowest, p.At.Sub(sent[v6]))
		} else {
			sent[v6] = p.At
		}
	}
	t.Logf("%d of %d packets were refused, the slowest after %s", refused, rounds*len(targets),
		slowest)
	if refused != rounds*len(targets) || slowest > 100*time.Millisecond {
		t.Errorf("not every packet was refused at once: %v", seen)
	}
}

// TestLossDoesNotFlap loses a third of one egress's packets.
func TestLossDoesNotFlap(t *testing.T) {
	t.Parallel()
	losePackets(t, 20*time.Second)
}

func TestLongLossDoesNotFlap(t *testing.T) {
	netlab.Long(t, "ten minutes of loss")
	losePackets(t, 10*time.Minute)
}

// losePackets counts the changes of egress while packets are lost for the given time.
func losePackets(t *testing.T, length time.Duration) {
	t.Helper()
	top, b := newFailover(t, failoverConfig)
	awaitWarm(b)
	must(t, top.Providers[0].NS.Loss("eth0", 30))
	changes, last := 0, "first"
	for end := time.Now().Add(length); time.Now().Before(end); time.Sleep(250 * time.Millisecond) {
		st, err := b.status()
		must(t, err)
		if now := st.Policies[0].Egress; now != last {
			t.Logf("%s → %s", last, now)
			changes, last = changes+1, now
		}
	}
	if changes > 1 {
		t.Errorf("%d changes of egress in %v of 30 %% loss, want at most one", changes, length)
	}
}

package e2e

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

const failoverConfig = `
ingress: [ing0]
egress:
  first: {openvpn: {profile: first.ovpn, credentials: first.auth}}
  second: {openvpn: {profile: second.ovpn}}
probe: {targets: [192.0.2.10], hold_down: 2s}
`

// newFailover is a lab with two providers and a box that uses both, the first one by preference.
func newFailover(t *testing.T, config string) (*lab.Topology, *box) {
	t.Helper()
	customer := lab.Credentials{User: "customer", Password: "secret"}
	top := standard(t, lab.Options{Providers: []lab.ProviderOptions{{Credentials: &customer},
		{}}})
	b := newBox(t, top.Box)
	b.write("first.ovpn", top.Providers[0].Config())
	b.write("first.auth", customer.User+"\n"+customer.Password+"\n")
	b.write("second.ovpn", top.Providers[1].Config())
	b.write("ztbridge.yaml", config)
	b.start()
	return top, b
}

// awaitWarm waits until both tunnels are connected and the first carries the traffic.
func awaitWarm(b *box) {
	b.t.Helper()
	b.await("both tunnels", func(st api.Status) bool {
		return len(st.Egresses) == 2 && st.Egresses[0].State == "up" &&
			st.Egresses[1].State == "up" &&
			st.Egresses[0].RTT > 0 && st.Egresses[1].RTT > 0 && st.Policies[0].Egress == "first"
	})
}

// fault is a way for the first provider to fail its customers.
type fault struct {
	name   string
	strike func() error
	heal   func() error
}

func faults(t *testing.T, top *lab.Topology) []fault {
	p := top.Providers[0]
	restart := func() error { return p.Restart(t.Context()) }
	refuse := func() error {
		return p.SetCredentials(lab.Credentials{User: "nobody",
			Password: "any more"})
	}
	accept := func() error {
		return p.SetCredentials(lab.Credentials{User: "customer",
			Password: "secret"})
	}
	forget := func() {
		for _, name := range p.Hosts {
			top.Zone.Set(name)
		}
	}
	know := func() {
		for i, name := range p.Hosts {
			top.Zone.Set(name, p.Public4[i])
		}
	}
	both := func(steps ...func() error) func() error {
		return func() error {
			for _, step := range steps {
				if err := step(); err != nil {
					return err
				}
			}
			return nil
		}
	}
	done := func(f func()) func() error { return func() error { f(); return nil } }
	return []fault{
		{"server killed", done(p.Kill), restart},
		{"blackhole", p.Blackhole, p.Heal},
		{"session ended and credentials refused", both(refuse, p.Disconnect), accept},
		{"server restarted and credentials refused", both(refuse, restart), accept},
		{"server killed and its names gone", both(done(forget), done(p.Kill)),
			both(done(know), restart)},
		{"provider's link lost",
			func() error { return top.Router.IP("link set r-provider-a down") },
			func() error { return top.Router.IP("link set r-provider-a up") }},
	}
}

// again starts the daemon as if it had never run: it remembers no name.
func (b *box) again() {
	b.t.Helper()
	b.await("the daemon", func(api.Status) bool { return true })
	b.stop()
	must(b.t, os.RemoveAll(filepath.Join(b.dir, "state", "openvpn")))
	b.start()
}

// firstFaults returns the first n faults, or all if there are fewer.
func firstFaults(t *testing.T, top *lab.Topology, n int) []fault {
	all := faults(t, top)
	return all[:min(n, len(all))]
}

// failover strikes with a fault, waits until clients are served by the given address of a provider,
// and fails the test if they waited for longer than the limit.
func failover(t *testing.T, stream *lab.Stream, f fault, served netip.Addr,
	limit time.Duration) {
	t.Helper()
	at := time.Now()
	must(t, f.strike())
	// What was under way is not counted: both servers of a provider are seen as the same address.
	moved := func() bool {
		return stream.Report().Between(at.Add(time.Second),
			time.Now()).Egresses()[served] >= 20
	}
	await(t, f.name+": clients to be served by "+served.String(), moved)
	gap := stream.Report().Gap(at, time.Now())
	t.Logf("%s: gap %v", f.name, gap.Round(time.Millisecond))
	if gap > limit {
		t.Errorf("%s: gap %v, want at most %v", f.name, gap, limit)
	}
	must(t, f.heal())
}

// onlyProviders ends a stream and fails the test if the Internet saw it from anywhere but the
// providers.
func onlyProviders(t *testing.T, top *lab.Topology, s *lab.Stream) {
	t.Helper()
	onlySeenAs(t, "the client", s, top.Providers[0].Public4[0], top.Providers[1].Public4[0])
}

// TestFailoverGap measures how long clients wait when an egress dies and another is connected.
func TestFailoverGap(t *testing.T) {
	t.Parallel()
	failoverGap(t, 2)
}

func TestLongFailoverGap(t *testing.T) {
	netlab.Long(t, "every kind of failure, each from a fresh start")
	failoverGap(t, allFaults)
}

// allFaults is more than there are of faults.
const allFaults = 100

// failoverGap measures the gap of the first n faults, and of one with a silent resolver.
func failoverGap(t *testing.T, n int) {
	t.Helper()
	top, b := newFailover(t, failoverConfig)
	leaks, err := top.WatchLeaks()
	must(t, err)
	stream, err := top.ClientStream(lab.UDP, lab.IPv4, 100)
	must(t, err)
	silence := fault{"server killed and the resolver silent",
		func() error { top.DNS.SetSilent(true); top.Providers[0].Kill(); return nil },
		func() error { top.DNS.SetSilent(false); return top.Providers[0].Restart(t.Context()) }}
	for _, f := range append(firstFaults(t, top, n), silence) {
		b.again()
		awaitWarm(b)
		awaitAnswers(t, stream, 20)
		failover(t, stream, f, top.Providers[1].Public4[0], 1500*time.Millisecond)
	}
	onlyProviders(t, top, stream)
	noLeak(t, leaks)
}

// TestFailoverGapCold measures the same when the other egress has never been connected: its server
// can be found only from the moment on when the first one dies, while the box waits before it asks
// again.
func TestFailoverGapCold(t *testing.T) {
	t.Parallel()
	failoverGapCold(t, 2)
}

func TestLongFailoverGapCold(t *testing.T) {
	netlab.Long(t, "every kind of failure, each from a fresh start")
	failoverGapCold(t, allFaults)
}

func failoverGapCold(t *testing.T, n int) {
	t.Helper()
	top, b := newFailover(t, failoverConfig)
	second := top.Providers[1]
	leaks, err := top.WatchLeaks()
	must(t, err)
	stream, err := top.ClientStream(lab.UDP, lab.IPv4, 100)
	must(t, err)
	for _, f := range firstFaults(t, top, n) {
		for _, name := range second.Hosts {
			top.Zone.Set(name)
		}
		b.again()
		b.await("a cold standby", func(st api.Status) bool {
			return len(st.Egresses) == 2 && st.Egresses[0].RTT > 0 &&
				st.Policies[0].Egress == "first" &&
				st.Egresses[1].State == "dns-failed" &&
				st.Time.Sub(st.Egresses[1].Since) > 2500*time.Millisecond
		})
		awaitAnswers(t, stream, 20)
		for i, name := range second.Hosts {
			top.Zone.Set(name, second.Public4[i])
		}
		failover(t, stream, f, second.Public4[0], 4*time.Second)
	}
	onlyProviders(t, top, stream)
	noLeak(t, leaks)
}

// TestFailoverGapUnreachable measures the same when the other egress's server could not be reached
// for long, and can be from the moment on when the first one dies: the box may be in the middle of
// a vain attempt.
func TestFailoverGapUnreachable(t *testing.T) {
	t.Parallel()
	failoverGapUnreachable(t, 8*time.Second)
}

func TestLongFailoverGapUnreachable(t *testing.T) {
	netlab.Long(t, "further moments of a vain attempt")
	failoverGapUnreachable(t, 9500*time.Millisecond, 11*time.Second, 12500*time.Millisecond)
}

// failoverGapUnreachable fails over after the other egress was unreachable for each of the times.
func failoverGapUnreachable(t *testing.T, times ...time.Duration) {
	t.Helper()
	top, b := newFailover(t, failoverConfig)
	second := top.Providers[1]
	leaks, err := top.WatchLeaks()
	must(t, err)
	stream, err := top.ClientStream(lab.UDP, lab.IPv4, 100)
	must(t, err)
	kill := faults(t, top)[0]
	for _, vain := range times {
		must(t, second.Blackhole())
		b.again()
		b.await("the first egress alone", func(st api.Status) bool {
			return len(st.Egresses) == 2 && st.Egresses[0].RTT > 0 &&
				st.Policies[0].Egress == "first"
		})
		// Each of openvpn's attempts takes five seconds: the times are moments in them.
		time.Sleep(vain)
		must(t, second.Heal())
		failover(t, stream, kill, second.Public4[0], 4*time.Second)
	}
	onlyProviders(t, top, stream)
	noLeak(t, leaks)
}

// TestFailoverGapNextServer measures how long clients wait when the server dies and the same
// provider has another one, to which nothing is connected. The server has served them for long: of
// one that had not, the tunnel would think less.
func TestFailoverGapNextServer(t *testing.T) {
	t.Parallel()
	failoverGapNextServer(t, 1)
}

func TestLongFailoverGapNextServer(t *testing.T) {
	netlab.Long(t, "sessions of half a minute, in the names of both failures")
	failoverGapNextServer(t, allFaults)
}

func failoverGapNextServer(t *testing.T, n int) {
	t.Helper()
	top := standard(t, lab.Options{})
	p := top.Providers[0]
	b := newBox(t, top.Box)
	b.write("provider.ovpn", p.Config())
	b.write("ztbridge.yaml", gatewayConfig)
	leaks, err := top.WatchLeaks()
	must(t, err)
	b.start()
	stream, err := top.ClientStream(lab.UDP, lab.IPv4, 100)
	must(t, err)
	first, second := p.Public4[0], p.Public4[1]
	list := []fault{
		{"server killed", func() error { return p.NS.RefuseAddr(first) },
			func() error { return p.NS.HealAddr(first) }},
		{"blackhole and its name gone",
			func() error { top.Zone.Set(p.Hosts[0]); return p.NS.BlackholeAddr(first) },
			func() error { top.Zone.Set(p.Hosts[0], first); return p.NS.HealAddr(first) }},
	}
	for _, f := range list[:min(n, len(list))] {
		b.again()
		b.await("a session of some age with the first server", func(st api.Status) bool {
			return len(st.Egresses) == 1 && st.Egresses[0].RTT > 0 &&
				st.Egresses[0].Remote == "udp "+first.String()+":1194" &&
				st.Time.Sub(st.Egresses[0].Since) > 31*time.Second
		})
		failover(t, stream, f, first, 4*time.Second)
		if now := b.awaitEgress("provider").Egresses[0].Remote; now != "udp "+second.String()+
			":1194" {
			t.Errorf("%s: the tunnel leads to %s, want the other server", f.name, now)
		}
	}
	noLeak(t, leaks)
}

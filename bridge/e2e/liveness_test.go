package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/health"
	"ztbridge/bridge/lab"
)

const livenessConfig = `
ingress: [ing0]
egress:
  first: {openvpn: {profile: first.ovpn, credentials: first.auth}}
  second: {openvpn: {profile: second.ovpn}}
probe: {targets: [192.0.2.10, "2001:db8:c0::10"], hold_down: 2s}
`

// drops has a provider drop what it forwards, of what the rules match, until undo.
func drops(t *testing.T, p *lab.Provider, rules string) (undo func()) {
	t.Helper()
	run := func(command string) {
		t.Helper()
		_, err := p.NS.Run(t.Context(), "sh", "-c", command)
		must(t, err)
	}
	run("nft 'table inet broken { chain f { type filter hook forward priority 0; " + rules +
		"; }; }'")
	return func() { t.Helper(); run("nft delete table inet broken") }
}

// TestVersionsFailApart: IPv4 that dies in a tunnel moves to the next egress, and IPv6 stays; and
// the other way round.
func TestVersionsFailApart(t *testing.T) {
	t.Parallel()
	top, b := newFailover(t, livenessConfig)
	awaitWarm(b)
	versionsFailApart(t, top, b, top.Providers[0], "first", "second")
}

// versionsFailApart has a provider, behind the first egress, drop one IP version and then the
// other. The one that is dead is served by the second egress within 1.5 s, and the other one stays.
func versionsFailApart(t *testing.T, top *lab.Topology, b *box, p *lab.Provider, first,
	second string) {
	t.Helper()
	const limit = 1500 * time.Millisecond
	streams := map[lab.Version]*lab.Stream{}
	for _, v := range []lab.Version{lab.IPv4, lab.IPv6} {
		var err error
		streams[v], err = top.ClientStream(lab.UDP, v, 100)
		must(t, err)
		awaitAnswers(t, streams[v], 20)
	}
	time.Sleep(3 * time.Second) // the hold-down, after which the first is stable
	for _, v := range []struct {
		rules       string
		dead, alive lab.Version
		use4, use6  string
	}{
		{"meta nfproto ipv4 drop", lab.IPv4, lab.IPv6, second, first},
		{"meta nfproto ipv6 drop", lab.IPv6, lab.IPv4, first, second},
	} {
		undo := drops(t, p, v.rules)
		began := time.Now()
		b.await("the dead version elsewhere", func(st api.Status) bool {
			of6 := st.Policies[0].Egress6
			if of6 == "" {
				of6 = st.Policies[0].Egress
			}
			return st.Policies[0].Egress == v.use4 && of6 == v.use6
		})
		time.Sleep(time.Second) // what is under way is not counted
		awaitAnswers(t, streams[v.dead], 20)
		gap, other := streams[v.dead].Report().Gap(began, time.Now()),
			streams[v.alive].Report().Gap(began, time.Now())
		t.Logf("IPv%d died: gap %v, of IPv%d %v", v.dead, gap.Round(time.Millisecond), v.alive,
			other.Round(time.Millisecond))
		if gap > limit || other > limit {
			t.Errorf("IPv%d died: gap %v, of IPv%d %v, want %v at most", v.dead, gap, v.alive,
				other, limit)
		}
		undo()
		b.await("both back on the first", func(st api.Status) bool {
			return st.Policies[0].Egress == first && st.Policies[0].Egress6 == ""
		})
	}
}

// TestDeadResolverMovesOn: where the only resolver of an egress is dead, the next egress has the
// traffic, within three seconds.
func TestDeadResolverMovesOn(t *testing.T) {
	t.Parallel()
	top, b := newFailover(t, livenessConfig)
	names, err := top.ClientStream(lab.DNS, lab.IPv4, 20)
	must(t, err)
	awaitWarm(b)
	awaitAnswers(t, names, 20)
	top.Providers[0].DNS.SetSilent(true)
	began := time.Now()
	b.awaitEgress("second")
	awaitAnswers(t, names, 5)
	took := time.Since(began)
	t.Logf("names again after %v", took)
	if took > 4*time.Second { // 3 s, and the time it takes to look
		t.Errorf("names again after %v", took)
	}
}

// TestDeadServerBehindDroppedEchoes: a provider that drops echoes, and whose server says that it
// pings seldom, is found dead as fast as others, with traffic and without.
func TestDeadServerBehindDroppedEchoes(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{})
	b := newBox(t, top.Box)
	b.write("provider.ovpn", top.Providers[0].Config())
	b.write("ztbridge.yaml", gatewayConfig)
	drops(t, top.Providers[0], "meta l4proto { icmp, icmpv6 } drop")
	top.Providers[0].Push("ping 60", "ping-restart 300")
	must(t, top.Providers[0].Restart(t.Context()))
	b.start()
	for _, tt := range []struct {
		name  string
		rate  int
		limit time.Duration
	}{{"with traffic", 100, 5 * time.Second}, {"without", 0, 15 * time.Second}} {
		b.await("a tunnel that answers", func(st api.Status) bool {
			return len(st.Egresses) == 1 && st.Egresses[0].RTT > 0 && st.Egresses[0].State == "up"
		})
		var stream *lab.Stream
		if tt.rate > 0 {
			var err error
			stream, err = top.ClientStream(lab.UDP, lab.IPv4, tt.rate)
			must(t, err)
			awaitAnswers(t, stream, 50)
		}
		time.Sleep(4 * time.Second) // longer than the hold-down: stable
		top.Providers[0].Kill()
		began := time.Now()
		time.Sleep(time.Second) // the outage
		must(t, top.Providers[0].Restart(t.Context()))
		b.await("another connection", func(st api.Status) bool {
			e := st.Egresses[0]
			return e.State == "up" && e.Since.After(began)
		})
		if stream != nil {
			awaitAnswers(t, stream, 5)
			stream.Stop()
		}
		took := time.Since(began)
		t.Logf("%s: back after %v", tt.name, took)
		if took > tt.limit {
			t.Errorf("%s: back after %v, want %v", tt.name, took, tt.limit)
		}
	}
}

// TestNextResolver: where the first resolver of an egress is dead, the next one has the questions
// within three seconds, of clients that always ask from one port, too; the egress stays.
func TestNextResolver(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{})
	b := newBox(t, top.Box)
	b.write("provider.ovpn", top.Providers[0].Config())
	first, second := top.Providers[0].Resolver(), lab.PublicResolver4
	b.write("ztbridge.yaml", fmt.Sprintf(`
ingress: [ing0]
egress:
  provider: {openvpn: {profile: provider.ovpn, dns: [%s, %s]}}
probe: {targets: [192.0.2.10, "2001:db8:c0::10"], hold_down: 2s}
`, first, second))
	b.start()
	names, err := top.ClientStream(lab.DNS, lab.IPv4, 20)
	must(t, err)
	b.awaitEgress("provider")
	awaitAnswers(t, names, 20)
	top.Providers[0].DNS.SetSilent(true)
	began := time.Now()
	awaitAnswers(t, names, 1) // one under way
	time.Sleep(100 * time.Millisecond)
	awaitAnswers(t, names, 5)
	took := time.Since(began)
	t.Logf("names again after %v", took)
	if took > 4*time.Second { // 3 s, and the time it takes to look
		t.Errorf("names again after %v", took)
	}
	st := b.await("the problem", func(st api.Status) bool {
		return slices.ContainsFunc(st.Conditions,
			func(c api.Condition) bool { return c.Code == health.DNSBackup })
	})
	if st.Policies[0].Egress != "provider" {
		t.Errorf("the egress is %q", st.Policies[0].Egress)
	}
}

package e2e

import (
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

const overTLSConfig = `
ingress: [ing0]
egress:
  first: {openvpn: {profile: first.ovpn, dns: ["tls://9.9.9.9#dns.lab"]}}
  second: {openvpn: {profile: second.ovpn, dns: ["tls://1.1.1.1#dns.lab"]}}
probe: {targets: [192.0.2.10], hold_down: 2s}
`

// TestDNSOverTLS: what clients ask any resolver at port 53, by UDP and TCP, is asked over TLS
// through the egress that carries their traffic. It fails over with that egress, and when none is
// left nobody is asked.
//
//	client ── any resolver:53 ─▶ box: forwarder ── TLS ─▶ tunztb-first ── provider ── dns.lab:853
func TestDNSOverTLS(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{Providers: []lab.ProviderOptions{{}, {}}})
	server, ca, err := lab.ServeDNSOverTLS(top.Internet, "dns.lab", top.Zone)
	must(t, err)
	top.Defer(server.Close)
	b := newBox(t, top.Box)
	b.write("ca.pem", ca)
	b.env = []string{"SSL_CERT_FILE=" + filepath.Join(b.dir, "ca.pem")}
	b.write("first.ovpn", top.Providers[0].Config())
	b.write("second.ovpn", top.Providers[1].Config())
	b.write("ztbridge.yaml", overTLSConfig)
	leaks, err := top.WatchLeaks()
	must(t, err)
	// The box itself asks its own resolver for the providers' names, and nobody else anything.
	isDNS := func(p netlab.Packet) bool {
		return (p.DstPort == 53 || p.DstPort == 853 || p.SrcPort == 53 || p.SrcPort == 853) &&
			p.Src != lab.ResolverAddr && p.Dst != lab.ResolverAddr
	}
	foreignQueries, err := top.Router.Capture(top.WANSegment.Port(top.Box, lab.WANIface), isDNS)
	must(t, err)
	b.start()
	awaitWarm(b)

	first, second := top.Providers[0].Public4[0], top.Providers[1].Public4[0]
	udp, err := top.ClientStream(lab.DNS, lab.IPv4, 20)
	must(t, err)
	asked := func(network string, resolver netip.Addr) netip.Addr {
		t.Helper()
		who, err := whoAsks(t.Context(), top.Client, network, netip.AddrPortFrom(resolver, 53),
			top.Marker)
		if err != nil {
			t.Errorf("asking %s by %s: %v", resolver, network, err)
		}
		return who
	}
	for _, network := range []string{"udp", "tcp"} {
		for _, resolver := range []netip.Addr{lab.PublicResolver4, lab.PublicResolver6} {
			if who := asked(network, resolver); who != first {
				t.Errorf("a question to %s by %s was asked by %s, want %s", resolver, network, who,
					first)
			}
		}
	}
	awaitAnswers(t, udp, 20)

	at := time.Now()
	top.Providers[0].Kill()
	b.awaitEgress("second")
	awaitAnswers(t, udp, 20)
	t.Logf("the first egress died: questions on one socket went unanswered for %v",
		udp.Report().Gap(at, time.Now()).Round(time.Millisecond))
	if who := asked("udp", lab.PublicResolver4); who != second {
		t.Errorf("after failover a question was asked by %s, want %s", who, second)
	}

	top.Providers[1].Kill()
	b.awaitEgress("")
	questions := len(server.Queries())
	closed := time.Now()
	if who, err := whoAsks(t.Context(), top.Client, "udp",
		netip.AddrPortFrom(lab.PublicResolver4, 53), top.Marker); err == nil {
		t.Errorf("with no egress a question was answered: asked by %s", who)
	} else {
		t.Logf("with no egress: %v after %v", err, time.Since(closed).Round(time.Millisecond))
	}
	time.Sleep(time.Second) // a question on its way would arrive within it
	if now := len(server.Queries()); now != questions {
		t.Errorf("%d questions reached the resolver with no egress", now-questions)
	}
	onlySeenAs(t, "the client's questions", udp, first, second)
	if plain := slices.ContainsFunc(top.DNS.Queries(),
		func(q lab.Query) bool { return strings.Contains(q.Name, top.Marker) }); plain {
		t.Error("a client's question was asked in clear")
	}
	noLeak(t, leaks)
	noLeak(t, foreignQueries)
}

// whoAsks asks a resolver from a host, and returns from which address the question was asked in the
// end.
func whoAsks(ctx context.Context, from *netlab.Namespace, network string, resolver netip.AddrPort,
	marker string) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, 8*time.Second)
	defer cancel()
	conn, err := from.Dial(ctx, network, resolver.String())
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	q := new(dns.Msg).SetQuestion("once."+marker+"."+lab.WhoZone, dns.TypeA)
	a, _, err := (&dns.Client{Net: network, Timeout: 6 * time.Second}).ExchangeWithConnContext(ctx,
		q, &dns.Conn{Conn: conn})
	if err != nil {
		return netip.Addr{}, err
	}
	for _, rr := range a.Answer {
		if rr, ok := rr.(*dns.A); ok {
			addr, _ := netip.AddrFromSlice(rr.A)
			return addr.Unmap(), nil
		}
	}
	return netip.Addr{}, &net.DNSError{Err: dns.RcodeToString[a.Rcode], Name: q.Question[0].Name}
}

package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

// The endpoint's addresses inside, as they are unless configured.
var (
	clientPool4 = netip.MustParsePrefix("10.83.64.0/20")
	clientPool6 = netip.MustParsePrefix("fd5a:5442:4947::/64")
)

// guest is a host on the road, with a line of its own, on which a plain openvpn client connects to
// the endpoint.
type guest struct {
	t            *testing.T
	name         string
	ns           *netlab.Namespace
	addr4, addr6 netip.Addr // inside
	options      []string   // of its openvpn, besides the profile
	profile      string     // that it was started with last
	proc         *netlab.Process
}

var (
	udpRemote = regexp.MustCompile(`(?m)^remote .* udp\n`)
	tcpRemote = regexp.MustCompile(`(?m)^remote .* tcp\n`)
)

// newGuest adds a host, makes it a client of a running box and waits until it is connected by the
// transport, "udp" or "tcp", which is the only one that it tries.
func newGuest(t *testing.T, top *lab.Topology, b *box, name, transport string,
	options ...string) *guest {
	t.Helper()
	site, err := top.AddSite(name)
	must(t, err)
	g := &guest{t: t, name: name, ns: site.NS, options: options}
	b.mustRun("client", "add", name)
	g.connect(b, transport)
	return g
}

// onlyBy takes the servers of the other transport out of a profile.
func onlyBy(transport, profile string) string {
	other := map[string]*regexp.Regexp{"udp": tcpRemote, "tcp": udpRemote}[transport]
	return other.ReplaceAllString(profile, "")
}

// connect starts the guest's openvpn, after an earlier one has ended, and learns the addresses
// inside.
func (g *guest) connect(b *box, transport string) {
	g.t.Helper()
	if g.proc != nil {
		g.proc.Stop()
	}
	g.start(onlyBy(transport, b.mustRun("client", "show", g.name)))
	b.await(g.name+" by "+transport, func(st api.Status) bool {
		i := slices.IndexFunc(st.Clients, func(c api.Client) bool {
			return c.Name == g.name && strings.HasPrefix(c.Listener, transport+"/")
		})
		if i < 0 || len(st.Clients[i].Addresses) != 2 {
			return false
		}
		g.addr4, g.addr6 = st.Clients[i].Addresses[0], st.Clients[i].Addresses[1]
		return true
	})
	g.awaitReady()
}

// awaitReady waits until openvpn has set its routes, which the endpoint does not see: what is sent
// before leaves past the tunnel.
func (g *guest) awaitReady() {
	g.t.Helper()
	await(g.t, g.name+" to be ready",
		func() bool { return strings.Contains(g.proc.Log(), "Initialization Sequence Completed") })
}

// start runs openvpn with a profile.
func (g *guest) start(profile string) {
	g.t.Helper()
	g.profile = profile
	path := filepath.Join(g.t.TempDir(), g.name+".ovpn")
	must(g.t, os.WriteFile(path, []byte(profile), 0o600))
	p, err := g.ns.Start(netlab.Command("openvpn",
		append([]string{"--config", path, "--verb", "3"}, g.options...)...))
	must(g.t, err)
	g.proc = p
	g.t.Cleanup(func() {
		p.Stop()
		if g.t.Failed() {
			g.t.Logf("log of %s:\n%s", g.name, p.Log())
		}
	})
}

// stream starts a stream from the guest's address inside, so that nothing of it is answered past
// the tunnel.
func (g *guest) stream(kind lab.Kind, to netip.AddrPort, rate int,
	marker string) *lab.Stream {
	g.t.Helper()
	source := g.addr4
	if to.Addr().Is6() {
		source = g.addr6
	}
	s, err := lab.StartStream(lab.StreamConfig{
		From: g.ns, Kind: kind, To: to, Rate: rate, Marker: marker, Source: source,
	})
	must(g.t, err)
	g.t.Cleanup(func() { s.Stop() })
	return s
}

// seenAs has the guest talk to the Internet and fails the test unless it is answered and seen there
// as coming from the given addresses only.
func (g *guest) seenAs(marker string, want4, want6 netip.Addr) {
	g.t.Helper()
	for _, kind := range []lab.Kind{lab.UDP, lab.TCP} {
		for target, want := range map[netip.Addr]netip.Addr{lab.ClientTarget4: want4,
			lab.ClientTarget6: want6} {
			s := g.stream(kind, targetOf(target), 50, marker)
			awaitAnswers(g.t, s, 20)
			onlySeenAs(g.t, fmt.Sprintf("%s, %s to %s", g.name, kind, target), s, want)
		}
	}
}

// watchGuests captures what must never leave the box's WAN in clear when its clients are the
// endpoint's.
func watchGuests(t *testing.T, top *lab.Topology) *netlab.Capture {
	t.Helper()
	top.ClientPrefixes = append(top.ClientPrefixes, clientPool4, clientPool6)
	leaks, err := top.WatchLeaks()
	must(t, err)
	return leaks
}

// stopAll ends streams at the same time: each waits for the answers that are under way.
func stopAll(streams ...*lab.Stream) {
	var wg sync.WaitGroup
	for _, s := range streams {
		wg.Go(func() { s.Stop() })
	}
	wg.Wait()
}

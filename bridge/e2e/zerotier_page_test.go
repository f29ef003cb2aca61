package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
	"ztbridge/bridge/lab/ztlab"
	"ztbridge/bridge/web/browsertest"
	"ztbridge/policyroute/netlab"
)

// TestMemberChoosesOnThePage: a member that opens the page without a login takes an exit by a tap,
// and the very next connection leaves by it, in both IP versions, while another member's leaves as
// before. Who sends from its address, and is not it, is nobody; no member sees more than itself.
func TestMemberChoosesOnThePage(t *testing.T) {
	t.Parallel()
	m := newMesh(t, lab.Options{RemoteClient: true}, ztlab.NetworkConfig{})
	top, provider := m.lab, m.lab.Providers[0]
	site, err := top.AddSite("second")
	must(t, err)
	node := m.node(top.Box, ztlab.Box4, ztlab.Box6)
	firstNode := m.node(top.Client, ztlab.Client4, ztlab.Client6)
	secondNode := m.node(site.NS, netip.MustParseAddr("10.99.0.21"), netip.MustParseAddr("fd99::21"))
	m.join(node, false)
	first, second := m.joinAsClient(firstNode), m.joinAsClient(secondNode)
	b := newBox(t, top.Box)
	b.write("provider.ovpn", provider.Config())
	b.write("ztbridge.yaml", m.zerotier(node)+zerotierChoiceConfig+"page: {}\n")
	b.start()
	b.awaitEgress("provider")
	// leaves expects the next connections of a member to leave by an exit.
	leaves := func(ns *netlab.Namespace, of ztlab.Membership, want4, want6 netip.Addr) {
		t.Helper()
		for _, a := range of.Addrs {
			target, want := lab.ClientTarget4, want4
			if a.Addr().Is6() {
				target, want = lab.ClientTarget6, want6
			}
			if got := seenFrom(t, ns, a.Addr(), target); got != want {
				t.Errorf("%s is seen from %s, want %s", a, got, want)
			}
		}
	}
	byProvider := []netip.Addr{provider.Public4[0], provider.Public6[0]}

	leaves(top.Client, first, byProvider[0], byProvider[1])
	// By a browser, from IPv4.
	browser := browsertest.New(t, browsertest.Options{Elsewhere: map[string]string{
		"10.99.0.1:80": relay(t, top.Client, "10.99.0.1:80")}})
	browser.Open("http://" + ztlab.Box4.String())
	browser.WaitFor(`document.querySelector("h1").textContent === "Leaves by provider"`)
	browser.See(`form:has([value=direct]) button`)
	browser.Click(`form:has([value=direct]) button`)
	browser.WaitFor(`document.querySelector("h1").textContent === "Leaves by direct"`)
	leaves(top.Client, first, lab.BoxWAN4, lab.BoxWAN6)
	leaves(site.NS, second, byProvider[0], byProvider[1])
	late := netip.MustParseAddr("fd99::77")
	_, err = top.Client.Run(m.ctx, "ip", "addr", "add", late.String()+"/128", "nodad", "dev",
		first.Iface)
	must(t, err)
	began := time.Now()
	await(t, "another address to follow the choice", func() bool {
		return seenFrom(t, top.Client, late, lab.ClientTarget6) == lab.BoxWAN6
	})
	t.Logf("another address follows the choice after %v", time.Since(began))
	browser.Open("about:blank")
	b.stop()
	b.start()
	b.await("the choice after a restart", func(st api.Status) bool {
		return len(st.Devices) == 1 && st.Devices[0].ID == firstNode.Address &&
			st.Devices[0].Choice == "direct" && st.Devices[0].Egress == "direct"
	})
	b.awaitEgress("provider")

	// Without a browser, from each of its addresses; the other member is itself.
	for _, box := range []netip.Addr{ztlab.Box4, ztlab.Box6} {
		page := opens(t, top.Client, box, netip.Addr{})
		if body := page.get("/"); !strings.Contains(body, "Leaves by direct") {
			t.Errorf("the first member sees at %s:\n%s", box, body)
		}
		page.choose("")
		leaves(top.Client, first, byProvider[0], byProvider[1])
		page.choose("direct")
		leaves(top.Client, first, lab.BoxWAN4, lab.BoxWAN6)
		body := opens(t, site.NS, box, netip.Addr{}).get("/")
		if !strings.Contains(body, secondNode.Address) ||
			!strings.Contains(body, "Leaves by provider") {
			t.Errorf("the second member sees at %s:\n%s", box, body)
		}
		for _, secret := range []string{firstNode.Address, ztlab.Client4.String(),
			ztlab.Client6.String(), "Activity"} {
			if strings.Contains(body, secret) {
				t.Errorf("the second member sees %s of the first:\n%s", secret, body)
			}
		}
	}

	// The second one takes the first one's addresses.
	for address, bits := range map[netip.Addr]string{ztlab.Client4: "/32",
		ztlab.Client6: "/128 nodad"} {
		_, err := site.NS.Run(m.ctx, "sh", "-c",
			fmt.Sprintf("ip addr add %s%s dev %s", address, bits, second.Iface))
		must(t, err)
	}
	for source, box := range map[netip.Addr]netip.Addr{ztlab.Client4: ztlab.Box4,
		ztlab.Client6: ztlab.Box6} {
		page := opens(t, site.NS, box, source)
		page.client.Timeout = time.Second
		if body, err := page.try("/"); err == nil {
			t.Errorf("who sends from %s is answered:\n%s", source, body)
		}
	}
	leaves(top.Client, first, lab.BoxWAN4, lab.BoxWAN6)
	activity, err := top.Box.Run(m.ctx, "cat", filepath.Join(b.dir, "state", "page", "audit.log"))
	must(t, err)
	if !strings.Contains(activity, `choose the exit \"direct\" for member `+firstNode.Address) ||
		strings.Contains(activity, secondNode.Address) {
		t.Errorf("the log of actions is:\n%s", activity)
	}
}

// seenFrom opens a connection to an echo server and returns the source that it saw.
func seenFrom(t *testing.T, ns *netlab.Namespace, source, target netip.Addr) netip.Addr {
	t.Helper()
	s, err := lab.StartStream(lab.StreamConfig{From: ns, Kind: lab.TCP,
		To: netip.AddrPortFrom(target, lab.EchoPort), Rate: 50, Marker: lab.NewMarker(),
		Source: source})
	must(t, err)
	defer s.Stop()
	await(t, "an answer", func() bool { return s.Report().Received > 0 })
	for _, round := range s.Stop().Rounds {
		if round.Egress.IsValid() {
			return round.Egress
		}
	}
	return netip.Addr{}
}

// surfer is a member's browser without scripts.
type surfer struct {
	t      *testing.T
	base   string
	client *http.Client
}

// opens returns a browser in a host that looks at the page of the box, from an address of the host.
func opens(t *testing.T, ns *netlab.Namespace, box, source netip.Addr) *surfer {
	t.Helper()
	jar, err := cookiejar.New(nil)
	must(t, err)
	dial := ns.Dial
	if source.IsValid() {
		dial = func(ctx context.Context, network, address string) (conn net.Conn, err error) {
			err = ns.Do(func() error {
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: source.AsSlice()}}
				conn, err = d.DialContext(ctx, network, address)
				return err
			})
			return conn, err
		}
	}
	return &surfer{t, "http://" + netip.AddrPortFrom(box, 80).String(), &http.Client{Jar: jar,
		Timeout:   waitTimeout,
		Transport: &http.Transport{DialContext: dial}}}
}

func (s *surfer) try(path string) (string, error) {
	response, err := s.client.Get(s.base + path)
	if err != nil {
		return "", err
	}
	return s.read(response), nil
}

func (s *surfer) get(path string) string {
	s.t.Helper()
	body, err := s.try(path)
	must(s.t, err)
	return body
}

func (s *surfer) read(response *http.Response) string {
	s.t.Helper()
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	must(s.t, err)
	return string(body)
}

var formToken = regexp.MustCompile(`name="token" value="([^"]+)"`)

// choose sends the form of an exit.
func (s *surfer) choose(exit string) {
	s.t.Helper()
	page := s.get("/")
	found := formToken.FindStringSubmatch(page)
	if found == nil {
		s.t.Fatalf("there is no form in:\n%s", page)
	}
	response, err := s.client.PostForm(s.base+"/device/exit",
		url.Values{"token": {found[1]}, "exit": {exit}})
	must(s.t, err)
	if body := s.read(response); response.StatusCode != http.StatusOK {
		s.t.Fatalf("choosing %q: %d\n%s", exit, response.StatusCode, body)
	}
}

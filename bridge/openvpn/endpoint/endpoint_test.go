package endpoint_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/lab"
	"ztbridge/bridge/onetime"
	"ztbridge/bridge/openvpn/process"
	"ztbridge/bridge/pki"
	"ztbridge/policyroute/netlab"
)

// TestEndpoint uses one lab for everything that real clients do.
func TestEndpoint(t *testing.T) {
	l := newLab(t)
	// In a group of their own, so that the lab outlives the parallel tests.
	t.Run("clients", func(t *testing.T) {
		for name, test := range map[string]func(*testbed){
			"UDP":                 (*testbed).testUDP,
			"TCP where UDP drops": (*testbed).testTCP,
			"HTTP proxy":          (*testbed).testProxy,
			"IPv6 outside":        (*testbed).testOutside6,
			"network only":        (*testbed).testNetworkOnly,
			"isolation":           (*testbed).testIsolation,
			"newest wins":         (*testbed).testNewestWins,
			"disconnect":          (*testbed).testDisconnect,
			"expiry":              (*testbed).testExpiry,
			"revoke by UDP":       func(l *testbed) { l.testRevoke("lostphone", "", "udp/1194") },
			"revoke by TCP": func(l *testbed) {
				l.testRevoke("lostlaptop", "meta l4proto udp",
					"tcp/443")
			},
			"port scan":     (*testbed).testPortScan,
			"one-time link": (*testbed).testOneTimeLink,
			"unprivileged":  (*testbed).testUnprivileged,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(l.with(t))
			})
		}
	})
}

// addrs returns the addresses that a client must have on a listener: 0 is UDP, 1 TCP.
func addrs(t testing.TB, c pki.Client, listener int) []netip.Addr {
	t.Helper()
	listeners, err := testListeners()
	must(t, err)
	want, err := listeners[listener].Pool.Client(c.Host)
	must(t, err)
	return want
}

// testUDP connects with the profile as it is printed, and looks at everything the client was given.
func (l *testbed) testUDP() {
	t := l.t
	c, profile := l.add(pki.Request{Name: "udp"})
	ns := l.host()
	p := l.connect(ns, profile)
	defer p.Stop()
	awaitEcho(t, ns, innerAddr)
	awaitEcho(t, ns, inner6)
	s, ok := l.session("udp", "udp/1194")
	if !ok {
		t.Fatalf("not in the status: %+v", l.status())
	}
	want := addrs(t, c, 0)
	if !slices.Equal(s.Addrs, want) {
		t.Errorf("addresses %v, want %v", s.Addrs, want)
	}
	if !netip.MustParsePrefix("10.9.0.0/24").Contains(s.Remote.Addr()) ||
		!strings.HasPrefix(s.Program, "2.") {
		t.Errorf("remote %v, program %q", s.Remote, s.Program)
	}
	out, err := ns.Run(t.Context(), "ip", "-br", "addr", "show", "dev", "tun0")
	must(t, err)
	for _, a := range want {
		if !strings.Contains(out, a.String()+"/") {
			t.Errorf("the client's addresses are %s, want %v", out, want)
		}
	}
	await(t, "the bytes are counted", func() bool {
		s, _ := l.session("udp", "udp/1194")
		return s.BytesIn > 0 && s.BytesOut > 0
	})
	p.Stop()
	await(t, "the client has said good-bye",
		func() bool { _, ok := l.session("udp", "udp/1194"); return !ok })
}

func (l *testbed) testTCP() {
	t := l.t
	c, profile := l.add(pki.Request{Name: "tcp"})
	ns := l.host()
	l.drop(ns, "meta l4proto udp")
	p := l.connect(ns, profile)
	defer p.Stop()
	awaitEcho(t, ns, innerAddr)
	awaitEcho(t, ns, inner6)
	s, ok := l.session("tcp", "tcp/443")
	if !ok || !slices.Equal(s.Addrs, addrs(t, c, 1)) {
		t.Errorf("session %+v, want addresses %v", s, addrs(t, c, 1))
	}
}

// testOutside6 reaches the endpoint by its IPv6 address: one socket serves both families.
func (l *testbed) testOutside6() {
	t := l.t
	for proto, listener := range map[string]string{"udp": "udp/1194", "tcp": "tcp/443"} {
		name := "six" + proto
		_, profile := l.add(pki.Request{Name: name})
		var kept []string
		for line := range strings.Lines(strings.ReplaceAll(profile, boxAddr.String(),
			boxAddr6.String())) {
			if !strings.HasPrefix(line, "remote ") || strings.HasSuffix(line, " "+proto+"\n") {
				kept = append(kept, line)
			}
		}
		ns := l.host()
		p := l.connect(ns, strings.Join(kept, ""))
		awaitEcho(t, ns, innerAddr)
		if s, ok := l.session(name, listener); !ok || !s.Remote.Addr().Is6() {
			t.Errorf("%s: session %+v, want one from an IPv6 address", listener, s)
		}
		p.Stop()
	}
}

// testNetworkOnly looks at the routes of a client that wants the ZeroTier network and nothing else.
func (l *testbed) testNetworkOnly() {
	t := l.t
	_, profile := l.add(pki.Request{Name: "partial",
		Settings: pki.Settings{Tunnel: pki.TunnelZeroTier}})
	ns := l.host()
	p := l.connect(ns, profile)
	defer p.Stop()
	var routes string
	await(t, "the client has its routes", func() bool {
		out, err := ns.Run(t.Context(), "ip", "route", "show", "dev", "tun0")
		routes = out
		return err == nil && strings.Contains(out, "10.147.17.0/24")
	})
	if strings.Contains(routes, "0.0.0.0/1") || strings.Contains(routes, "128.0.0.0/1") {
		t.Errorf("everything goes through the tunnel:\n%s", routes)
	}
	if !strings.Contains(routes, "192.0.2.53") {
		t.Errorf("the resolver that the client is told is not reached through the tunnel:\n%s",
			routes)
	}
	if echoes(ns, innerAddr, 500*time.Millisecond) {
		t.Error("an address outside the ZeroTier network is reached through the tunnel")
	}
}

// testIsolation lets the kernel decide whether two clients reach each other, as it does about all
// else.
func (l *testbed) testIsolation() {
	t := l.t
	var hosts []*netlab.Namespace
	var clients []pki.Client
	for _, name := range []string{"left", "right"} {
		c, profile := l.add(pki.Request{Name: name})
		ns := l.host()
		p := l.connect(ns, profile)
		defer p.Stop()
		awaitEcho(t, ns, innerAddr)
		hosts, clients = append(hosts, ns), append(clients, c)
	}
	right := addrs(t, clients[1], 0)[0]
	echo, err := lab.ServeEcho(hosts[1], right)
	must(t, err)
	defer echo.Close()
	awaitEcho(t, hosts[0], right) // the control: without the rule they reach each other
	must(t,
		l.box.Nft(
			"table inet ztb {\nchain f {\ntype filter hook forward priority -5\niifname tunztb.udp1194 oifname tunztb.udp1194 drop\n}\n}"))
	defer func() { must(t, l.box.Nft("delete table inet ztb")) }()
	if echoes(hosts[0], right, time.Second) {
		t.Error("two clients reach each other past the kernel's filter")
	}
	if !echoes(hosts[0], innerAddr, waitTimeout) {
		t.Error("with the rule nothing else works either")
	}
}

// testNewestWins connects a client twice, by either listener: the first session ends.
func (l *testbed) testNewestWins() {
	t := l.t
	_, profile := l.add(pki.Request{Name: "twice"})
	first, second := l.host(), l.host()
	p1 := l.connect(first, profile)
	defer p1.Stop()
	awaitEcho(t, first, innerAddr)
	// The first one must not come back and win in its turn.
	must(t,
		first.Nft(
			"table inet x {\nchain o {\ntype filter hook output priority 0\nct state new drop\n}\n}"))
	p2 := l.connect(second, strings.ReplaceAll(profile, "remote 203.0.113.1 1194 udp\n", ""))
	defer p2.Stop()
	awaitEcho(t, second, innerAddr)
	await(t, "the older session has ended", func() bool {
		_, udp := l.session("twice", "udp/1194")
		_, tcp := l.session("twice", "tcp/443")
		return tcp && !udp
	})
}

func (l *testbed) testDisconnect() {
	t := l.t
	_, profile := l.add(pki.Request{Name: "guest"})
	ns := l.host()
	p := l.connect(ns, profile)
	defer p.Stop()
	awaitEcho(t, ns, innerAddr)
	before, _ := l.session("guest", "udp/1194")
	var n int
	if l.ask("/disconnect/guest", &n); n != 1 {
		t.Errorf("%d sessions were ended, want 1", n)
	}
	await(t, "the client is back with a new session", func() bool {
		s, ok := l.session("guest", "udp/1194")
		return ok && s.Since != before.Since
	})
	if l.ask("/disconnect/nobody", &n); n != 0 {
		t.Errorf("%d sessions of a stranger were ended", n)
	}
}

// testExpiry lets the certificate of a connected client expire.
func (l *testbed) testExpiry() {
	t := l.t
	c, profile := l.add(pki.Request{Name: "visitor", Life: 15 * time.Second})
	ns := l.host()
	p := l.connect(ns, profile)
	defer p.Kill()
	awaitEcho(t, ns, innerAddr)
	await(t, "the session has ended",
		func() bool { _, ok := l.session("visitor", "udp/1194"); return !ok })
	t.Logf("ended %s after the certificate", time.Since(c.Expires).Round(100*time.Millisecond))
	if early := time.Until(c.Expires); early > 0 {
		t.Errorf("the session ended %s before its certificate", early)
	}
	awaitLog(t, p, "this profile has expired; ask for a new one")
}

// testRevoke revokes a client with a live session as the command does: in the key store.
func (l *testbed) testRevoke(name, drop, listener string) {
	t := l.t
	_, profile := l.add(pki.Request{Name: name})
	ns := l.host()
	if drop != "" {
		l.drop(ns, drop)
	}
	p := l.connect(ns, profile)
	defer p.Kill()
	awaitEcho(t, ns, innerAddr)
	stream, err := lab.StartStream(lab.StreamConfig{
		From: ns, Kind: lab.UDP, To: netip.AddrPortFrom(innerAddr,
			lab.EchoPort), Rate: 100, Marker: lab.NewMarker(),
	})
	must(t, err)
	awaitAnswers(t, stream)

	revoked := time.Now()
	_, err = l.store.Revoke(name)
	must(t, err)
	await(t, "the session has ended",
		func() bool { _, ok := l.session(name, listener); return !ok })
	last := revoked
	for _, r := range stream.Stop().Rounds {
		if !r.Received.IsZero() && r.Sent.After(last) {
			last = r.Sent
		}
	}
	t.Logf("%s: the last packet that was answered was sent %s after the revocation", listener,
		last.Sub(revoked).Round(time.Millisecond))
	if last.Sub(revoked) > time.Second {
		t.Errorf("packets passed for %s after the revocation, want at most 1 s", last.Sub(revoked))
	}
	awaitLog(t, p, "Halt command was pushed by server") // it knows why, and stays away
}

func awaitAnswers(t testing.TB, s *lab.Stream) {
	t.Helper()
	await(t, "the stream is answered",
		func() bool { _, received, _ := s.Counts(); return received > 20 })
}

// testPortScan looks at TCP 443 as a stranger does: TLS, plain HTTP, an OpenVPN client without its
// key, and noise.
func (l *testbed) testPortScan() {
	t := l.t
	dial := func() net.Conn {
		conn, err := l.café.Dial(t.Context(), "tcp", netip.AddrPortFrom(boxAddr, 443).String())
		must(t, err)
		must(t, conn.SetDeadline(time.Now().Add(waitTimeout)))
		return conn
	}
	conn := tls.Client(dial(), &tls.Config{InsecureSkipVerify: true})
	defer conn.Close()
	if resp, body := get(t, conn, "/"); resp.StatusCode != http.StatusOK ||
		!strings.Contains(body, "It works") {
		t.Errorf("a browser sees %s %q", resp.Status, body)
	}
	plain := dial()
	defer plain.Close()
	if resp, _ := get(t, plain, "/"); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("plain HTTP on the port gets %s, want 400 as of any HTTPS server", resp.Status)
	}
}

func get(t testing.TB, conn net.Conn, path string) (*http.Response, string) {
	t.Helper()
	_, err := io.WriteString(conn, "GET "+path+
		" HTTP/1.1\r\nHost: vm.example.org\r\nConnection: close\r\n\r\n")
	must(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	must(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp, string(body)
}

// testOneTimeLink downloads a profile through the port that OpenVPN shares, after a download that
// broke off, and once more as browsers do that ask twice.
func (l *testbed) testOneTimeLink() {
	t := l.t
	var link onetime.Link
	l.ask("/link/phone", &link)
	client := &http.Client{Timeout: waitTimeout, Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return l.café.Dial(ctx, network, addr)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	defer client.CloseIdleConnections()
	token := strings.TrimPrefix(link.URL, "https://"+boxAddr.String())
	broken, err := l.café.Dial(t.Context(), "tcp", netip.AddrPortFrom(boxAddr, 443).String())
	must(t, err)
	browser := tls.Client(broken, &tls.Config{InsecureSkipVerify: true})
	_, err = io.WriteString(browser, "GET "+token+" HTTP/1.1\r\nHost: vm.example.org\r\n\r\n")
	must(t, err)
	_, err = browser.Read(make([]byte, 16))
	must(t, err, broken.Close())
	for range 2 {
		resp, err := client.Get(link.URL)
		must(t, err)
		body, err := io.ReadAll(resp.Body)
		must(t, err, resp.Body.Close())
		if resp.StatusCode != http.StatusOK || string(body) != "profile" {
			t.Errorf("%s: %s %q, want the profile", link.URL, resp.Status, body)
		}
	}
	if resp, _ := client.Get(link.URL[:len(link.URL)-1] + "-"); resp == nil ||
		resp.StatusCode != http.StatusNotFound {
		t.Errorf("another token: %+v, want 404", resp)
	}
}

// testUnprivileged looks at the processes as the kernel shows them.
func (l *testbed) testUnprivileged() {
	t := l.t
	for _, s := range l.status().Listeners {
		st := readProcStatus(t, s.PID)
		for key, want := range map[string]string{
			"Uid": "65534\t65534\t65534\t65534", "Gid": "65534\t65534\t65534\t65534",
			"Groups":     strconv.Itoa(process.DeviceGroup(s.Listener.Device)),
			"NoNewPrivs": "1",
			"CapPrm":     "0000000000000400", "CapEff": "0000000000000400",
			"CapAmb": "0000000000000400",
		} {
			if got := strings.TrimSpace(st[key]); got != want {
				t.Errorf("%s: %s is %q, want %q", s.Listener.Name(), key, got, want)
			}
		}
	}
}

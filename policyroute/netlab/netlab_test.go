package netlab

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// await polls until cond holds; the test fails if it does not within ten seconds.
func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}

func answered(s *Stream, n int) func() bool {
	return func() bool {
		_, received, _ := s.Counts()
		return received >= n
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A box that forwards and translates without any policy leaks everything, and the capture must see
// each kind of it, on both families, by content alone.
func TestCaptureSeesDeliberateLeak(t *testing.T) {
	top := ForTest(t, Options{})
	must(t, top.Box.Forwarding())
	must(t, top.Box.Masquerade(WANIface))

	for _, v := range []Version{IPv4, IPv6} {
		for _, kind := range []Kind{UDP, TCP, DNS, Ping} {
			capture, err := top.WatchLeaks()
			must(t, err)
			s, err := top.ClientStream(kind, v, 100)
			must(t, err)
			await(t, string(kind)+" answers", answered(s, 20))
			report := s.Stop()
			must(t, capture.Stop())
			res, err := capture.Result()
			must(t, err)
			if res.Dropped != 0 {
				t.Errorf("IPv%d %s: the capture dropped %d packets", v, kind, res.Dropped)
			}
			// Each request and each answer crosses the link.
			if want := 2 * report.Received; kind != TCP && res.Matched < want {
				t.Errorf("IPv%d %s: %d leaked packets seen, want %d or more", v, kind, res.Matched, want)
			}
			if res.Matched < 20 {
				t.Errorf("IPv%d %s: %s", v, kind, res)
			}
			want := v.pick(BoxWAN4, BoxWAN6)
			if got := report.Egresses(); kind != Ping && got[want] != report.Received {
				t.Errorf("IPv%d %s: seen as %v, want all %d as %s", v, kind, got, report.Received, want)
			}
		}
	}
}

// Without translation the client's own address is on the wire, and nothing comes back.
func TestCaptureSeesClientSource(t *testing.T) {
	top := ForTest(t, Options{})
	must(t, top.Box.Forwarding())
	source := Within(IngressNet4)
	capture, err := top.Router.Capture(top.WANSegment.Port(top.Box, WANIface), source)
	must(t, err)
	s, err := top.ClientStream(UDP, IPv4, 100)
	must(t, err)
	await(t, "leaked packets", func() bool {
		res, err := capture.Result()
		return err == nil && res.Matched >= 10
	})
	if report := s.Stop(); report.Received != 0 {
		t.Errorf("the Internet answered an address that it cannot know: %s", report)
	}
	must(t, capture.Stop())
}

func TestHostAndSessionLiveAndCaptureStaysSilent(t *testing.T) {
	top := ForTest(t, Options{})
	capture, err := top.WatchLeaks()
	must(t, err)
	var streams []*Stream
	for _, v := range []Version{IPv4, IPv6} {
		for _, kind := range []Kind{UDP, TCP, DNS, Ping} {
			if kind == DNS && v == IPv6 {
				continue // the box's resolver has no IPv6 address
			}
			s, err := top.BoxStream(kind, v, 50)
			must(t, err)
			streams = append(streams, s)
		}
		s, err := top.SessionIntoBox(v, 50)
		must(t, err)
		streams = append(streams, s)
	}
	for _, s := range streams {
		await(t, "answers to the host", answered(s, 30))
	}
	for _, s := range streams {
		report := s.Stop()
		if report.Kind != TCP && report.Lost > 0 {
			t.Errorf("lost without a fault: %s", report)
		}
		if report.Kind == TCP && report.Connects != 1 {
			t.Errorf("the connection did not hold: %s", report)
		}
	}
	must(t, capture.Stop())
	res, err := capture.Result()
	must(t, err)
	if res.Seen == 0 || res.Matched != 0 {
		t.Errorf("the host's own traffic was taken for a client's: %s", res)
	}
}

// A client of the provider, started by hand with its own profile, reaches the Internet through it.
func TestProviderCarriesPackets(t *testing.T) {
	tests := []struct {
		name string
		opts ProviderOptions
	}{
		{"certificate over UDP", ProviderOptions{}},
		{"password over TCP", ProviderOptions{Protos: []Proto{OverTCP}, Credentials: &Credentials{"alice", "s e\"cret"}}},
		{"both transports", ProviderOptions{Protos: []Proto{OverTCP, OverUDP}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			top := ForTest(t, Options{Providers: []ProviderOptions{tt.opts}})
			p := top.Providers[0]
			startCustomer(t, top, p, tt.opts.Credentials)

			for _, v := range []Version{IPv4, IPv6} {
				s, err := top.BoxStream(UDP, v, 100)
				must(t, err)
				want := v.pick(p.Public4[0], p.Public6[0])
				await(t, "packets seen as "+want.String(), func() bool { return s.Report().Egresses()[want] >= 20 })
				s.Stop()
			}
			customers, err := p.Customers()
			must(t, err)
			if len(customers) != 1 || !p.pool4.Contains(customers[0]) && len(tt.opts.Protos) < 2 {
				t.Errorf("customers: %v", customers)
			}
		})
	}
}

// startCustomer runs a plain openvpn in the box with the provider's profile.
func startCustomer(t *testing.T, top *Topology, p *Provider, c *Credentials) *Process {
	t.Helper()
	profile := filepath.Join(t.TempDir(), "p.ovpn")
	must(t, os.WriteFile(profile, []byte(p.Config()), 0o600))
	cmd := Command("openvpn", "--config", profile, "--connect-retry", "1")
	if c != nil {
		auth := filepath.Join(t.TempDir(), "auth")
		must(t, os.WriteFile(auth, []byte(c.User+"\n"+c.Password+"\n"), 0o600))
		cmd.Args = append(cmd.Args, "--auth-user-pass", auth)
	}
	proc, err := top.Box.Start(cmd)
	must(t, err)
	return proc
}

func TestProviderRejects(t *testing.T) {
	tests := []struct {
		name    string
		spoil   func(*Provider) error
		creds   *Credentials
		restart bool
		want    string // in the client's log
	}{
		{"wrong password", func(p *Provider) error { return p.SetCredentials(Credentials{"alice", "changed"}) },
			&Credentials{"alice", "secret"}, false, "AUTH_FAILED"},
		{"expired server certificate", func(p *Provider) error { return p.SetServerCertificate(time.Now().Add(-time.Hour)) },
			nil, true, "certificate has expired"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			top := ForTest(t, Options{Providers: []ProviderOptions{{Credentials: tt.creds}}})
			p := top.Providers[0]
			must(t, tt.spoil(p))
			if tt.restart {
				must(t, p.Restart(t.Context()))
			}
			proc := startCustomer(t, top, p, tt.creds)
			await(t, tt.want, func() bool { return strings.Contains(proc.Log(), tt.want) })
		})
	}
}

func TestProviderPoolAndPushChange(t *testing.T) {
	top := ForTest(t, Options{})
	p := top.Providers[0]
	p.SetPool(netip.MustParsePrefix("192.168.50.64/26"), netip.MustParsePrefix("fd50:1::/64"))
	p.Push(HostileOptions(LANNet4)...)
	must(t, p.Restart(t.Context()))
	proc := startCustomer(t, top, p, nil)
	await(t, "a customer in the new pool", func() bool {
		customers, err := p.Customers()
		return err == nil && len(customers) == 1 && p.pool4.Contains(customers[0])
	})
	await(t, "a hostile option to arrive", func() bool { return strings.Contains(proc.Log(), "evil.example") })
}

// The gap that is measured is the gap that was made, and it is laid at the moment of the fault.
func TestGapIsMeasured(t *testing.T) {
	const outage = 700 * time.Millisecond
	top := ForTest(t, Options{})
	port := top.WANSegment.Port(top.Box, WANIface)
	_ = port
	s, err := top.BoxStream(UDP, IPv4, 100)
	must(t, err)
	await(t, "answers", answered(s, 50))
	cut := time.Now()
	must(t, top.Internet.Blackhole("eth0"))
	time.Sleep(outage)
	must(t, top.Internet.Heal("eth0"))
	healed := time.Now()
	sent, received, _ := s.Counts()
	await(t, "answers again", answered(s, received+50))
	report := s.Stop()

	gap := report.Gap(cut, healed)
	if slack := 300 * time.Millisecond; gap < outage-50*time.Millisecond || gap > healed.Sub(cut)+slack {
		t.Errorf("gap %s, want about %s", gap, healed.Sub(cut))
	}
	if during := report.Between(cut, healed); during.Lost < during.Sent*8/10 {
		t.Errorf("%d of %d lost during the outage, want nearly all", during.Lost, during.Sent)
	}
	if sent < 100 {
		t.Errorf("only %d requests sent", sent)
	}
}

func TestLossIsAsAsked(t *testing.T) {
	top := ForTest(t, Options{})
	must(t, top.Router.Loss("r-internet", 30))
	s, err := top.BoxStream(UDP, IPv4, 500)
	must(t, err)
	await(t, "requests", func() bool { sent, _, _ := s.Counts(); return sent >= 1000 })
	report := s.Stop()
	// Two passes of 30 % each: 51 %.
	if share := 100 * report.Lost / report.Sent; share < 40 || share > 62 {
		t.Errorf("%d %% lost, want about 51 %%", share)
	}
	must(t, top.Router.Heal("r-internet"))
	s, err = top.BoxStream(UDP, IPv4, 500)
	must(t, err)
	await(t, "answers", answered(s, 100))
	if report := s.Stop(); report.Lost > 0 {
		t.Errorf("loss after healing: %s", report)
	}
}

func TestIngressReturnsWithNewIndex(t *testing.T) {
	top := ForTest(t, Options{})
	index := func() string {
		out, err := top.Box.Run(t.Context(), "cat", "/sys/class/net/"+IngressIface+"/ifindex")
		must(t, err)
		return out
	}
	before := index()
	must(t, top.Ingress.Delete())
	must(t, top.Ingress.Recreate())
	if after := index(); after == before {
		t.Errorf("the interface index is %s still", after)
	}
	s, err := StartStream(StreamConfig{From: top.Client, Kind: Ping, Rate: 20, Marker: top.Marker,
		To: netip.AddrPortFrom(host(IngressNet4, 1), 0)})
	must(t, err)
	await(t, "the client to reach the box again", answered(s, 5))
	s.Stop()
}

func TestRouterAdvertisements(t *testing.T) {
	top := ForTest(t, Options{RouterAdvertisements: true})
	s, err := top.BoxStream(UDP, IPv6, 50)
	must(t, err)
	await(t, "IPv6 by an advertised route", answered(s, 10))
	s.Stop()
	table, err := top.Box.MainTable(t.Context())
	must(t, err)
	if !strings.Contains(table, "proto ra") || strings.Contains(table, "expires") {
		t.Errorf("main table:\n%s", table)
	}
}

func TestCafeGuestReachesBoxAndUDPIsBlocked(t *testing.T) {
	top := ForTest(t, Options{})
	cafe, err := top.AddCafe()
	must(t, err)
	stream := func(kind Kind) *Stream {
		s, err := StartStream(StreamConfig{From: cafe.Client, Kind: kind, Rate: 50, Marker: top.Marker,
			To: netip.AddrPortFrom(HostTarget4, EchoPort)})
		must(t, err)
		return s
	}
	s := stream(UDP)
	await(t, "the guest's answers", answered(s, 10))
	if got := s.Stop().Egresses()[cafe.Site.Addr4]; got < 10 {
		t.Errorf("%d packets seen from the café", got)
	}
	must(t, cafe.BlockUDP())
	udp, tcp := stream(UDP), stream(TCP)
	await(t, "TCP", answered(tcp, 20))
	tcp.Stop()
	if report := udp.Stop(); report.Received > 0 {
		t.Errorf("UDP passed: %s", report)
	}
}

func TestProcessesAndMountsAreThoseOfTheNamespace(t *testing.T) {
	Require(t, Root)
	ns, err := NewNamespace("alone")
	must(t, err)
	defer ns.Close()
	must(t, ns.SetFile("/etc/hosts", "192.0.2.1 first\n"))
	must(t, ns.SetFile("/etc/hosts", "192.0.2.2 second\n"))
	out, err := ns.Run(t.Context(), "cat", "/etc/hosts")
	must(t, err)
	if out != "192.0.2.2 second\n" {
		t.Errorf("/etc/hosts is %q", out)
	}
	out, err = ns.Run(t.Context(), "ls", "/sys/class/net")
	must(t, err)
	if strings.TrimSpace(out) != "lo" {
		t.Errorf("/sys/class/net shows %q", out)
	}
	if _, err := ns.Run(t.Context(), "sh", "-c", "echo why >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "why") {
		t.Errorf("error %v, want one that shows the output", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := ns.Run(ctx, "sleep", "60"); err == nil {
		t.Error("a program outlived its context")
	}
}

// A grandchild that left its process group ends with its namespace.
func TestCloseLeavesNoProcess(t *testing.T) {
	Require(t, Root)
	ns, err := NewNamespace("alone")
	must(t, err)
	p, err := ns.Start(Command("setsid", "--fork", "sleep", "300"))
	must(t, err)
	<-p.Done()
	link, err := os.Readlink("/proc/self/ns/net")
	must(t, err)
	var inside string
	must(t, ns.Do(func() (err error) {
		inside, err = os.Readlink("/proc/thread-self/ns/net")
		return err
	}))
	if inside == link {
		t.Fatal("Do ran in the caller's namespace")
	}
	pids, err := processesIn(inside)
	must(t, err)
	if len(pids) != 1 {
		t.Fatalf("processes in the namespace: %v, want the sleeper", pids)
	}
	must(t, ns.Close())
	pids, err = processesIn(inside)
	must(t, err)
	if len(pids) != 0 {
		t.Errorf("still there: %v", pids)
	}
	if _, err := os.Stat(filepath.Join(netnsDir, ns.Name)); !os.IsNotExist(err) {
		t.Errorf("the namespace is still there: %v", err)
	}
	must(t, ns.Close())
}

func TestSnapshotShowsWhatChanged(t *testing.T) {
	Require(t, Root)
	ns, err := NewNamespace("alone")
	must(t, err)
	defer ns.Close()
	before, err := ns.Snapshot(t.Context())
	must(t, err)

	must(t, ns.IP("rule add prio 15000 iif lo lookup 23101", "route add unreachable default table 23101"))
	must(t, ns.Nft("table inet x { chain c { type filter hook forward priority 0; counter drop; }; }"))
	must(t, ns.Sysctl("net/ipv4/conf/lo/forwarding=1"))
	changed, err := ns.Snapshot(t.Context())
	must(t, err)
	diff := changed.Diff(before)
	for _, want := range []string{"+ 15000:", "+ unreachable default table 23101", "+ table inet x", "net/ipv4/conf/lo/forwarding = 1"} {
		if !strings.Contains(diff, want) {
			t.Errorf("the difference lacks %q:\n%s", want, diff)
		}
	}
	must(t, ns.IP("rule del prio 15000", "route flush table 23101"))
	must(t, ns.Nft("delete table inet x"))
	must(t, ns.Sysctl("net/ipv4/conf/lo/forwarding=0"))
	after, err := ns.Snapshot(t.Context())
	must(t, err)
	if diff := after.Diff(before); diff != "" {
		t.Errorf("after undoing everything:\n%s", diff)
	}
}

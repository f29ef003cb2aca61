package lab

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"ztbridge/policyroute/netlab"
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
	t.Parallel()
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
				t.Errorf("IPv%d %s: %d leaked packets seen, want %d or more", v, kind, res.Matched,
					want)
			}
			if res.Matched < 20 {
				t.Errorf("IPv%d %s: %s", v, kind, res)
			}
			want := v.pick(BoxWAN4, BoxWAN6)
			if got := report.Egresses(); kind != Ping && got[want] != report.Received {
				t.Errorf("IPv%d %s: seen as %v, want all %d as %s", v, kind, got, report.Received,
					want)
			}
		}
	}
}

// Without translation the client's own address is on the wire, and nothing comes back.
func TestCaptureSeesClientSource(t *testing.T) {
	t.Parallel()
	top := ForTest(t, Options{})
	must(t, top.Box.Forwarding())
	source := netlab.Within(IngressNet4)
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

// The gap that is measured is the gap that was made, and it is laid at the moment of the fault.
func TestGapIsMeasured(t *testing.T) {
	const outage = 700 * time.Millisecond
	top := ForTest(t, Options{})
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
	if slack := 300 * time.Millisecond; gap < outage-50*time.Millisecond ||
		gap > healed.Sub(cut)+slack {
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
	top := ForTest(t, Options{})
	cafe, err := top.AddCafe()
	must(t, err)
	stream := func(kind Kind) *Stream {
		s, err := StartStream(StreamConfig{From: cafe.Client, Kind: kind, Rate: 50,
			Marker: top.Marker,
			To:     netip.AddrPortFrom(HostTarget4, EchoPort)})
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

func TestThroughputFollowsRateLimit(t *testing.T) {
	netlab.Require(t, netlab.IPerf3)
	top := ForTest(t, Options{})
	must(t, top.Router.RateLimit(t.Context(), "r-internet", "20mbit"))
	got, err := IPerf{Server: top.Internet, Client: top.Box, Addr: HostTarget4,
		Duration: 2 * time.Second}.Measure(t.Context())
	must(t, err)
	if got.Mbit < 10 || got.Mbit > 24 {
		t.Errorf("%.1f Mbit/s, want about 19", got.Mbit)
	}
}

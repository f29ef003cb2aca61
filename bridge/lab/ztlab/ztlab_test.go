package ztlab_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"ztbridge/bridge/lab"
	"ztbridge/bridge/lab/ztlab"
	"ztbridge/policyroute/netlab"
)

func usual(t *testing.T) (*lab.Topology, *ztlab.Usual, context.Context) {
	t.Helper()
	top := lab.ForTest(t, lab.Options{RemoteClient: true}, netlab.ZeroTier)
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	t.Cleanup(cancel)
	u, err := ztlab.NewUsual(ctx, top)
	if err != nil {
		t.Fatal(err)
	}
	return top, u, ctx
}

// awaitAnswers runs a stream until it has got n answers.
func awaitAnswers(t *testing.T, cfg lab.StreamConfig, n int) lab.Report {
	t.Helper()
	s, err := lab.StartStream(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, received, _ := s.Counts(); received >= n {
			return s.Stop()
		}
		if time.Now().After(deadline) {
			t.Fatalf("too few answers: %s", s.Stop())
		}
	}
}

func TestMembersReachEachOther(t *testing.T) {
	t.Parallel()
	top, _, _ := usual(t)
	awaitBox(t, top)
}

// awaitBox waits until the client has found the box. As long as it has not, its own, wider IPv6
// route serves in place of the one by the box (net/ipv6/route.c: RT6_LOOKUP_F_REACHABLE).
func awaitBox(t *testing.T, top *lab.Topology) {
	t.Helper()
	for _, to := range []netip.Addr{ztlab.Box4, ztlab.Box6} {
		awaitAnswers(t, lab.StreamConfig{From: top.Client, Kind: lab.Ping,
			To:   netip.AddrPortFrom(to, 0),
			Rate: 20, Marker: top.Marker}, 10)
	}
}

// A box that forwards and translates leaks what comes by ZeroTier, and it is seen.
func TestLeakOfMemberIsSeen(t *testing.T) {
	t.Parallel()
	top, _, _ := usual(t)
	awaitBox(t, top)
	for _, err := range []error{top.Box.Forwarding(), top.Box.Masquerade(lab.WANIface)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	capture, err := top.WatchLeaks()
	if err != nil {
		t.Fatal(err)
	}
	for to, want := range map[netip.Addr]netip.Addr{
		lab.ClientTarget4: lab.BoxWAN4, lab.ClientTarget6: lab.BoxWAN6,
	} {
		report := awaitAnswers(t, lab.StreamConfig{From: top.Client, Kind: lab.UDP,
			Marker: top.Marker,
			To:     netip.AddrPortFrom(to, lab.EchoPort), Rate: 50}, 20)
		if got := report.Egresses()[want]; got != report.Received {
			t.Errorf("%s saw %v, want all from %s", to, report.Egresses(), want)
		}
	}
	if err := capture.Stop(); err != nil {
		t.Fatal(err)
	}
	if res, err := capture.Result(); err != nil || res.Matched < 80 || res.Dropped > 0 {
		t.Errorf("leaks seen: %s (%v)", res, err)
	}
}

func TestNodeRestartsAndIsExpelled(t *testing.T) {
	t.Parallel()
	_, u, ctx := usual(t)
	u.Client.Kill()
	if err := u.Client.Start(ctx); err != nil {
		t.Fatal(err)
	}
	m, err := u.Client.AwaitMembership(ctx, u.Network.ID)
	if err != nil {
		t.Fatal(err)
	}
	if m.Iface != u.ClientIface {
		t.Errorf("the interface is %s, was %s", m.Iface, u.ClientIface)
	}
	if err := u.Network.Deauthorise(ctx, u.Client); err != nil {
		t.Fatal(err)
	}
	for m.Status != "ACCESS_DENIED" {
		if err := u.Client.Get(ctx, "/network/"+u.Network.ID, &m); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("status is %s still", m.Status)
		case <-time.After(100 * time.Millisecond):
		}
	}
	if err := u.Network.Authorise(ctx, u.Client, ztlab.Client4); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Client.AwaitMembership(ctx, u.Network.ID); err != nil {
		t.Fatal(err)
	}
}

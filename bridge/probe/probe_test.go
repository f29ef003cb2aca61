package probe

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"
)

// Loopback answers echoes: a path that works.
func TestProbeLoopback(t *testing.T) {
	requireRoot(t)
	for _, target := range []string{"127.0.0.1", "::1"} {
		t.Run(target, func(t *testing.T) {
			changed := make(chan struct{}, 1)
			p := New(Config{
				Egress: "test", Targets: []netip.Addr{netip.MustParseAddr(target)},
				Interval: interval, HoldDown: holdDown, Logger: slog.New(slog.DiscardHandler),
				Notify: func() {
					select {
					case changed <- struct{}{}:
					default:
					}
				},
			})
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			done := make(chan error, 1)
			go func() { done <- p.Run(ctx) }()
			p.SetActive(true)
			for p.Status().Grade != Fresh {
				select {
				case <-changed:
				case <-ctx.Done():
					t.Fatalf("never answered: %+v", p.Status())
				}
			}
			p.SetActive(false)
			if st := p.Status(); st.Grade != Unknown {
				t.Errorf("inactive, yet %v", st.Grade)
			}
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
}

func requireRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("NOT TESTED: ICMP echo needs root")
	}
}

func TestPathMTUOfLoopback(t *testing.T) {
	requireRoot(t)
	e := newEchoer(0)
	defer e.close()
	got := e.pathMTU(t.Context(), []netip.Addr{netip.MustParseAddr("127.0.0.1")}, maxTimeout)
	if got != mtuSizes[0] {
		t.Errorf("path MTU %d, want the largest asked for, %d", got, mtuSizes[0])
	}
}

// A stranger's packet, whatever it holds, is no answer.
func TestForeignAnswersDoNotCount(t *testing.T) {
	e := newEchoer(0)
	target := netip.MustParseAddr("192.0.2.1")
	from := &net.IPAddr{IP: target.AsSlice()}
	reply := e.request(false, 0)
	reply[0] = 0 // echo reply
	if !e.answers(reply, from, false, []netip.Addr{target}) {
		t.Fatal("the right answer does not count")
	}
	wrongNonce := append([]byte(nil), reply...)
	wrongNonce[len(wrongNonce)-1] ^= 1
	for name, b := range map[string][]byte{"empty": {}, "request": e.request(false, 0), "wrong nonce": wrongNonce, "short": reply[:12]} {
		if e.answers(b, from, false, []netip.Addr{target}) {
			t.Errorf("%s counted as an answer", name)
		}
	}
	if e.answers(reply, &net.IPAddr{IP: net.IPv4(192, 0, 2, 9)}, false, []netip.Addr{target}) {
		t.Error("an answer from another host counted")
	}
}

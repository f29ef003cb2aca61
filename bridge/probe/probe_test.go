package probe

import (
	"context"
	"errors"
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
	e := newEchoer(0, NewNonce())
	defer e.close()
	got := e.pathMTU(t.Context(), []netip.Addr{netip.MustParseAddr("127.0.0.1")}, maxTimeout)
	if got != mtuSizes[0] {
		t.Errorf("path MTU %d, want the largest asked for, %d", got, mtuSizes[0])
	}
}

func TestLargest(t *testing.T) {
	sizes := []int{1500, 1400, 1300, 1200}
	for _, pathMTU := range []int{9000, 1500, 1450, 1300, 1200, 500} {
		want := 0
		for _, s := range sizes {
			if s <= pathMTU {
				want = max(want, s)
			}
		}
		got := largest(sizes, func(size int) fit {
			if size <= pathMTU {
				return passes
			}
			return tooBig
		})
		if got != want {
			t.Errorf("path of %d: found %d, want %d", pathMTU, got, want)
		}
	}
	silent := false // the way is full, or dead, from the second question on
	got := largest(sizes, func(size int) fit {
		if silent {
			return unclear
		}
		silent = true
		return tooBig
	})
	if got != 0 {
		t.Errorf("a path that fell silent is said to have %d", got)
	}
}

// A stranger's packet, whatever it holds, is no answer, nor is one to an echo that was answered
// before or left too long ago.
func TestForeignAnswersDoNotCount(t *testing.T) {
	e := newEchoer(0, NewNonce())
	target := netip.MustParseAddr("192.0.2.1")
	from := &net.IPAddr{IP: target.AsSlice()}
	reply := func() []byte {
		b := e.request(false, 0)
		b[0] = 0 // echo reply
		return b
	}
	counts := func(b []byte, from *net.IPAddr) bool {
		_, ok := e.answers(b, from, false, []netip.Addr{target})
		return ok
	}
	e.ask()
	early := reply()
	e.ask()
	right := reply()
	if !counts(right, from) || !counts(early, from) {
		t.Fatal("the right answer does not count, or a late one")
	}
	wrongNonce := append([]byte(nil), right...)
	wrongNonce[len(wrongNonce)-1] ^= 1
	for name, b := range map[string][]byte{"empty": {}, "request": e.request(false, 0),
		"wrong nonce": wrongNonce, "short": right[:12]} {
		if counts(b, from) {
			t.Errorf("%s counted as an answer", name)
		}
	}
	if counts(right, &net.IPAddr{IP: net.IPv4(192, 0, 2, 9)}) {
		t.Error("an answer from another host counted")
	}
	e.asked[e.seq] = time.Now().Add(-lateMax - time.Second)
	if counts(right, from) {
		t.Error("an answer counted that came much too late")
	}
	e.forget()
	if counts(early, from) {
		t.Error("an answer to a forgotten echo counted")
	}
}

// Where nobody answers echoes, a connection, or its refusal, proves that the path works; and
// silence of both that it does not.
func TestConnect(t *testing.T) {
	self := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")}
	for _, target := range self {
		if _, err := connect(t.Context(), 0, []netip.Addr{target}, maxTimeout); err != nil {
			t.Errorf("%s refuses, which is an answer: %v", target, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := connect(ctx, 0, self, maxTimeout); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("nobody answers: %v", err)
	}
}

package probe

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

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
	e := newEchoer(path{}, NewNonce())
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

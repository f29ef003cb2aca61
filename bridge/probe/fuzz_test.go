package probe

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// FuzzAnswers takes what anybody may send to a probe's socket. Nothing counts as an answer that
// does not repeat the nonce, to an echo that was sent, from a target.
func FuzzAnswers(f *testing.F) {
	e := newEchoer(path{}, Nonce{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16})
	targets := []netip.Addr{netip.MustParseAddr("9.9.9.9"), netip.MustParseAddr("2620:fe::fe")}
	e.ask()
	for _, v6 := range []bool{false, true} {
		request := e.request(v6, 0)
		answer := slices.Clone(request)
		answer[0] = 0 // an IPv4 reply
		if v6 {
			answer[0] = 129
		}
		for _, from := range [][]byte{targets[0].AsSlice(), targets[1].AsSlice(), {1, 2, 3, 4},
			{}} {
			f.Add(answer, from, v6)
			f.Add(request, from, v6)
		}
		f.Add(answer[:len(answer)-1], targets[0].AsSlice(), v6)
		f.Add(answer[:7], targets[0].AsSlice(), v6)
	}
	f.Fuzz(func(t *testing.T, packet, from []byte, v6 bool) {
		clear(e.asked)
		e.seq = 0
		e.ask()
		seq, ok := e.answers(packet, &net.IPAddr{IP: from}, v6, targets)
		if !ok {
			return
		}
		addr, _ := netip.AddrFromSlice(from)
		if seq != 1 || !bytes.Contains(packet, e.nonce[:]) ||
			!slices.Contains(targets, addr.Unmap()) {
			t.Errorf("%x from %v counts as the answer to echo %d", packet, from, seq)
		}
		e.asked[1] = time.Now().Add(-lateMax - time.Second)
		if _, ok := e.answers(packet, &net.IPAddr{IP: from}, v6, targets); ok {
			t.Error("it counts although it is too late")
		}
		clear(e.asked)
		if _, ok := e.answers(packet, &net.IPAddr{IP: from}, v6, targets); ok {
			t.Error("it counts although nothing was sent")
		}
	})
}

package lab

import (
	"encoding/binary"
	"testing"
	"time"

	"ztbridge/policyroute/netlab"
)

func TestLikeCards(t *testing.T) {
	netlab.Require(t, netlab.IPerf3, netlab.Ethtool)
	top := ForTest(t, Options{})
	// large returns how many packets that do not fit a frame the box sends in an upload.
	large := func() int {
		t.Helper()
		const ethernet, mtu = 14, 1500
		count := 0
		capture, err := top.Box.Capture(WANIface, func(p netlab.Packet) bool {
			tcp := p.Outgoing && p.Proto == "tcp" && p.Dst == HostTarget4
			if tcp && binary.BigEndian.Uint16(p.Data[ethernet+2:]) > mtu {
				count++
			}
			return tcp
		})
		must(t, err)
		_, err = IPerf{Server: top.Internet, Client: top.Box, Addr: HostTarget4,
			Duration: time.Second}.Measure(t.Context())
		must(t, err)
		must(t, capture.Stop())
		result, err := capture.Result()
		must(t, err)
		if result.Matched < 1000 {
			t.Fatalf("saw %d packets of the upload", result.Matched)
		}
		return count
	}
	if large() == 0 {
		t.Error("veth pairs pass on no bundles: there is nothing to show")
	}
	must(t, top.LikeCards(t.Context()))
	if n := large(); n > 0 {
		t.Errorf("%d packets are larger than a frame", n)
	}
}

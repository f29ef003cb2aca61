package services

import (
	"net"
	"testing"

	"ztbridge/bridge/config"
	"ztbridge/bridge/probe"
)

func TestParseTraffic(t *testing.T) {
	const text = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 3280    41    0    0    0     0          0         0     3280      41    0    0    0     0       0          0
tunztb-provider:123456789 4711    0    0    0     0          0         0    11       7    0    0    0     0       0          0
`
	for iface, want := range map[string]probe.Traffic{
		"lo": {Received: 41, Sent: 41, Bytes: 6560}, "tunztb-provider": {Received: 4711, Sent: 7,
			Bytes: 123456800}, "tunztb": {}, "": {}, "face |bytes": {},
	} {
		got := probe.Traffic{}
		for name, counts := range interfaces([]byte(text)) {
			if n := parseCounters(counts); name == iface {
				got = probe.Traffic{Received: n.PacketsIn, Sent: n.PacketsOut,
					Bytes: n.BytesIn + n.BytesOut}
			}
		}
		if got != want {
			t.Errorf("%q: %+v, want %+v", iface, got, want)
		}
	}
}

// What came in by an interface that others use as well says nothing about an egress; what leaves
// has it asked.
func TestTrafficByASharedInterface(t *testing.T) {
	conn, err := net.Dial("udp", "127.0.0.1:9")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	d := &Set{}
	d.view.Store(&hostView{devices: map[string]string{"direct": "lo"}})
	traffic := d.trafficBy(config.Egress{Name: "direct", WAN: &config.WAN{}})
	before := traffic()
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if now := traffic(); now.Sent <= before.Sent || now.Bytes <= before.Bytes || now.Received != 0 {
		t.Errorf("before a packet %+v, after it %+v", before, now)
	}
}

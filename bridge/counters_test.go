package bridge

import (
	"testing"

	"ztbridge/bridge/probe"
)

func TestParseTraffic(t *testing.T) {
	const text = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 3280    41    0    0    0     0          0         0     3280      41    0    0    0     0       0          0
tunztb-provider:123456789 4711    0    0    0     0          0         0    11       7    0    0    0     0       0          0
`
	for iface, want := range map[string]probe.Traffic{
		"lo": {Received: 41, Sent: 41, Bytes: 6560}, "tunztb-provider": {Received: 4711, Sent: 7, Bytes: 123456800}, "tunztb": {}, "": {}, "face |bytes": {},
	} {
		if got := parseTraffic([]byte(text), iface); got != want {
			t.Errorf("%q: %+v, want %+v", iface, got, want)
		}
	}
}

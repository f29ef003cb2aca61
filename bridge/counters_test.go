package bridge

import "testing"

func TestReceived(t *testing.T) {
	const text = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 3280    41    0    0    0     0          0         0     3280      41    0    0    0     0       0          0
tunztb-provider:123456789 4711    0    0    0     0          0         0    99       7    0    0    0     0       0          0
`
	for iface, want := range map[string]uint64{"lo": 41, "tunztb-provider": 4711, "tunztb": 0, "": 0} {
		if got := received([]byte(text), iface); got != want {
			t.Errorf("%q received %d packets, want %d", iface, got, want)
		}
	}
}

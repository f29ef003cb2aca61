package services

import (
	"bytes"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
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

// A file of any size is read whole, into a buffer that is large enough or not.
func TestReadProc(t *testing.T) {
	text := bytes.Repeat([]byte("0123456789abcdef"), procSize/8)
	path := filepath.Join(t.TempDir(), "dev")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 1, procSize, 3 * procSize} {
		got, err := readProc(path, make([]byte, 0, size))
		if err != nil || !bytes.Equal(got, text) {
			t.Errorf("buffer of %d bytes: %d bytes (%v), want %d", size, len(got), err, len(text))
		}
	}
	if _, err := readProc(path+"x", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such file: %v", err)
	}
}

package lab

import (
	"strings"
	"testing"
	"time"

	"ztbridge/policyroute/netlab"
)

// TestStretch holds a line to what cannot be undercut: a machine under load makes it slower, never
// faster.
func TestStretch(t *testing.T) {
	netlab.Require(t, netlab.IPerf3)
	top := ForTest(t, Options{})
	line := Line{Delay: 20 * time.Millisecond, Mbit: 20, Queue: 50 * time.Millisecond}
	stop, err := Stretch(top.WAN, line)
	must(t, err)
	top.Defer(stop)

	for _, target := range []string{HostTarget4.String(), HostTarget6.String()} {
		began := time.Now()
		_, err = top.Box.Run(t.Context(), "ping", "-c", "1", "-W", "5", target)
		must(t, err)
		if rtt := time.Since(began); rtt < 2*line.Delay {
			t.Errorf("%s answered after %v by a line of %v each way", target, rtt, line.Delay)
		}
	}

	result, err := IPerf{Server: top.Internet, Client: top.Box, Addr: HostTarget4,
		Duration: 2 * time.Second}.Measure(t.Context())
	must(t, err)
	// What arrived in these seconds may have come in before them, and have waited for this process.
	if most := line.Mbit * 2; result.Mbit > most {
		t.Errorf("%.1f Mbit/s passed a line of %.0f", result.Mbit, line.Mbit)
	}

	// 1000 frames at once take 0.6 s: the queue has room for a tenth of them.
	out, _ := top.Box.Run(t.Context(), "ping", "-l", "1000", "-c", "1000", "-s", "1400", "-W", "1",
		"-q", HostTarget4.String())
	if !strings.Contains(out, "1000 packets transmitted") ||
		strings.Contains(out, " 0% packet loss") {
		t.Errorf("a burst that is larger than the queue lost nothing: %s", out)
	}
}

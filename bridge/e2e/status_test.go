package e2e

import (
	"regexp"
	"testing"
	"time"

	"ztbridge/bridge/lab"
)

// passCause is the cause of a pass in the log of details.
var passCause = regexp.MustCompile(`msg=pass cause=("[^"]*"|\S*)`)

// TestStatusIsOfNow looks at a box to which nothing happens: its status is of now, and equal
// numbers of passes are made with and without a client that reads the status every second.
func TestStatusIsOfNow(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{})
	b := newBox(t, top.Box)
	b.verbose = true
	b.write("provider.ovpn", top.Providers[0].Config())
	b.write("ztbridge.yaml", gatewayConfig)
	b.start()
	b.awaitEgress("provider")
	passes := func() (causes []string) {
		for _, m := range passCause.FindAllStringSubmatch(b.daemon.Log(), -1) {
			causes = append(causes, m[1])
		}
		return causes
	}
	const idle = 12 * time.Second // measured; the resync falls into it once
	counts := map[bool]int{}
	for _, polled := range []bool{false, true} {
		// Events of the start (a tunnel that connects, the first answers) cause passes of their
		// own. They are over when the resync, which is due 10 s after the last pass, makes one.
		before := len(passes())
		await(t, "a pass without an event", func() bool {
			all := passes()
			return len(all) > before && all[len(all)-1] == "timer"
		})
		first := len(passes())
		for end := time.Now().Add(idle); time.Now().Before(end); {
			if polled {
				asked := time.Now()
				st, err := b.status()
				must(t, err)
				if age := asked.Sub(st.Time); age > time.Second {
					t.Errorf("the status is %v older than the question", age)
				}
			}
			time.Sleep(min(time.Second, time.Until(end))) // the client's interval
		}
		all := passes()
		counts[polled] = len(all) - first
		t.Logf("passes in %v, status polled %t: %q", idle, polled, all[first:])
	}
	if counts[true] != counts[false] || counts[false] == 0 {
		t.Errorf("%d passes while the status is polled, %d while it is not", counts[true],
			counts[false])
	}
}

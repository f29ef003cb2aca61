package client

import (
	"testing"
	"time"

	"ztbridge/bridge/openvpn/profile"
	"ztbridge/policyroute/netlab"
)

// TestSilence: a server that says it seldom sends pings may be silent for two of them, one that
// says nothing and proves to be there for longer each time, and the others for 15 s.
func TestSilence(t *testing.T) {
	server, other := profile.Remote{Host: "192.0.2.1"}, profile.Remote{Host: "192.0.2.2"}
	for _, tc := range []struct {
		name    string
		ping    int
		soon    bool // it answers at once after it was silent
		want    []int
		restart bool // openvpn is started again after the first time
	}{
		{"usual", 10, true, []int{15, 15}, false},
		{"usual, gone", 10, false, []int{15, 15}, false},
		{"seldom", 20, true, []int{45, 45}, true},
		{"seldom, gone", 20, false, []int{45, 45}, true},
		{"very seldom", 3600, true, []int{300, 300}, true},
		{"says nothing", 0, true, []int{30, 60, 120, 240, 300, 300}, false},
		{"says nothing, gone", 0, false, []int{15, 15}, false},
	} {
		tunnel := newIdleTunnel(t)
		tunnel.silences = map[profile.Remote]int{}
		for i, want := range tc.want {
			tunnel.startedWith = tunnel.silence(server)
			tunnel.silentAt = time.Now()
			if got := tunnel.allowSilence(server, tc.ping); got != (tc.restart && i == 0) {
				t.Errorf("%s, time %d: started again: %v", tc.name, i, got)
			}
			if !tc.soon {
				tunnel.silentAt = time.Now().Add(-time.Minute)
			}
			tunnel.cameBack(server, tc.ping)
			if got := tunnel.silence(server); got != want {
				t.Errorf("%s, time %d: %d s, want %d", tc.name, i, got, want)
			}
		}
		if got := tunnel.silence(other); got != silenceSeconds {
			t.Errorf("%s: another server may be silent for %d s", tc.name, got)
		}
	}
	for text, want := range map[string]int{
		"Pushed option removed by filter: 'ping 20'":          20,
		"Pushed option removed by filter: 'ping-restart 120'": -1,
		"Pushed option removed by filter: 'ping 999999'":      -1,
		"x Pushed option removed by filter: 'ping 20'":        -1,
	} {
		got, ok := parsePushedPing(text)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
}

// TestLongSeldomPings: an idle tunnel to a server that seldom sends a ping, or never, by which no
// probe is answered either, is soon left alone; one to a server that is gone is not.
func TestLongSeldomPings(t *testing.T) {
	netlab.Long(t, "waits for what openvpn takes for silence")
	for name, tc := range map[string]struct {
		keepalive string
		most      uint64 // sessions until it is left alone
	}{
		"every 16 s": {"keepalive 16 60", 2}, "every 25 s": {"keepalive 25 60", 2},
		"never": {"# no keepalive", 4},
	} {
		t.Run(name, func(t *testing.T) {
			if !inNamespace(t) {
				return
			}
			l := newLab(t)
			s := l.serve("udp", tc.keepalive)
			c := l.dial(l.profile("remote "+serverAddr+" 1194"), nil)
			began := c.awaitGeneration(1).Since
			var last Status
			for time.Since(began) < 100*time.Second {
				time.Sleep(time.Second)
				if now := c.Status(); now.Generation != last.Generation {
					last = now
					t.Logf("session %d after %v", now.Generation,
						time.Since(began).Round(time.Second))
				}
			}
			if last.Generation > tc.most {
				t.Errorf("%d sessions in 100 s, want %d at most", last.Generation, tc.most)
			}
			s.kill()
			killed := time.Now()
			c.await("the word that it is gone", func(s Status) bool { return s.State != StateUp })
			t.Logf("gone: noticed after %v", time.Since(killed).Round(time.Second))
		})
	}
}

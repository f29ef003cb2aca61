package endpoint_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/pki"
	"ztbridge/policyroute/netlab"
)

// loadClients is how many clients connect at once, and loadLimit in what time they should be in.
const (
	loadClients = 200
	loadLimit   = 30 * time.Second
)

// idle makes a client that connects and does nothing more.
var idle = []string{"--dev", "null", "--ifconfig-noexec", "--route-noexec", "--verb", "1"}

// TestCrowd lets clients connect at the same moment: their events pile up on the management socket.
func TestCrowd(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	ns := l.host()
	const each = 20
	for _, path := range append(l.crowd("udp", each), l.crowd("tcp", each)...) {
		p := l.run(ns, path, idle...)
		defer p.Kill()
	}
	await(t, "all are in", func() bool { return len(l.status().Clients) == 2*each })
}

// BenchmarkLoad starts 200 clients at once, as after a reboot of the box, and waits until all are
// in. Clients and server share the machine; their handshakes cost it about the same on both sides.
//
//	go test -run XXX -bench Load -benchtime 1x ./bridge/openvpn/endpoint
func BenchmarkLoad(b *testing.B) {
	for _, proto := range []string{"udp", "tcp"} {
		b.Run(proto, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				l := newLab(b)
				ns, paths := l.host(), l.crowd(proto, loadClients)
				b.StartTimer()
				began := time.Now()
				var processes []*netlab.Process
				for _, path := range paths {
					processes = append(processes, l.run(ns, path, idle...))
				}
				in := 0
				for in < loadClients && time.Since(began) < 4*loadLimit {
					time.Sleep(100 * time.Millisecond)
					in = len(l.status().Clients)
				}
				took := time.Since(began)
				b.StopTimer()
				for _, p := range processes {
					p.Kill()
				}
				b.ReportMetric(float64(in), "clients")
				b.ReportMetric(took.Seconds(), "s/all")
				if in < loadClients || took > loadLimit {
					b.Logf("%d clients in %s; the goal is %d in %s", in,
						took.Round(time.Millisecond), loadClients, loadLimit)
				}
				b.StartTimer()
			}
		})
	}
}

// crowd issues n clients and writes their profiles, with the remote of one protocol.
func (l *testbed) crowd(proto string, n int) []string {
	l.t.Helper()
	var paths []string
	for i := range n {
		_, profile := l.add(pki.Request{Name: fmt.Sprint(proto, "crowd", i)})
		for _, remote := range []string{"remote 203.0.113.1 1194 udp\n",
			"remote 203.0.113.1 443 tcp\n"} {
			if !strings.HasSuffix(remote, proto+"\n") {
				profile = strings.Replace(profile, remote, "", 1)
			}
		}
		path := filepath.Join(l.lab.Dir, fmt.Sprintf("%s%d.ovpn", proto, i))
		must(l.t, os.WriteFile(path, []byte(profile), 0o600))
		paths = append(paths, path)
	}
	return paths
}

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

// BenchmarkLoad starts 200 clients at once, as after a reboot of the box, and waits until all are in.
// Clients and server share the machine; their handshakes cost it about the same on both sides.
//
//	go test -run XXX -bench Load -benchtime 1x ./bridge/openvpn/endpoint
func BenchmarkLoad(b *testing.B) {
	for _, proto := range []string{"udp", "tcp"} {
		b.Run(proto, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				l := newLab(b)
				ns, paths := l.host(), l.crowd(proto)
				b.StartTimer()
				began := time.Now()
				var processes []*netlab.Process
				for _, path := range paths {
					processes = append(processes, l.run(ns, path,
						"--dev", "null", "--ifconfig-noexec", "--route-noexec", "--verb", "1"))
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
					b.Logf("%d clients in %s; the goal is %d in %s", in, took.Round(time.Millisecond), loadClients, loadLimit)
				}
				b.StartTimer()
			}
		})
	}
}

// crowd issues the clients and writes their profiles, with the remote of one protocol.
func (l *lab) crowd(proto string) []string {
	l.t.Helper()
	var paths []string
	for i := range loadClients {
		_, profile := l.add(pki.Request{Name: fmt.Sprint("crowd", i)})
		for _, remote := range []string{"remote 203.0.113.1 1194 udp\n", "remote 203.0.113.1 443 tcp\n"} {
			if !strings.HasSuffix(remote, proto+"\n") {
				profile = strings.Replace(profile, remote, "", 1)
			}
		}
		path := filepath.Join(l.lab.Dir, fmt.Sprintf("crowd%d.ovpn", i))
		must(l.t, os.WriteFile(path, []byte(profile), 0o600))
		paths = append(paths, path)
	}
	return paths
}

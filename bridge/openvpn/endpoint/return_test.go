package endpoint_test

import (
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"ztbridge/bridge/lab"
	"ztbridge/bridge/pki"
)

// TestClientsReturn ends the openvpn of the UDP listener, which no connection tells its client,
// once in order and once by kill -9, and looks how long a client with the profile as it is printed
// stays away.
func TestClientsReturn(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	_, profile := l.add(pki.Request{Name: "phone"})
	ns := l.host()
	p := l.connect(ns, profile)
	defer p.Kill()
	awaitEcho(t, ns, innerAddr)
	for _, end := range []struct {
		name  string
		do    func()
		limit time.Duration
	}{
		// The client is told to come back.
		{"the server's certificate is renewed",
			func() { must(t, os.Remove(l.dir+"/state/pki/server.pem")) }, 5 * time.Second},
		// It misses three pings.
		{"kill -9", func() { must(t, syscall.Kill(l.status().Listeners[0].PID, syscall.SIGKILL)) },
			35 * time.Second},
	} {
		s, err := lab.StartStream(lab.StreamConfig{
			From: ns, Kind: lab.UDP, To: netip.AddrPortFrom(innerAddr,
				lab.EchoPort), Rate: 20, Marker: lab.NewMarker(),
		})
		must(t, err)
		awaitAnswers(t, s)
		before, _ := l.session("phone", "udp/1194")
		end.do()
		await(t, "the client is back after "+end.name, func() bool {
			now, ok := l.session("phone", "udp/1194")
			return ok && now.Since.After(before.Since)
		})
		awaitEcho(t, ns, innerAddr)
		gap := s.Stop().LongestGap().Round(10 * time.Millisecond)
		t.Logf("%s: no answers for %s", end.name, gap)
		if gap > end.limit {
			t.Errorf("%s: no answers for %s, want at most %s", end.name, gap, end.limit)
		}
	}
}

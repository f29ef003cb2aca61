package endpoint_test

import (
	"context"
	"crypto/rand"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"ztbridge/bridge/lab"
	"ztbridge/bridge/openvpn/endpoint"
	"ztbridge/bridge/pki"
)

// maxClients is how many connections, proved or not, a listener has at most.
const maxClients = 512

// TestGarbage throws 2,000 connections that lead nowhere at the listeners while a client works on
// each of them: datagrams of noise, TCP connections that say nothing, noise, or the beginning of a
// handshake.
func TestGarbage(t *testing.T) {
	l := newLab(t)
	var streams []*lab.Stream
	for _, name := range []string{"udp", "tcp"} {
		_, profile := l.add(pki.Request{Name: name})
		ns := l.host()
		if name == "tcp" {
			l.drop(ns, "meta l4proto udp")
		}
		p := l.connect(ns, profile)
		defer p.Kill()
		awaitEcho(t, ns, innerAddr)
		s, err := lab.StartStream(lab.StreamConfig{
			From: ns, Kind: lab.UDP, To: netip.AddrPortFrom(innerAddr,
				lab.EchoPort), Rate: 50, Marker: lab.NewMarker(),
		})
		must(t, err)
		awaitAnswers(t, s)
		streams = append(streams, s)
	}
	began := time.Now()
	conns := l.garbage(2000)

	t.Logf("2,000 tries in %s, %d of them connected", time.Since(began).Round(time.Millisecond),
		len(conns))
	for _, c := range l.status().Clients {
		if c.Since.After(began) {
			t.Errorf("%s lost its session", c.Name)
		}
	}
	// As many more that say nothing as fill the TCP listener.
	for range maxClients {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		if conn, err := l.café.Dial(ctx, "tcp",
			net.JoinHostPort(boxAddr.String(), "443")); err == nil {
			conns = append(conns, conn)
		}
		cancel()
	}
	// While the garbage still lies around, newcomers get in.
	for _, name := range []string{"udp", "tcp"} {
		began := time.Now()
		_, profile := l.add(pki.Request{Name: "newcomer-" + name})
		ns := l.host()
		if name == "tcp" {
			l.drop(ns, "meta l4proto udp")
		}
		p := l.connect(ns, profile)
		defer p.Kill()
		awaitEcho(t, ns, innerAddr)
		took := time.Since(began)
		t.Logf("a newcomer by %s was in after %s", name, took.Round(time.Millisecond))
		if took > 20*time.Second { // as long as silent connections are borne with, and a try
			t.Errorf("garbage keeps newcomers by %s out", name)
		}
	}
	for _, c := range conns {
		_ = c.Close()
	}
	for i, s := range streams {
		r := s.Stop()
		// Not one more than the machine itself loses: both cores are busy with the garbage.
		if r.Lost*50 > r.Sent {
			t.Errorf("stream %d: %d of %d packets were lost", i, r.Lost, r.Sent)
		}
	}
}

// garbage makes n connections, a quarter of each kind, and returns those that are left open.
func (l *testbed) garbage(n int) []net.Conn {
	noise := make([]byte, 1200)
	// never fails (crypto/rand)
	_, _ = rand.Read(noise)
	// a hard reset (V3) without its key
	hello := []byte{0, 14, 10 << 3, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0}
	kinds := []struct {
		network, port string
		say           []byte
	}{{"udp", "1194", noise}, {"tcp", "443", nil}, {"tcp", "443", noise}, {"tcp", "443", hello}}
	var mu sync.Mutex
	var open []net.Conn
	var wg sync.WaitGroup
	next := make(chan int)
	for range 64 {
		wg.Go(func() {
			for i := range next {
				k := kinds[i%len(kinds)]
				ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
				conn, err := l.café.Dial(ctx, k.network, net.JoinHostPort(boxAddr.String(), k.port))
				cancel()
				if err != nil {
					continue // turned away, which is as good
				}
				_, _ = conn.Write(k.say) // likewise
				mu.Lock()
				open = append(open, conn)
				mu.Unlock()
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	return open
}

// TestRecovery kills openvpn, deletes a device under it, and replaces the keys; the client comes
// back each time without help.
func TestRecovery(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	_, profile := l.add(pki.Request{Name: "phone"})
	ns := l.host()
	// The client's own pace, so that the test need not wait for its ping-restart.
	p := l.connect(ns, profile+"connect-retry 1 1\n", "--ping-restart", "3", "--ping", "1",
		"--pull-filter", "ignore", "ping")
	defer p.Kill()
	awaitEcho(t, ns, innerAddr)
	udp := func() endpoint.ListenerStatus { return l.status().Listeners[0] }
	for _, trouble := range []struct {
		name string
		make func()
	}{
		{"openvpn is killed", func() { must(t, syscall.Kill(udp().PID, syscall.SIGKILL)) }},
		{"the device is deleted", func() { must(t, l.box.IP("link del tunztb.udp1194")) }},
		{"the server's certificate is renewed",
			func() { must(t, os.Remove(l.dir+"/state/pki/server.pem")) }},
	} {
		before := udp().PID
		trouble.make()
		await(t, "openvpn is started again after "+trouble.name, func() bool {
			s := udp()
			return s.State == endpoint.StateListening && s.PID != before
		})
		awaitEcho(t, ns, innerAddr)
		await(t, "the client is back in the status after "+trouble.name, func() bool {
			return len(l.status().Clients) == 1
		})
	}
}

// TestNothingIsLeftBehind ends the box as systemd does, and looks for its children.
func TestNothingIsLeftBehind(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	var pids []int
	for _, s := range l.status().Listeners {
		pids = append(pids, s.PID)
	}
	must(t, l.process.Signal(syscall.SIGTERM))
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	if err := l.process.Wait(ctx); err != nil {
		t.Errorf("the box ended with %v\n%s", err, l.process.Log())
	}
	out, err := l.box.Run(ctx, "sh", "-c",
		"for p in /proc/[0-9]*; do [ $(readlink $p/ns/net) = $(readlink /proc/self/ns/net) ] && [ $p != /proc/$$ ] && grep -l openvpn $p/comm; done; true")
	must(t, err)
	if out != "" {
		t.Errorf("processes %v were started, and these still run: %s", pids, out)
	}
}

package endpoint_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ztbridge/bridge/lab"
	"ztbridge/bridge/openvpn/endpoint"
	"ztbridge/bridge/pki"
)

// maxClients is how many connections, proved or not, a listener has at most.
const maxClients = 1024

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
		if took > 15*time.Second { // five for UDP, five for the silent ones' end, and a try
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

// TestSilentConnections holds silent TCP connections, by both IP versions, and lets a newcomer in:
// beside 512 that are opened again whenever they are closed, and beside more than the listener
// takes, of which openvpn ends the oldest within five seconds.
func TestSilentConnections(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for i, c := range []struct {
		silent int
		again  bool
		limit  time.Duration
	}{{512, true, 5 * time.Second}, {maxClients + 100, false, 12 * time.Second}} {
		release := l.holdSilent(c.silent, c.again)
		name := fmt.Sprint("newcomer", i)
		_, profile := l.add(pki.Request{Name: name})
		ns := l.host()
		began := time.Now()
		p := l.connect(ns, strings.Replace(profile, "remote 203.0.113.1 1194 udp\n", "", 1))
		await(t, name+" is in", func() bool { _, ok := l.session(name, "tcp/443"); return ok })
		took := time.Since(began)
		t.Logf("beside %d silent connections (opened again: %v) a newcomer was in after %s",
			c.silent, c.again, took.Round(10*time.Millisecond))
		if took > c.limit {
			t.Errorf("%d silent connections keep a newcomer out for %s", c.silent, took)
		}
		awaitEcho(t, ns, innerAddr)
		p.Kill()
		release()
	}
}

// holdSilent opens n TCP connections that say nothing and holds them until release is called.
// Those that are closed are opened again where again is set.
func (l *testbed) holdSilent(n int, again bool) (release func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg, opened sync.WaitGroup
	for i := range n {
		addr := netip.AddrPortFrom(boxAddr, 443)
		if i%2 == 1 {
			addr = netip.AddrPortFrom(boxAddr6, 443)
		}
		opened.Add(1)
		wg.Go(func() {
			once := sync.OnceFunc(opened.Done)
			defer once()
			for ctx.Err() == nil {
				conn, err := l.café.Dial(ctx, "tcp", addr.String())
				if err != nil {
					return
				}
				stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
				once()
				_, _ = conn.Read(make([]byte, 1)) // until it is closed
				stop()
				_ = conn.Close()
				if !again {
					return
				}
			}
		})
	}
	opened.Wait()
	return func() {
		cancel()
		wg.Wait()
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

// TestReplayedFirstPackets records the first packet of a client, which passes every check of its
// keys, and sends it again from many ports, faster than clients ever connect. A newcomer gets in.
func TestReplayedFirstPackets(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	_, profile := l.add(pki.Request{Name: "recorded"})
	ns := l.host()
	recorder, err := ns.ListenPacket("udp", "127.0.0.1:1194")
	must(t, err)
	p := l.connect(ns, strings.ReplaceAll(profile, "remote 203.0.113.1 1194 udp",
		"remote 127.0.0.1 1194 udp"))
	buf := make([]byte, 2048)
	n, _, err := recorder.ReadFrom(buf)
	must(t, err)
	p.Kill()
	must(t, recorder.Close())
	ctx, cancel := context.WithCancel(t.Context())
	var sent atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			c, err := l.café.Dial(ctx, "udp", net.JoinHostPort(boxAddr.String(), "1194"))
			if err == nil {
				_, _ = c.Write(buf[:n]) // refused now and then, which is as good
				_ = c.Close()
				sent.Add(1)
			}
			time.Sleep(5 * time.Millisecond) // the pace of the attack
		}
	})
	defer wg.Wait()
	defer cancel()
	await(t, "the attack is under way", func() bool { return sent.Load() > 500 })
	_, profile = l.add(pki.Request{Name: "newcomer"})
	ns = l.host()
	l.drop(ns, "meta l4proto tcp")
	q := l.connect(ns, profile)
	defer q.Kill()
	began := time.Now()
	await(t, "a newcomer is in", func() bool { _, ok := l.session("newcomer", "udp/1194"); return ok })
	t.Logf("in after %s, beside %d packets", time.Since(began).Round(time.Millisecond), sent.Load())
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

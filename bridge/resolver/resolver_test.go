package resolver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"ztbridge/policyroute/netlab"
)

const (
	testMark = 0x5a540001
	testName = "dns.example"
)

type bench struct {
	t  *testing.T
	ca *authority
}

func newBench(t *testing.T) *bench {
	netlab.Require(t, netlab.Root) // SO_MARK
	return &bench{t, newAuthority(t)}
}

func (b *bench) dot(number byte) *dotServer {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(b.t, err)
	return startDoT(b.t, l, b.ca.issue(b.t, testName), number)
}

// resolve runs a resolver in front of upstreams and returns it with its address.
func (b *bench) resolve(upstreams ...Upstream) (*Resolver, string) {
	b.t.Helper()
	listen := freePort(b.t)
	r := New(Config{Listen: listen, Upstreams: upstreams, Mark: testMark, Roots: b.ca.pool})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	b.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("Run returned %v", err)
		}
	})
	awaitListening(b.t, listen.String())
	return r, listen.String()
}

func (s *dotServer) upstream() Upstream { return Upstream{s.addr, testName} }

// freePort returns a port that is free for UDP and TCP.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		addr := l.Addr().(*net.TCPAddr).AddrPort()
		c, err := net.ListenPacket("udp", addr.String())
		l.Close()
		if err == nil {
			c.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return netip.AddrPort{}
}

func awaitListening(t *testing.T, addr string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func ask(t *testing.T, network, addr, name string) *dns.Msg {
	t.Helper()
	c := dns.Client{Net: network, Timeout: 20 * time.Second}
	q := new(dns.Msg).SetQuestion(name, dns.TypeA)
	a, _, err := c.Exchange(q, addr)
	if err != nil {
		t.Fatalf("asking for %s: %v", name, err)
	}
	if a.Id != q.Id {
		t.Errorf("answer %d to question %d", a.Id, q.Id)
	}
	return a
}

// from tells which server an answer came from; 0 if it has none.
func from(a *dns.Msg) byte {
	if len(a.Answer) == 0 {
		return 0
	}
	return a.Answer[0].(*dns.A).A.To4()[3]
}

func TestForwards(t *testing.T) {
	b := newBench(t)
	s := b.dot(7)
	_, addr := b.resolve(s.upstream())
	for _, network := range []string{"udp", "tcp"} {
		for i := range 20 {
			if a := ask(t, network, addr,
				fmt.Sprintf("n%d.example.", i)); a.Rcode != dns.RcodeSuccess || from(a) != 7 {
				t.Fatalf("%s: %v", network, a)
			}
		}
	}
	if n := s.listener.accepted.Load(); n != 1 {
		t.Errorf("%d connections for 40 questions, want 1", n)
	}
}

func TestLargeAnswers(t *testing.T) {
	b := newBench(t)
	_, addr := b.resolve(b.dot(7).upstream())
	// The client reads no more than 512 bytes, and could not decode more.
	if a := ask(t, "udp", addr, "big.example."); !a.Truncated {
		t.Error("by UDP: not truncated")
	}
	// Nor does it get more that others could be sent in its name.
	q := new(dns.Msg).SetQuestion("big.example.", dns.TypeA).SetEdns0(dns.MaxMsgSize, false)
	c := dns.Client{UDPSize: dns.MaxMsgSize, Timeout: 20 * time.Second}
	a, _, err := c.Exchange(q, addr)
	if err != nil {
		t.Fatal(err)
	}
	a.Compress = true // as it was sent
	if !a.Truncated || a.Len() > maxUDP {
		t.Errorf("a client that takes all gets %d bytes, truncated %v", a.Len(), a.Truncated)
	}
	if a := ask(t, "tcp", addr, "big.example."); a.Truncated || len(a.Answer) != 200 {
		t.Errorf("by TCP: truncated %v, %d records", a.Truncated, len(a.Answer))
	}
}

// Questions overtake one another, and none gets another's answer.
func TestManyAtOnce(t *testing.T) {
	b := newBench(t)
	s := b.dot(7)
	s.delay.Store(300)
	_, addr := b.resolve(s.upstream())
	slow := make(chan *dns.Msg, 1)
	go func() {
		c := dns.Client{Net: "tcp", Timeout: 20 * time.Second}
		a, _, _ := c.Exchange(new(dns.Msg).SetQuestion("slow.example.", dns.TypeA), addr)
		slow <- a
	}()
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			name := fmt.Sprintf("n%d.example.", i)
			c := dns.Client{Timeout: 20 * time.Second}
			a, _, err := c.Exchange(new(dns.Msg).SetQuestion(name, dns.TypeA), addr)
			if err != nil || len(a.Answer) != 1 || a.Answer[0].Header().Name != name {
				t.Errorf("%s: %v %v", name, a, err)
			}
		})
	}
	wg.Wait()
	if a := <-slow; a == nil || a.Rcode != dns.RcodeSuccess {
		t.Errorf("the slow one: %v", a)
	}
	if n := s.listener.accepted.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestFailsOver(t *testing.T) {
	b := newBench(t)
	first, second := b.dot(1), b.dot(2)
	_, addr := b.resolve(first.upstream(), second.upstream())
	if a := ask(t, "udp", addr, "a.example."); from(a) != 1 {
		t.Fatalf("not the first upstream: %v", a)
	}
	first.mute.Store(true)
	if a := ask(t, "udp", addr, "b.example."); from(a) != 2 {
		t.Fatalf("a silent upstream is not passed over: %v", a)
	}
	asked := first.questions.Load()
	if a := ask(t, "udp", addr, "c.example."); from(a) != 2 || first.questions.Load() != asked {
		t.Errorf("the silent upstream is asked first again: %v", a)
	}
}

func TestServerClosesConnection(t *testing.T) {
	b := newBench(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := l.Addr().String()
	cert := b.ca.issue(t, testName)
	s := startDoT(t, l, cert, 1)
	_, addr := b.resolve(s.upstream())
	ask(t, "udp", addr, "a.example.")
	must(t, s.server.Shutdown())
	l, err = net.Listen("tcp", address)
	must(t, err)
	startDoT(t, l, cert, 2)
	if a := ask(t, "udp", addr, "b.example."); from(a) != 2 {
		t.Errorf("a connection that the server closed is not replaced: %v", a)
	}
}

// Everything that is wrong with an upstream ends in SERVFAIL.
func TestFailsClosed(t *testing.T) {
	b := newBench(t)
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		return l
	}
	refused := listen()
	refused.Close()
	stuck := listen() // the kernel accepts, nobody reads
	t.Cleanup(func() { stuck.Close() })
	addr := func(l net.Listener) netip.AddrPort { return l.Addr().(*net.TCPAddr).AddrPort() }
	wrong := b.dot(3)
	wrong.wrongAnswer.Store(true)
	mute := b.dot(4)
	mute.mute.Store(true)
	cases := map[string][]Upstream{
		"no upstreams":       nil,
		"connection refused": {{addr(refused), testName}},
		"TLS never answers":  {{addr(stuck), testName}},
		"another name":       {{b.dot(1).addr, "other.example"}},
		"no name":            {{b.dot(1).addr, ""}},
		"a foreign authority": {startDoT(t, listen(), newAuthority(t).issue(t, testName),
			2).upstream()},
		"another question": {wrong.upstream()},
		"silence":          {mute.upstream()},
	}
	for name, upstreams := range cases {
		t.Run(name, func(t *testing.T) {
			sub := &bench{t, b.ca}
			_, at := sub.resolve(upstreams...)
			began := time.Now()
			a := ask(t, "udp", at, "a.example.")
			if a.Rcode != dns.RcodeServerFailure || len(a.Answer) != 0 {
				t.Errorf("%v", a)
			}
			if took := time.Since(began); took > answerTimeout+3*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

func TestRefuses(t *testing.T) {
	b := newBench(t)
	s := b.dot(7)
	_, addr := b.resolve(s.upstream())
	questions := map[int]*dns.Msg{
		dns.RcodeRefused:        new(dns.Msg).SetAxfr("example."),
		dns.RcodeNotImplemented: new(dns.Msg).SetNotify("example."),
	}
	for want, q := range questions {
		c := dns.Client{Net: "tcp", Timeout: 20 * time.Second}
		a, _, err := c.Exchange(q, addr)
		if err != nil || a.Rcode != want {
			t.Errorf("%v: %v %v", q.Question, a, err)
		}
	}
	if n := s.questions.Load(); n != 0 {
		t.Errorf("%d of them were forwarded", n)
	}
}

func TestGarbageFromClients(t *testing.T) {
	b := newBench(t)
	_, addr := b.resolve(b.dot(7).upstream())
	for _, network := range []string{"udp", "tcp"} {
		for _, garbage := range []string{"", "x", "\x00\x01\xff", string(make([]byte, 600)),
			"GET / HTTP/1.0\r\n\r\n"} {
			c, err := net.Dial(network, addr)
			must(t, err)
			_, err = c.Write([]byte(garbage))
			must(t, err)
			c.Close()
		}
	}
	if a := ask(t, "udp", addr, "a.example."); from(a) != 7 {
		t.Errorf("after garbage: %v", a)
	}
}

// dialFrom connects to the resolver from an address of loopback.
func dialFrom(t *testing.T, network, source, addr string) net.Conn {
	t.Helper()
	local := netip.AddrPortFrom(netip.MustParseAddr(source), 0)
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(local), Timeout: 5 * time.Second}
	if network == "udp" {
		d.LocalAddr = net.UDPAddrFromAddrPort(local)
	}
	c, err := d.Dial(network, addr)
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Idle TCP connections, of one client or of as many as there are places, keep no other client out.
func TestIdleConnectionsKeepNobodyOut(t *testing.T) {
	for name, source := range map[string]func(i int) string{
		"of one client": func(int) string { return "127.0.0.2" },
		"of many clients": func(i int) string {
			return fmt.Sprintf("127.0.%d.%d", 1+i/200,
				1+i%200)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			_, addr := b.resolve(b.dot(7).upstream())
			var idle []net.Conn
			for i := range 2 * maxConns {
				idle = append(idle, dialFrom(t, "tcp", source(i), addr))
			}
			client := dns.Client{Net: "tcp", Timeout: 3 * time.Second}
			conn := &dns.Conn{Conn: dialFrom(t, "tcp", "127.0.9.9", addr)}
			a, _, err := client.ExchangeWithConn(
				new(dns.Msg).SetQuestion("a.example.", dns.TypeA), conn)
			if err != nil || from(a) != 7 {
				t.Errorf("beside %d idle connections another client gets %v, %v", len(idle), a, err)
			}
		})
	}
}

// One client's questions, which all wait for slow answers, take no other client's place.
func TestSlowQuestionsOfOneClient(t *testing.T) {
	b := newBench(t)
	s := b.dot(7)
	s.delay.Store(1500)
	_, addr := b.resolve(s.upstream())
	failed := make(chan struct{}, maxInFlight+50)
	for i := range maxInFlight + 50 {
		raw, err := new(dns.Msg).SetQuestion(fmt.Sprintf("slow%d.example.", i), dns.TypeA).Pack()
		must(t, err)
		conn := &dns.Conn{Conn: dialFrom(t, "udp", "127.0.0.2", addr)}
		_, err = conn.Write(raw)
		must(t, err)
		go func() {
			a, err := conn.ReadMsg()
			if err == nil && a.Rcode == dns.RcodeServerFailure {
				failed <- struct{}{}
			}
		}()
	}
	timeout := time.After(5 * time.Second)
	for range 50 {
		select {
		case <-failed:
		case <-timeout:
			t.Fatal("no question of the greedy client is refused")
		}
	}
	client := dns.Client{Timeout: 3 * time.Second}
	a, _, err := client.ExchangeWithConn(new(dns.Msg).SetQuestion("a.example.", dns.TypeA),
		&dns.Conn{Conn: dialFrom(t, "udp", "127.0.9.9", addr)})
	if err != nil || from(a) != 7 {
		t.Errorf("another client gets %v, %v", a, err)
	}
}

func TestWithoutMark(t *testing.T) {
	if err := New(Config{Listen: freePort(t)}).Run(t.Context()); !errors.Is(err, ErrNoMark) {
		t.Errorf("Run returned %v", err)
	}
}

func TestAddressInUse(t *testing.T) {
	b := newBench(t)
	_, addr := b.resolve()
	if err := New(Config{Listen: netip.MustParseAddrPort(addr), Mark: testMark}).Run(
		t.Context()); err == nil {
		t.Error("two resolvers on one address")
	}
}

func TestLeavesNothingBehind(t *testing.T) {
	b := newBench(t)
	s := b.dot(7)
	before := runtime.NumGoroutine()
	t.Run("run", func(t *testing.T) {
		sub := &bench{t, b.ca}
		for range 5 {
			_, addr := sub.resolve(s.upstream())
			ask(t, "udp", addr, "a.example.")
			ask(t, "tcp", addr, "a.example.")
		}
	})
	deadline := time.Now().Add(15 * time.Second)
	for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines before, %d after", before, n)
	}
}

// A client's many IPv6 addresses leave half of the places to others.
func TestQuestionsOfOneNetwork(t *testing.T) {
	f := inFlight{each: map[netip.Prefix]int{}}
	begin := func(addr string) (netip.Prefix, bool) {
		source := netip.PrefixFrom(netip.MustParseAddr(addr), netip.MustParseAddr(addr).BitLen())
		return source, f.begin(source)
	}
	var counted []netip.Prefix
	for i := range 2 * maxInFlight {
		if source, ok := begin(fmt.Sprintf("fd5a::%x", i)); ok {
			counted = append(counted, source)
		}
	}
	if len(counted) != maxInFlight/2 {
		t.Errorf("%d questions of one /64 wait, want %d", len(counted), maxInFlight/2)
	}
	for _, other := range []string{"fd5a:0:0:1::1", "10.147.17.5"} {
		source, ok := begin(other)
		if !ok {
			t.Errorf("%s is refused", other)
		}
		counted = append(counted, source)
	}
	for _, source := range counted {
		f.end(source)
	}
	if f.all != 0 || len(f.each) != 0 {
		t.Errorf("after all have ended %d are counted, of %d sources", f.all, len(f.each))
	}
}

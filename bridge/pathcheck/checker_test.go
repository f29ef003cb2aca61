package pathcheck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/miekg/dns"
)

var (
	client4 = netip.MustParseAddr("192.0.2.1")
	target4 = netip.MustParseAddr("198.51.100.9")
	client6 = netip.MustParseAddr("fd00::1")
	target6 = netip.MustParseAddr("2001:db8::9")
)

// network is a device behind which a host answers whatever is asked, unless it is told to lose a
// kind, or a filter refuses it.
type network struct {
	mu      sync.Mutex
	lost    map[Kind]int // how many of the next packets are lost; -1: all
	refused bool
	hops    uint8 // of TCP's answers; 0: as this box's
	alike   bool  // every name has one address
	sent    map[Kind]int
	rcode   int
	out     chan []byte
	closed  chan struct{}
	once    sync.Once
}

func newNetwork() *network {
	return &network{lost: map[Kind]int{}, sent: map[Kind]int{}, out: make(chan []byte, 64),
		closed: make(chan struct{})}
}

func (n *network) Read(b []byte) (int, error) {
	select {
	case p := <-n.out:
		return copy(b, p), nil
	case <-n.closed:
		return 0, io.EOF
	}
}

func (n *network) Close() error {
	n.once.Do(func() { close(n.closed) })
	return nil
}

func (n *network) lose(k Kind, count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lost[k] = count
}

func (n *network) count(k Kind) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sent[k]
}

func (n *network) Write(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	first := layers.LayerTypeIPv4
	if b[0]>>4 == 6 {
		first = layers.LayerTypeIPv6
	}
	pkt := gopacket.NewPacket(append([]byte(nil), b...), first, gopacket.Default)
	if pkt.ErrorLayer() != nil {
		return 0, pkt.ErrorLayer().Error()
	}
	kind, reply, ok := n.reply(pkt)
	if !ok {
		return len(b), nil
	}
	n.sent[kind]++
	if n.lost[kind] != 0 {
		n.lost[kind] = max(n.lost[kind]-1, -1)
		return len(b), nil
	}
	n.out <- reply
	return len(b), nil
}

// reply turns a question round.
func (n *network) reply(pkt gopacket.Packet) (Kind, []byte, bool) {
	p := probe{}
	switch ip := pkt.NetworkLayer().(type) {
	case *layers.IPv4:
		p.src, p.dst = addressOf(ip.DstIP), addressOf(ip.SrcIP)
	case *layers.IPv6:
		p.src, p.dst = addressOf(ip.DstIP), addressOf(ip.SrcIP)
	}
	var l []gopacket.SerializableLayer
	for _, layer := range pkt.Layers() {
		switch q := layer.(type) {
		case *layers.ICMPv4:
			l = []gopacket.SerializableLayer{&layers.ICMPv4{Id: q.Id, Seq: q.Seq}}
		case *layers.ICMPv6Echo:
			p.kind = Echo
			l = []gopacket.SerializableLayer{&layers.ICMPv6{
				TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeEchoReply, 0)}, q}
		case *layers.UDP:
			if q.DstPort == WebPort {
				p.kind = UDP
				l = versions(q)
				continue
			}
			p.kind = DNS
			var m dns.Msg
			_ = m.Unpack(q.Payload)
			r := new(dns.Msg)
			r.SetReply(&m)
			r.Rcode = n.rcode
			if n.alike {
				r.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: m.Question[0].Name,
					Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(10, 1, 1, 1)}}
			}
			b, _ := r.Pack()
			l = []gopacket.SerializableLayer{
				&layers.UDP{SrcPort: q.DstPort, DstPort: q.SrcPort}, gopacket.Payload(b)}
		case *layers.TCP:
			p.kind = TCP
			if !q.SYN {
				return TCP, nil, false
			}
			l = []gopacket.SerializableLayer{&layers.TCP{SrcPort: q.DstPort, DstPort: q.SrcPort,
				Ack: q.Seq + 1, ACK: true, SYN: !n.refused, RST: n.refused}}
		}
	}
	b, err := p.serialize(l)
	if err == nil && p.src.Is4() && p.kind == TCP && n.hops != 0 {
		b[8] = n.hops // nobody looks at the checksum
	}
	return p.kind, b, err == nil
}

// versions answers a QUIC packet with a list of one version.
func versions(q *layers.UDP) []gopacket.SerializableLayer {
	b := slices.Concat([]byte{0x80, 0, 0, 0, 0}, q.Payload[14:23], q.Payload[5:14],
		[]byte{0, 0, 0, 1})
	return []gopacket.SerializableLayer{&layers.UDP{SrcPort: q.DstPort, DstPort: q.SrcPort},
		gopacket.Payload(b)}
}

func start(t *testing.T, n *network, clients ...Client) (c *Checker, news chan struct{}) {
	t.Helper()
	news = make(chan struct{}, 64)
	c = New(Config{Open: func() (io.ReadWriteCloser, error) { return n, nil },
		Notify: func() { news <- struct{}{} }, Logger: slog.New(slog.DiscardHandler)})
	c.Set(clients)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return c, news
}

func await(t *testing.T, c *Checker, news chan struct{}, key string,
	condition func(Result) bool) Result {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		if r := c.Status()[key]; condition(r) {
			return r
		}
		select {
		case <-news:
		case <-timeout:
			t.Fatalf("never came: %+v", c.Status())
		}
	}
}

func clients() []Client {
	return []Client{
		{Key: "v4", Addr: client4, Targets: []netip.Addr{target4}, Steered: true},
		{Key: "v6", Addr: client6, Targets: []netip.Addr{target6}},
	}
}

func TestPathWorks(t *testing.T) {
	c, news := start(t, newNetwork(), clients()...)
	v4 := await(t, c, news, "v4", Result.Works)
	v6 := await(t, c, news, "v6", Result.Works)
	if !v4.Outcomes[DNS].Answered || v6.Outcomes[DNS].Asked {
		t.Errorf("DNS is asked where it is steered: %+v, %+v", v4, v6)
	}
}

// One or two lost packets are no fault; three are, and what is lost is told apart.
func TestLoss(t *testing.T) {
	for _, kind := range Kinds {
		t.Run(kind.String(), func(t *testing.T) {
			n := newNetwork()
			n.lose(kind, tries-1)
			c, news := start(t, n, clients()[:1]...)
			if r := await(t, c, news, "v4", func(r Result) bool { return !r.At.IsZero() }); !r.
				Works() {
				t.Errorf("two lost packets are a fault: %+v", r)
			}
			n.lose(kind, -1)
			c.Kick()
			r := await(t, c, news, "v4", func(r Result) bool { return !r.Works() })
			for _, k := range Kinds {
				if r.Outcomes[k].Answered == (k == kind) {
					t.Errorf("%v lost, and %v: %+v", kind, k, r.Outcomes[k])
				}
			}
			n.lose(kind, 0)
			await(t, c, news, "v4", Result.Works) // without being kicked
		})
	}
}

// Where no host ever answers QUIC, UDP may pass all the same: nothing is said of it.
func TestNoQUIC(t *testing.T) {
	n := newNetwork()
	n.lose(UDP, -1)
	c, news := start(t, n, clients()[:1]...)
	r := await(t, c, news, "v4", Result.Works)
	if r.Outcomes[UDP].Asked {
		t.Errorf("%+v", r.Outcomes)
	}
}

func TestRefusals(t *testing.T) {
	n := newNetwork()
	n.refused, n.rcode = true, dns.RcodeServerFailure
	c, news := start(t, n, clients()[:1]...)
	r := await(t, c, news, "v4", func(r Result) bool { return !r.At.IsZero() })
	if r.Outcomes[TCP].Refused != "this box resets the connection" {
		t.Errorf("a reset that never crossed a router: %+v", r.Outcomes[TCP])
	}
	if r.Outcomes[DNS].Refused != "answers SERVFAIL" {
		t.Errorf("a server that fails: %+v", r.Outcomes[DNS])
	}
}

// A reset by another than the target is no answer; one by a target that listens no more is one.
func TestResets(t *testing.T) {
	n := newNetwork()
	n.hops = 50
	c, news := start(t, n, clients()[:1]...)
	await(t, c, news, "v4", Result.Works)
	for _, tt := range []struct {
		hops  uint8
		works bool
	}{{50, true}, {55, false}, {50, true}} {
		n.mu.Lock()
		n.refused, n.hops = true, tt.hops
		n.mu.Unlock()
		r, err := c.Ask(t.Context(), clients()[0])
		if err != nil || r.Works() != tt.works || !tt.works && r.Outcomes[TCP].Refused != Resets {
			t.Errorf("resets that have %d hops left: %+v, %v", tt.hops, r.Outcomes[TCP], err)
		}
	}
}

// A resolver that gives all names one address looks none up, if it ever did.
func TestAlike(t *testing.T) {
	n := newNetwork()
	n.alike = true
	c, news := start(t, n, clients()[:1]...)
	await(t, c, news, "v4", Result.Works)
	for _, tt := range []struct{ alike, works bool }{
		{true, true}, {false, true}, {true, false}, {false, true},
	} {
		n.mu.Lock()
		n.alike = tt.alike
		n.mu.Unlock()
		r, err := c.Ask(t.Context(), clients()[0])
		dns := r.Outcomes[DNS]
		if err != nil || dns.Answered != tt.works ||
			!tt.works && dns.Refused != "answers every name with 10.1.1.1" {
			t.Errorf("alike %v: %+v, %v", tt.alike, dns, err)
		}
	}
}

// An ICMP error names who sent it, and answers the question that it quotes and no other.
func TestErrorsAnswerTheirQuestion(t *testing.T) {
	for _, k := range Kinds {
		for _, ends := range [][2]netip.Addr{{client4, target4}, {client6, target6}} {
			p := probe{kind: k, src: ends[0], dst: ends[1], id: 77, seq: 99}
			quoted, err := p.marshal()
			if err != nil {
				t.Fatal(err)
			}
			router := probe{kind: Echo, src: ends[1], dst: ends[0]}
			l := []gopacket.SerializableLayer{&layers.ICMPv4{
				TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable,
					layers.ICMPv4CodeHost)}, gopacket.Payload(quoted)}
			if ends[0].Is6() {
				l = []gopacket.SerializableLayer{&layers.ICMPv6{
					TypeCode: layers.CreateICMPv6TypeCode(
						layers.ICMPv6TypeDestinationUnreachable, 0)},
					gopacket.Payload(append(make([]byte, 4), quoted...))}
			}
			b, err := router.serialize(l)
			if err != nil {
				t.Fatal(err)
			}
			a, ok := parse(b)
			other := p
			other.id++
			other.seq++
			if !ok || a.refused == "" || !a.answers(p) || a.answers(other) {
				t.Errorf("%v to %v: %+v, %v", k, ends[1], a, ok)
			}
		}
	}
}

func TestPlanChangesAreChecked(t *testing.T) {
	n := newNetwork()
	of := clients()[:1]
	c, news := start(t, n, of...)
	await(t, c, news, "v4", Result.Works)
	before := n.count(Echo)
	c.Set(of) // nothing changed
	of = clients()[:1]
	of[0].Plan = "another egress"
	c.Set(of)
	await(t, c, news, "v4", func(r Result) bool { return r.Plan == "another egress" })
	if n.count(Echo) != before+1 {
		t.Errorf("%d echoes for one change", n.count(Echo)-before)
	}
	c.Set(nil)
	if len(c.Status()) != 0 {
		t.Error("a client that is gone has a result")
	}
}

// Questions that were broken off are not waited for any more.
func TestBrokenOff(t *testing.T) {
	n := newNetwork()
	for _, k := range Kinds {
		n.lose(k, -1)
	}
	c := New(Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := c.check(ctx, n, clients()[0]); !errors.Is(r.Err, context.Canceled) {
		t.Error(r.Err)
	}
	for k, list := range c.waiting {
		if len(list) != 0 {
			t.Errorf("%v: %d questions wait", k, len(list))
		}
	}
}

// While the traffic of others proves a path, its client sends no echo: only what that traffic does
// not prove. UDP is asked rarely. Without clients nothing is ever due.
func TestBusyPathsAskLess(t *testing.T) {
	now := time.Now()
	busy := true
	c := New(Config{Busy: func(string) bool { return busy }})
	if due, next := c.due(now); len(due) > 0 || !next.IsZero() {
		t.Errorf("without clients: %v at %v", due, next)
	}
	c.clients = clients()[:1]
	key := c.clients[0].Key
	works := Result{At: now.Add(-Quiet), Plan: c.clients[0].Plan}
	works.Outcomes[Echo] = Outcome{Asked: true, Answered: true}
	c.results[key], c.next[key] = works, now
	asked := func(echo, udp time.Time) { c.asked[key] = [kinds]time.Time{Echo: echo, UDP: udp} }
	asked(works.At, works.At)
	long := now.Add(-trafficTrusted)
	for _, tt := range []struct {
		name                  string
		change                func()
		echoStands, udpStands bool
	}{
		{"busy", func() {}, true, true},
		{"something changed", func() { c.Kick(); c.next[key] = now }, false, false},
		{"the last echo is long ago", func() { asked(long, now) }, false, true},
		{"UDP was asked long ago", func() { asked(now, long) }, true, false},
		{"quiet", func() { busy = false; asked(now, now) }, false, true},
	} {
		tt.change()
		due, _ := c.due(now)
		if len(due) != 1 {
			t.Fatalf("%s: %+v", tt.name, due)
		}
		_, echo := due[0].stands[Echo]
		_, udp := due[0].stands[UDP]
		if echo != tt.echoStands || udp != tt.udpStands {
			t.Errorf("%s: %+v, want %v, %v", tt.name, due, tt.echoStands, tt.udpStands)
		}
	}
	n := newNetwork()
	client := c.clients[0]
	client.stands = map[Kind]Outcome{Echo: works.Outcomes[Echo]}
	if r := c.check(t.Context(), n, client); n.count(Echo) != 0 || !r.Outcomes[Echo].Answered ||
		n.count(TCP) == 0 {
		t.Errorf("%d echoes, %d handshakes: %+v", n.count(Echo), n.count(TCP), r)
	}
}

// What was answered once is remembered until other hosts are asked.
func TestEverAnswered(t *testing.T) {
	c := New(Config{Notify: func() {}, Logger: slog.New(slog.DiscardHandler)})
	list := clients()[:1]
	c.Set(list)
	answered := Result{At: time.Now()}
	answered.Outcomes[TCP] = Outcome{Asked: true, Answered: true}
	c.record(list[0], answered)
	c.record(list[0], Result{At: time.Now()})
	if r := c.Status()[list[0].Key]; !r.Ever[TCP] || r.Ever[Echo] {
		t.Errorf("after an answer and a silence: %+v", r.Ever)
	}
	other := slices.Clone(list)
	other[0].Targets = []netip.Addr{netip.MustParseAddr("203.0.113.9")}
	c.Set(other)
	if r := c.Status()[list[0].Key]; r.Ever[TCP] {
		t.Errorf("of another target: %+v", r.Ever)
	}
}

func TestDeviceFails(t *testing.T) {
	n := newNetwork()
	c := New(Config{Open: func() (io.ReadWriteCloser, error) { return n, nil },
		Notify: func() {}, Logger: slog.New(slog.DiscardHandler)})
	go n.Close()
	if err := c.Run(t.Context()); !errors.Is(err, ErrDevice) {
		t.Errorf("Run: %v, want ErrDevice", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, k := range Kinds {
		for _, p := range []probe{{kind: k, src: client4, dst: target4},
			{kind: k, src: client6, dst: target6}} {
			b, err := p.marshal()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	f.Fuzz(func(_ *testing.T, b []byte) { parse(b) })
}

// A client whose egress went away has nobody to ask, also when somebody wants to know why its last
// check failed.
func TestNobodyToAsk(t *testing.T) {
	c, news := start(t, newNetwork(), clients()[:1]...)
	await(t, c, news, "v4", Result.Works)
	gone := clients()[0]
	gone.Targets = nil
	c.Set([]Client{gone})
	if _, err := c.Ask(t.Context(), gone); !errors.Is(err, ErrNoTarget) {
		t.Errorf("Ask: %v, want ErrNoTarget", err)
	}
}

// serialize makes a packet with another library than the code that it tests.
func (p probe) serialize(l []gopacket.SerializableLayer) ([]byte, error) {
	proto := map[Kind][2]layers.IPProtocol{
		Echo: {layers.IPProtocolICMPv4, layers.IPProtocolICMPv6},
		DNS:  {layers.IPProtocolUDP, layers.IPProtocolUDP},
		TCP:  {layers.IPProtocolTCP, layers.IPProtocolTCP},
		UDP:  {layers.IPProtocolUDP, layers.IPProtocolUDP},
	}[p.kind]
	var ip interface {
		gopacket.NetworkLayer
		gopacket.SerializableLayer
	}
	if p.src.Is4() {
		ip = &layers.IPv4{Version: 4, TTL: hops, Id: p.id, Protocol: proto[0],
			SrcIP: p.src.AsSlice(), DstIP: p.dst.AsSlice()}
	} else {
		ip = &layers.IPv6{Version: 6, HopLimit: hops, NextHeader: proto[1],
			SrcIP: p.src.AsSlice(), DstIP: p.dst.AsSlice()}
	}
	for _, layer := range l {
		if c, ok := layer.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); ok {
			if err := c.SetNetworkLayerForChecksum(ip); err != nil {
				return nil, fmt.Errorf("making a packet: %w", err)
			}
		}
	}
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	err := gopacket.SerializeLayers(buf, opts, append([]gopacket.SerializableLayer{ip}, l...)...)
	if err != nil {
		return nil, fmt.Errorf("making a packet: %w", err)
	}
	return buf.Bytes(), nil
}

func addressOf(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a.Unmap()
}

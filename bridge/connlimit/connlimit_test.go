package connlimit

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"
)

// pipes is a listener whose connections are pipes, from addresses that a test chooses.
type pipes struct{ next chan net.Conn }

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p.next
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (p pipes) Close() error   { close(p.next); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

type from struct {
	net.Conn
	addr net.Addr
}

func (f from) RemoteAddr() net.Addr { return f.addr }

type bench struct {
	t     *testing.T
	inner pipes
	l     *Listener
}

func newBench(t *testing.T, total, perSource int) *bench {
	t.Helper()
	inner := pipes{make(chan net.Conn, 1)}
	return &bench{t, inner, New(inner, total, perSource, OfInternet)}
}

// connect returns the client's end and the server's end of a connection from an address.
func (b *bench) connect(addr string) (client, server net.Conn) {
	b.t.Helper()
	client, remote := net.Pipe()
	b.inner.next <- from{remote,
		net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), 4711))}
	server, err := b.l.Accept()
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = client.Close(); _ = server.Close() })
	return client, server
}

// isOpen reports whether the server has left a connection open.
func isOpen(t *testing.T, client net.Conn) bool {
	t.Helper()
	err := client.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if err == nil {
		_, err = client.Read(make([]byte, 1))
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) {
		return false
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("reading: %v", err)
	}
	return true
}

func openOnes(t *testing.T, clients []net.Conn) []int {
	t.Helper()
	var out []int
	for i, c := range clients {
		if isOpen(t, c) {
			out = append(out, i)
		}
	}
	return out
}

// A client at its limit loses the connection that it has left silent for longest; others lose none.
func TestLimitPerSource(t *testing.T) {
	for name, sources := range map[string][]string{
		"IPv4":                   {"192.0.2.1", "192.0.2.2"},
		"IPv4 by an IPv6 socket": {"::ffff:192.0.2.1", "192.0.2.2"},
		"IPv6":                   {"2001:db8::1", "2001:db8:0:1::1"},
	} {
		b := newBench(t, 100, 3)
		other, _ := b.connect(sources[1])
		var clients []net.Conn
		var first net.Conn
		for i := range 4 {
			c, server := b.connect(sources[0])
			if i == 0 {
				first = server
			}
			clients = append(clients, c)
			if i == 2 { // the oldest is not the silent one
				go func() { _, _ = clients[0].Write([]byte("x")) }()
				if _, err := first.Read(make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got := openOnes(t, clients); !slices.Equal(got, []int{0, 2, 3}) {
			t.Errorf("%s: open are %v, want all but the longest silent one, 1", name, got)
		}
		if !isOpen(t, other) {
			t.Errorf("%s: another client lost its connection", name)
		}
	}
}

// One IPv6 host has a whole /64, and counts once.
func TestSlash64IsOneSource(t *testing.T) {
	b := newBench(t, 100, 2)
	var clients []net.Conn
	for _, addr := range []string{"2001:db8::1", "2001:db8::2", "2001:db8::ffff:3"} {
		c, _ := b.connect(addr)
		clients = append(clients, c)
	}
	if got := openOnes(t, clients); !slices.Equal(got, []int{1, 2}) {
		t.Errorf("open are %v, want the last two", got)
	}
}

// Clients of this box share one IPv6 prefix, and count each for itself.
func TestMembersAreSourcesOfTheirOwn(t *testing.T) {
	for bits, want := range map[int]bool{OfInternet: true, OfMembers: false} {
		a := SourceOf(&net.TCPAddr{IP: net.ParseIP("fd5a::1")}, bits)
		b := SourceOf(&net.TCPAddr{IP: net.ParseIP("fd5a::2")}, bits)
		if (a == b) != want {
			t.Errorf("by %d bits, %v and %v", bits, a, b)
		}
	}
}

// A member that uses many addresses of its prefix has half of all places, whatever their number.
func TestNetworkLeavesRoom(t *testing.T) {
	inner := pipes{make(chan net.Conn, 1)}
	b := &bench{t, inner, New(inner, 8, 3, OfMembers)}
	var others, greedy []net.Conn
	for _, addr := range []string{"fd5a:0:0:1::1", "10.147.17.5", "fd5a:0:0:2::1", "10.147.17.6"} {
		c, _ := b.connect(addr)
		others = append(others, c)
	}
	for i := range 20 {
		c, _ := b.connect(fmt.Sprintf("fd5a::%x", i+1))
		greedy = append(greedy, c)
	}
	if got := openOnes(t, others); !slices.Equal(got, []int{0, 1, 2, 3}) {
		t.Errorf("of the others' connections open are %v, want all", got)
	}
	if got := openOnes(t, greedy); !slices.Equal(got, []int{16, 17, 18, 19}) {
		t.Errorf("of 20 addresses of one /64 open are %v, want the last four", got)
	}
}

// When all places are taken, the newcomer gets in, and who holds most pays for it.
func TestTotal(t *testing.T) {
	b := newBench(t, 4, 0)
	modest, _ := b.connect("192.0.2.9")
	var greedy []net.Conn
	for range 3 {
		c, _ := b.connect("192.0.2.1")
		greedy = append(greedy, c)
	}
	newcomer, server := b.connect("192.0.2.7")
	if got := openOnes(t, greedy); !slices.Equal(got, []int{1, 2}) {
		t.Errorf("of the greedy one's %v are open, want all but the oldest", got)
	}
	if !isOpen(t, modest) || !isOpen(t, newcomer) {
		t.Error("somebody else paid for it")
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if b.l.open != 3 {
		t.Errorf("%d are counted after one has closed, want 3", b.l.open)
	}
	again, _ := b.connect("192.0.2.8")
	if got := openOnes(t, append(greedy[1:], again)); !slices.Equal(got, []int{0, 1, 2}) {
		t.Errorf("with room left, open are %v", got)
	}
}

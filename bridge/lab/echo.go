package lab

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"sync"

	"ztbridge/policyroute/netlab"
)

// EchoPort is where echo servers of the lab listen, UDP and TCP.
const EchoPort = 7

// Echo is a server that sends back what it receives. Frames of a stream come back with the source
// address that the server saw.
type Echo struct {
	packets   []net.PacketConn
	listeners []net.Listener
	wg        sync.WaitGroup

	mu     sync.Mutex
	seen   map[Origin]int
	conns  map[net.Conn]struct{}
	closed bool
}

// Origin says whose frames an echo server saw, and from which address.
type Origin struct {
	Marker string
	Source netip.Addr
}

// ServeEcho answers on EchoPort of each address, UDP and TCP.
func ServeEcho(n *netlab.Namespace, addrs ...netip.Addr) (*Echo, error) {
	e := &Echo{seen: make(map[Origin]int), conns: make(map[net.Conn]struct{})}
	for _, a := range addrs {
		at := netip.AddrPortFrom(a, EchoPort).String()
		pc, err := n.ListenPacket("udp", at)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("serving echo in %s: %w", n.Label, err), e.Close())
		}
		e.packets = append(e.packets, pc)
		l, err := n.Listen("tcp", at)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("serving echo in %s: %w", n.Label, err), e.Close())
		}
		e.listeners = append(e.listeners, l)
		e.wg.Go(func() { e.servePackets(pc) })
		e.wg.Go(func() { e.accept(l) })
	}
	return e, nil
}

// Close ends the server and its connections.
func (e *Echo) Close() error {
	e.mu.Lock()
	e.closed = true
	var errs []error
	for c := range e.conns {
		errs = append(errs, c.Close())
	}
	e.mu.Unlock()
	for _, c := range e.packets {
		errs = append(errs, c.Close())
	}
	for _, l := range e.listeners {
		errs = append(errs, l.Close())
	}
	e.wg.Wait()
	return errors.Join(errs...)
}

// Seen returns how many frames came from whom.
func (e *Echo) Seen() map[Origin]int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.seen)
}

// answer returns what is sent back for a message from source.
func (e *Echo) answer(msg []byte, source netip.Addr) []byte {
	f, ok := parseFrame(msg)
	if !ok {
		return msg
	}
	f.observed = source.Unmap()
	e.mu.Lock()
	e.seen[Origin{f.marker, f.observed}]++
	e.mu.Unlock()
	return f.marshal()
}

func (e *Echo) servePackets(pc net.PacketConn) {
	buf := make([]byte, 64<<10)
	for {
		size, from, err := pc.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error about an earlier answer
		}
		source := from.(*net.UDPAddr).AddrPort().Addr()
		// an answer lost here is lost, as on any network
		_, _ = pc.WriteTo(e.answer(buf[:size], source), from)
	}
}

func (e *Echo) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		e.mu.Lock()
		if e.closed {
			e.mu.Unlock()
			_ = conn.Close()
			return
		}
		e.conns[conn] = struct{}{}
		e.mu.Unlock()
		e.wg.Go(func() {
			e.serveConn(conn)
			e.mu.Lock()
			delete(e.conns, conn)
			e.mu.Unlock()
			_ = conn.Close()
		})
	}
}

func (e *Echo) serveConn(conn net.Conn) {
	source := conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
	buf := make([]byte, frameLen)
	for {
		if _, err := io.ReadFull(conn, buf); err != nil {
			return
		}
		if _, err := conn.Write(e.answer(buf, source)); err != nil {
			return
		}
	}
}

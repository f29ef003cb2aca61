package probe

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// ErrNoAnswer says that no target answered in time.
var ErrNoAnswer = errors.New("no target answered")

// ErrNoTarget says that there is nothing to probe.
var ErrNoTarget = errors.New("no probe target")

// nonceLen is the length of what an answer must repeat to count: a stranger cannot guess it.
const nonceLen = 16

// echoer owns the sockets of one egress's probes. Not safe for concurrent use.
type echoer struct {
	mark  uint32
	nonce [nonceLen]byte
	seq   uint16
	late  uint16 // how many echoes before the last one may still be answered
	conn4 net.PacketConn
	conn6 net.PacketConn
}

func newEchoer(mark uint32) *echoer {
	e := &echoer{mark: mark}
	_, _ = rand.Read(e.nonce[:]) // never fails (crypto/rand)
	return e
}

func (e *echoer) close() {
	for _, c := range []*net.PacketConn{&e.conn4, &e.conn6} {
		if *c != nil {
			_ = (*c).Close()
			*c = nil
		}
	}
}

// any probes all targets at once and returns the round-trip time of the first answer. It returns when
// the first has answered or the timeout is over, and nothing of it outlives the call.
func (e *echoer) any(ctx context.Context, targets []netip.Addr, timeout time.Duration) (time.Duration, error) {
	// An answer to the echo before this one has crossed the egress as well, if a little late.
	e.seq, e.late = e.seq+1, 1
	tasks := e.tasks(targets)
	if len(tasks) == 0 {
		return 0, ErrNoTarget
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	started := time.Now()
	results := make(chan error, len(tasks))
	for _, task := range tasks {
		go func() { results <- task(ctx) }()
	}
	rtt, errs := time.Duration(0), error(nil)
	for range tasks {
		err := <-results
		if err == nil && rtt == 0 {
			rtt = max(time.Since(started), 1)
			cancel()
		}
		errs = errors.Join(errs, err)
	}
	if rtt != 0 {
		return rtt, nil
	}
	return 0, errs
}

// tasks returns one task for the echoes of each family.
func (e *echoer) tasks(targets []netip.Addr) []func(context.Context) error {
	var of4, of6 []netip.Addr
	for _, t := range targets {
		if t.Is4() {
			of4 = append(of4, t)
		} else {
			of6 = append(of6, t)
		}
	}
	var tasks []func(context.Context) error
	if len(of4) > 0 {
		tasks = append(tasks, func(ctx context.Context) error { return e.ping(ctx, of4, false, 0) })
	}
	if len(of6) > 0 {
		tasks = append(tasks, func(ctx context.Context) error { return e.ping(ctx, of6, true, 0) })
	}
	return tasks
}

// ping sends one echo to each target of one family, padded to an IP packet of size bytes (0: not
// padded), and waits for the first answer until ctx's deadline.
func (e *echoer) ping(ctx context.Context, targets []netip.Addr, v6 bool, size int) error {
	conn, err := e.socket(v6)
	if err != nil {
		return err
	}
	sent := 0
	for _, t := range targets {
		if _, err = conn.WriteTo(e.request(v6, size), &net.IPAddr{IP: t.AsSlice()}); err == nil {
			sent++
		}
	}
	if sent == 0 {
		return fmt.Errorf("sending echo to %s: %w", targets[0], err)
	}
	deadline, _ := ctx.Deadline()
	_ = conn.SetReadDeadline(deadline)
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = conn.SetReadDeadline(time.Unix(1, 0))
		close(interrupted)
	})
	defer func() {
		if !stop() {
			<-interrupted // or it would cut short the next echo
		}
	}()
	buf := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return fmt.Errorf("waiting for %s: %w", targets[0], ErrNoAnswer)
		}
		if e.answers(buf[:n], from, v6, targets) {
			return nil
		}
	}
}

// request builds the echo. Its payload is the nonce, so that an answer to somebody else's probe, or a
// forged one, does not count.
func (e *echoer) request(v6 bool, size int) []byte {
	typ, header := icmp.Type(ipv4.ICMPTypeEcho), ipv4.HeaderLen
	if v6 {
		typ, header = ipv6.ICMPTypeEchoRequest, ipv6.HeaderLen
	}
	const icmpHeader = 8
	data := make([]byte, max(nonceLen, size-header-icmpHeader))
	copy(data, e.nonce[:])
	msg := icmp.Message{Type: typ, Body: &icmp.Echo{ID: e.id(), Seq: int(e.seq), Data: data}}
	b, err := msg.Marshal(nil) // the kernel fills in the checksum of ICMPv6
	if err != nil {
		panic(err) // an Echo always marshals
	}
	return b
}

func (e *echoer) id() int { return int(binary.BigEndian.Uint16(e.nonce[:])) }

func (e *echoer) answers(b []byte, from net.Addr, v6 bool, targets []netip.Addr) bool {
	proto, reply := 1, icmp.Type(ipv4.ICMPTypeEchoReply)
	if v6 {
		proto, reply = 58, ipv6.ICMPTypeEchoReply
	}
	msg, err := icmp.ParseMessage(proto, b)
	if err != nil || msg.Type != reply {
		return false
	}
	body, ok := msg.Body.(*icmp.Echo)
	if !ok || body.ID != e.id() || e.seq-uint16(body.Seq) > e.late || len(body.Data) < nonceLen {
		return false
	}
	ip, ok := from.(*net.IPAddr)
	if !ok || [nonceLen]byte(body.Data[:nonceLen]) != e.nonce {
		return false
	}
	addr, _ := netip.AddrFromSlice(ip.IP)
	return slices.Contains(targets, addr.Unmap())
}

func (e *echoer) socket(v6 bool) (net.PacketConn, error) {
	network, address, conn := "ip4:icmp", "0.0.0.0", &e.conn4
	if v6 {
		network, address, conn = "ip6:ipv6-icmp", "::", &e.conn6
	}
	if *conn != nil {
		return *conn, nil
	}
	lc := net.ListenConfig{Control: e.control}
	c, err := lc.ListenPacket(context.Background(), network, address)
	if err != nil {
		return nil, fmt.Errorf("opening %s socket: %w", network, err)
	}
	*conn = c
	return c, nil
}

// control sets the mark that leads the packets to the egress's table, and forbids fragmentation while
// ignoring what the kernel believes about the path (IP_PMTUDISC_PROBE, ip(7)).
func (e *echoer) control(network, _ string, c syscall.RawConn) error {
	var mark, df error
	err := c.Control(func(fd uintptr) {
		if e.mark != 0 {
			mark = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(e.mark))
		}
		level, opt, val := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE
		if strings.HasPrefix(network, "ip6") {
			level, opt, val = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE
		}
		df = unix.SetsockoptInt(int(fd), level, opt, val)
	})
	if err = errors.Join(err, mark, df); err != nil {
		return fmt.Errorf("marking probe socket: %w", err)
	}
	return nil
}

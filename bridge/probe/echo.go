package probe

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"ztbridge/bridge/sockopt"
)

// ErrNoAnswer reports that no target answered in time.
var ErrNoAnswer = errors.New("no target answered")

// ErrNoTarget reports that there is nothing to probe.
var ErrNoTarget = errors.New("no probe target")

// nonceLen is the length of a Nonce, in bytes.
const nonceLen = 16

// Nonce is what the answer to an echo must repeat to count: a stranger cannot guess it.
type Nonce [nonceLen]byte

// NewNonce returns a random nonce.
func NewNonce() (n Nonce) {
	_, _ = rand.Read(n[:]) // never fails (crypto/rand)
	return n
}

// lateMax is how long after its echo an answer still counts. Behind a full queue answers are
// seconds late, and each of them proves that packets get through now.
const lateMax = 4 * time.Second

// echoer owns the sockets of one egress's probes. Not safe for concurrent use.
type echoer struct {
	by    path
	nonce Nonce
	seq   uint16
	asked map[uint16]time.Time // when the echoes left that were not answered yet
	conn4 *receiver
	conn6 *receiver
}

func newEchoer(by path, nonce Nonce) *echoer {
	return &echoer{by: by, nonce: nonce, asked: map[uint16]time.Time{}}
}

// forget makes answers to all that was asked before count no more.
func (e *echoer) forget() { clear(e.asked) }

func (e *echoer) close() {
	for _, c := range []**receiver{&e.conn4, &e.conn6} {
		if *c != nil {
			_ = (*c).Close()
			*c = nil
		}
	}
}

// any probes all targets at once and returns how long the latest answer took. It returns when that
// to this echo has come; when the timeout is over, late ones to echoes before count. Nothing of it
// outlives the call.
func (e *echoer) any(ctx context.Context, targets []netip.Addr,
	timeout time.Duration) (time.Duration, error) {
	e.ask()
	tasks := e.tasks(targets)
	if len(tasks) == 0 {
		return 0, ErrNoTarget
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	results := make(chan result, len(tasks))
	for _, task := range tasks {
		go func() { results <- task(ctx) }()
	}
	rtt, errs := time.Duration(0), error(nil)
	var answered []uint16
	for range tasks {
		r := <-results
		if r.err == nil {
			cancel()
			if rtt == 0 {
				rtt = max(r.rtt, 1)
			}
		}
		answered = append(answered, r.answered...)
		errs = errors.Join(errs, r.err)
	}
	for _, seq := range answered { // what other targets say to the same echo is no news
		delete(e.asked, seq)
	}
	if rtt != 0 {
		return rtt, nil
	}
	return 0, errs
}

// result is what became of an echo.
type result struct {
	answered []uint16      // the echoes that were answered meanwhile
	rtt      time.Duration // how long the last of the answers took
	err      error         // why there was none
}

// ask numbers a new echo.
func (e *echoer) ask() {
	now := time.Now()
	maps.DeleteFunc(e.asked, func(_ uint16, at time.Time) bool { return now.Sub(at) > lateMax })
	e.seq++
	e.asked[e.seq] = now
}

// tasks returns one task for the echoes of each family.
func (e *echoer) tasks(targets []netip.Addr) []func(context.Context) result {
	var tasks []func(context.Context) result
	for _, v6 := range []bool{false, true} {
		if of := ofFamily(targets, v6); len(of) > 0 {
			tasks = append(tasks, func(ctx context.Context) result { return e.ping(ctx, of, v6) })
		}
	}
	return tasks
}

func ofFamily(targets []netip.Addr, v6 bool) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(targets),
		func(t netip.Addr) bool { return t.Is4() == v6 })
}

// ping sends the present echo to each target of one family. It waits for an answer until ctx's
// deadline.
func (e *echoer) ping(ctx context.Context, targets []netip.Addr, v6 bool) result {
	if err := e.send(targets, v6, 0); err != nil {
		return result{err: err}
	}
	return e.await(ctx, targets, v6, func(seq uint16) bool { return seq == e.seq })
}

// send sends the present echo to each target of one family. It pads the echo to an IP packet of
// size bytes (0: not padded). It fails if none could be sent.
func (e *echoer) send(targets []netip.Addr, v6 bool, size int) error {
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
	return nil
}

// await collects answers to all that was asked until one is enough, or until ctx's deadline.
func (e *echoer) await(ctx context.Context, targets []netip.Addr, v6 bool,
	enough func(seq uint16) bool) result {
	conn, err := e.socket(v6)
	if err != nil {
		return result{err: err}
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
	r := result{err: fmt.Errorf("waiting for %s: %w", targets[0], ErrNoAnswer)}
	buf := make([]byte, 2048)
	for {
		n, link, from, err := conn.read(buf)
		if err != nil {
			return r
		}
		seq, ok := e.answers(buf[:n], from, v6, targets)
		if !ok || slices.Contains(r.answered, seq) || !e.by.brought(conn, link, from) {
			continue
		}
		r.answered, r.rtt, r.err = append(r.answered, seq), time.Since(e.asked[seq]), nil
		if enough(seq) {
			return r
		}
	}
}

// request builds the echo. Its payload is the nonce, so that an answer to somebody else's probe, or
// a forged one, does not count.
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

// answers returns the number of the echo that a packet answers.
func (e *echoer) answers(b []byte, from net.Addr, v6 bool,
	targets []netip.Addr) (seq uint16, ok bool) {
	proto, reply := 1, icmp.Type(ipv4.ICMPTypeEchoReply)
	if v6 {
		proto, reply = 58, ipv6.ICMPTypeEchoReply
	}
	msg, err := icmp.ParseMessage(proto, b)
	if err != nil || msg.Type != reply {
		return 0, false
	}
	body, ok := msg.Body.(*icmp.Echo)
	if !ok || body.ID != e.id() || len(body.Data) < nonceLen ||
		Nonce(body.Data[:nonceLen]) != e.nonce {
		return 0, false
	}
	if at, asked := e.asked[uint16(body.Seq)]; !asked || time.Since(at) > lateMax {
		return 0, false
	}
	ip, ok := from.(*net.IPAddr)
	if !ok {
		return 0, false
	}
	addr, _ := netip.AddrFromSlice(ip.IP)
	return uint16(body.Seq), slices.Contains(targets, addr.Unmap())
}

func (e *echoer) socket(v6 bool) (*receiver, error) {
	network, address, conn := "ip4:icmp", "0.0.0.0", &e.conn4
	if v6 {
		network, address, conn = "ip6:ipv6-icmp", "::", &e.conn6
	}
	if *conn != nil {
		return *conn, nil
	}
	lc := net.ListenConfig{
		Control: sockopt.Control(sockopt.Mark(e.by.fwmark), neverFragment(v6))}
	c, err := lc.ListenPacket(context.Background(), network, address)
	if err != nil {
		return nil, fmt.Errorf("opening %s socket: %w", network, err)
	}
	ip, ok := c.(*net.IPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("opening %s socket: it is a %T", network, c), c.Close())
	}
	if *conn, err = newReceiver(ip, v6); err != nil {
		return nil, errors.Join(err, ip.Close())
	}
	return *conn, nil
}

// neverFragment forbids fragmentation, and ignores what the kernel believes about the path
// (IP_PMTUDISC_PROBE, ip(7)).
func neverFragment(v6 bool) sockopt.Option {
	level, opt, val := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE
	if v6 {
		level, opt, val = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE
	}
	return func(fd int) error {
		if err := unix.SetsockoptInt(fd, level, opt, val); err != nil {
			return fmt.Errorf("forbidding fragments: %w", err)
		}
		return nil
	}
}

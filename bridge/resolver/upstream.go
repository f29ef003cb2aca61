package resolver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"ztbridge/bridge/sockopt"

	"github.com/miekg/dns"
)

const (
	// upstreamIdle is how long a connection without questions stays open. Public resolvers close
	// theirs later, so questions seldom meet a connection that is being closed.
	upstreamIdle = 20 * time.Second
	resumptions  = 4 // TLS sessions remembered for each upstream
)

var (
	errBroken   = errors.New("connection to the resolver broke")
	errMismatch = errors.New("answer to another question")
)

// upstream is one resolver with at most one connection, on which answers come in any order.
type upstream struct {
	Upstream
	dialer net.Dialer
	tls    *tls.Config

	mu   sync.Mutex // held while dialling, so that a burst of questions dials once
	conn *pipeline
}

func newUpstream(u Upstream, cfg Config) *upstream {
	return &upstream{
		Upstream: u,
		dialer:   net.Dialer{Control: sockopt.Control(sockopt.Mark(cfg.Mark))},
		tls: &tls.Config{
			ServerName: u.Name, RootCAs: cfg.Roots, MinVersion: tls.VersionTLS12,
			NextProtos:         []string{"dot"},
			ClientSessionCache: tls.NewLRUClientSessionCache(resumptions),
		},
	}
}

// exchange sends q and returns the answer within attemptTimeout. It replaces a kept connection once
// if that was closed, and closes one that gives no answers.
func (u *upstream) exchange(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	for {
		c, fresh, err := u.connect(ctx)
		if err != nil {
			return nil, err
		}
		asked := time.Now()
		a, err := c.exchange(ctx, q)
		if errors.Is(err, context.DeadlineExceeded) && !c.heardSince(asked) {
			c.close()
		}
		if err == nil || fresh || !errors.Is(err, errBroken) {
			return a, err
		}
	}
}

// connect returns the connection, and whether it was made just now.
func (u *upstream) connect(ctx context.Context) (c *pipeline, fresh bool, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.conn != nil && !u.conn.broken() {
		return u.conn, false, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, false, err // the time was used up waiting for another dial
	}
	raw, err := u.dialer.DialContext(ctx, "tcp", u.Addr.String())
	if err != nil {
		return nil, false, err
	}
	conn := tls.Client(raw, u.tls)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, false, fmt.Errorf("verifying %s: %w", u.Name, err)
	}
	u.conn = newPipeline(conn)
	return u.conn, true, nil
}

func (u *upstream) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.conn != nil {
		u.conn.close()
		<-u.conn.done
	}
}

// pipeline is a connection with several questions at a time, identified by their ids.
type pipeline struct {
	conn *dns.Conn
	done chan struct{} // closed when the reader has ended

	sending sync.Mutex
	mu      sync.Mutex
	pending map[uint16]chan<- *dns.Msg
	next    uint16
	heard   time.Time // when the last answer came
}

func newPipeline(conn net.Conn) *pipeline {
	p := &pipeline{conn: &dns.Conn{Conn: conn}, done: make(chan struct{}),
		pending: map[uint16]chan<- *dns.Msg{}, next: dns.Id()}
	go p.read()
	return p
}

func (p *pipeline) broken() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *pipeline) heardSince(t time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.heard.After(t)
}

// close ends the connection; questions that wait for answers fail with errBroken.
func (p *pipeline) close() { p.conn.Close() }

// read delivers answers until the connection fails, is idle for upstreamIdle, or is closed.
func (p *pipeline) read() {
	defer close(p.done)
	defer p.conn.Close()
	for {
		if p.conn.SetReadDeadline(time.Now().Add(upstreamIdle)) != nil {
			return
		}
		m, err := p.conn.ReadMsg()
		if err != nil {
			return
		}
		p.mu.Lock()
		waiting := p.pending[m.Id]
		delete(p.pending, m.Id)
		p.heard = time.Now()
		p.mu.Unlock()
		if waiting != nil {
			waiting <- m // buffered, and sent to once
		}
	}
}

func (p *pipeline) exchange(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	answer := make(chan *dns.Msg, 1)
	id := p.enter(answer)
	defer p.leave(id)
	out := *q // shallow: only the id differs
	out.Id = id
	raw, err := out.Pack()
	if err != nil {
		return nil, fmt.Errorf("packing the question: %w", err)
	}
	if err := p.send(ctx, raw); err != nil {
		return nil, err
	}
	select {
	case a := <-answer:
		if !a.Response || !sameQuestion(q, a) {
			return nil, errMismatch
		}
		a.Id = q.Id
		return a, nil
	case <-p.done:
		return nil, errBroken
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// enter reserves an id. There are always free ones: maxInFlight is far below their number.
func (p *pipeline) enter(answer chan<- *dns.Msg) uint16 {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.pending[p.next] != nil {
		p.next++
	}
	id := p.next
	p.next++
	p.pending[id] = answer
	return id
}

func (p *pipeline) leave(id uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pending, id)
}

func (p *pipeline) send(ctx context.Context, raw []byte) error {
	p.sending.Lock()
	defer p.sending.Unlock()
	deadline, _ := ctx.Deadline()
	if err := p.conn.SetWriteDeadline(deadline); err != nil {
		return errBroken
	}
	if _, err := p.conn.Write(raw); err != nil {
		p.close() // half a message may be out
		return fmt.Errorf("%w: %w", errBroken, err)
	}
	return nil
}

func sameQuestion(q, a *dns.Msg) bool {
	if len(a.Question) != 1 {
		return false
	}
	x, y := q.Question[0], a.Question[0]
	return x.Qtype == y.Qtype && x.Qclass == y.Qclass && strings.EqualFold(x.Name, y.Name)
}

package prefixcheck

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"ztbridge/bridge/sockopt"
)

// Outcome is what is known of the prefix.
type Outcome uint8

// The outcomes.
const (
	Unknown Outcome = iota // no target answers, or none is configured
	Works                  // answers come back to the prefix
	Lost                   // answers come back to the box's own address, and not to the prefix
)

func (v Outcome) String() string { return [...]string{"unknown", "works", "lost"}[v] }

const (
	rounds = 3 // of echoes before the outcome is Lost
	pause  = time.Second

	// A prefix that works seldom stops; one that does not may be repaired at any moment.
	worksInterval = 10 * time.Minute
	otherInterval = 15 * time.Second

	nonceLen = 16
)

// Config configures a Checker. It must not be changed after New.
type Config struct {
	// Source is an address of the prefix that no member has.
	Source netip.Addr
	// Mark is set on every packet (SO_MARK): the host's rules route it through the WAN.
	Mark uint32
	// Targets receive the echoes; IPv4 ones are skipped. Without any the outcome stays Unknown.
	Targets []netip.Addr
	Notify  func() // called when the outcome changes; must not block
	Logger  *slog.Logger
}

// Checker checks one prefix. Its methods may be called from any goroutine.
type Checker struct {
	cfg   Config
	nonce [nonceLen]byte
	seen  chan struct{} // an answer came back to Source

	mu      sync.Mutex
	outcome Outcome
}

// New returns a checker that does nothing until Run.
func New(cfg Config) *Checker {
	c := &Checker{cfg: cfg, seen: make(chan struct{}, 1)}
	_, _ = rand.Read(c.nonce[:]) // never fails (crypto/rand)
	return c
}

// Outcome returns the latest outcome.
func (c *Checker) Outcome() Outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.outcome
}

// SawReply passes an echo reply that came in by the WAN: no socket receives packets to an address
// that nobody has. It does not block.
func (c *Checker) SawReply(dst netip.Addr, data []byte) {
	if dst != c.cfg.Source || !c.mine(data) {
		return
	}
	select {
	case c.seen <- struct{}{}:
	default:
	}
}

func (c *Checker) mine(data []byte) bool {
	return len(data) >= nonceLen && [nonceLen]byte(data) == c.nonce
}

// Run checks repeatedly until ctx ends, and returns nil then.
func (c *Checker) Run(ctx context.Context) error {
	for {
		v, err := c.check(ctx)
		if ctx.Err() != nil {
			return nil
		}
		c.publish(v, err)
		again := otherInterval
		if v == Works {
			again = worksInterval
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(again):
		}
	}
}

func (c *Checker) publish(v Outcome, err error) {
	c.mu.Lock()
	before := c.outcome
	c.outcome = v
	c.mu.Unlock()
	if v != before {
		c.cfg.Logger.Info("prefix outcome changed", "source", c.cfg.Source, "from", before, "to", v,
			"error", err)
		c.cfg.Notify()
	}
}

// check sends echoes from both addresses until one is answered to the prefix. An error means that
// none could be sent.
func (c *Checker) check(ctx context.Context) (Outcome, error) {
	own, err := c.open(netip.IPv6Unspecified())
	if err != nil {
		return Unknown, err
	}
	defer own.Close()
	member, err := c.open(c.cfg.Source)
	if err != nil {
		return Unknown, err
	}
	defer member.Close()
	select {
	case <-c.seen: // an answer to an earlier check
	default:
	}
	answered := make(chan struct{}, 1)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer own.Close()
	wg.Go(func() { c.listen(own, answered) })
	outcome := Unknown
	for seq := range rounds {
		err = errors.Join(c.send(own, seq), c.send(member, seq))
		end := time.NewTimer(pause)
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				return Unknown, nil
			case <-c.seen:
				return Works, nil
			case <-answered:
				outcome = Lost // unless an answer to the other echo is only slower
			case <-end.C:
				waiting = false
			}
		}
	}
	return outcome, err
}

func (c *Checker) open(source netip.Addr) (net.PacketConn, error) {
	lc := net.ListenConfig{
		Control: sockopt.Control(sockopt.Mark(c.cfg.Mark), sockopt.FreeBind6)}
	conn, err := lc.ListenPacket(context.Background(), "ip6:ipv6-icmp", source.String())
	if err != nil {
		return nil, fmt.Errorf("opening a socket for %s: %w", source, err)
	}
	return conn, nil
}

// listen signals answers to echoes from the box's own address. It ends when the socket is closed.
func (c *Checker) listen(conn net.PacketConn, answered chan<- struct{}) {
	buf := make([]byte, 512)
	for {
		n, _, err := conn.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error about an earlier echo
		}
		m, err := icmp.ParseMessage(unix.IPPROTO_ICMPV6, buf[:n])
		if err != nil || m.Type != ipv6.ICMPTypeEchoReply {
			continue
		}
		if body, ok := m.Body.(*icmp.Echo); ok && c.mine(body.Data) {
			select {
			case answered <- struct{}{}:
			default:
			}
		}
	}
}

// send sends one echo to each target. It fails if none could be sent.
func (c *Checker) send(conn net.PacketConn, seq int) error {
	m := icmp.Message{Type: ipv6.ICMPTypeEchoRequest,
		Body: &icmp.Echo{ID: int(c.nonce[0])<<8 | int(c.nonce[1]), Seq: seq, Data: c.nonce[:]}}
	b, err := m.Marshal(nil) // the kernel fills in the checksum
	if err != nil {
		return fmt.Errorf("building an echo: %w", err)
	}
	var errs []error
	sent := false
	for _, t := range c.cfg.Targets {
		if t.Is4() {
			continue
		}
		if _, err := conn.WriteTo(b, &net.IPAddr{IP: t.AsSlice()}); err != nil {
			errs = append(errs, fmt.Errorf("sending to %s: %w", t, err))
		} else {
			sent = true
		}
	}
	if sent {
		return nil
	}
	return errors.Join(errs...)
}

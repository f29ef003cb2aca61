package lab

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"ztbridge/policyroute/netlab"
)

// Kind is the kind of a stream's packets. The family is that of the target's address.
type Kind string

// The kinds of streams. UDP and TCP need an Echo server as target, DNS a lab's DNS server; the
// kernel answers Ping.
const (
	UDP  Kind = "udp"
	TCP  Kind = "tcp"
	DNS  Kind = "dns"
	Ping Kind = "ping"
)

const (
	answerGrace  = 600 * time.Millisecond // for answers under way when a stream is stopped
	catchUpLimit = 10                     // packets sent at once after the machine stalled
)

// StreamConfig describes a stream of requests, each of which is answered.
type StreamConfig struct {
	From   *netlab.Namespace
	Kind   Kind
	To     netip.AddrPort // the port is not used by Ping
	Rate   int            // requests a second
	Marker string         // carried by every request; see NewMarker
	Source netip.Addr     // address to send from; the zero Addr leaves it to the kernel
	// Hold keeps one TCP connection for the whole life of the stream: once it breaks, everything is
	// lost. Otherwise a connection that is not answered for three seconds is opened again.
	Hold bool
}

// transport sends the requests of one kind and reports answers to the tracker.
type transport interface {
	send(seq uint64) error
	close() // and wait for its goroutines
}

// Stream sends requests at a steady rate and remembers what became of each.
type Stream struct {
	cfg  StreamConfig
	t    *tracker
	tr   transport
	quit chan struct{}
	done chan struct{}
	once sync.Once
}

// StartStream starts to send. It ends with Stop.
func StartStream(cfg StreamConfig) (*Stream, error) {
	t := &tracker{kind: cfg.Kind}
	var tr transport
	var err error
	switch cfg.Kind {
	case UDP:
		tr, err = newUDPTransport(cfg, t)
	case TCP:
		tr = newTCPTransport(cfg, t)
	case DNS:
		tr, err = newDNSTransport(cfg, t)
	case Ping:
		tr, err = newPingTransport(cfg, t)
	default:
		err = fmt.Errorf("unknown kind %q", cfg.Kind)
	}
	if err != nil {
		return nil, fmt.Errorf("starting a stream of %s from %s: %w", cfg.Kind, cfg.From.Label, err)
	}
	s := &Stream{cfg: cfg, t: t, tr: tr, quit: make(chan struct{}), done: make(chan struct{})}
	go s.run()
	return s, nil
}

func (s *Stream) run() {
	defer close(s.done)
	interval := time.Second / time.Duration(s.cfg.Rate)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	start := time.Now()
	for due := 0; ; {
		select {
		case <-s.quit:
			return
		case <-ticker.C:
		}
		// Ticks are dropped when the machine is busy: what counts is what should have been sent by
		// now.
		total := int(time.Since(start)/interval) + 1
		due = max(due, total-catchUpLimit)
		for ; due < total; due++ {
			seq := s.t.sending()
			if err := s.tr.send(seq); err != nil {
				s.t.failed()
			}
		}
	}
}

// Stop ends the sending, waits a little for the answers that are under way and returns the whole
// report. It is safe to call it twice.
func (s *Stream) Stop() Report {
	s.once.Do(func() {
		close(s.quit)
		<-s.done
		for deadline := time.Now().Add(answerGrace); time.Now().Before(deadline) &&
			!s.t.complete(); {
			time.Sleep(5 * time.Millisecond)
		}
		s.tr.close()
	})
	return s.Report()
}

// Report returns what is known at this moment. Answers under way count as lost.
func (s *Stream) Report() Report { return s.t.report() }

// Counts returns the number of requests sent and answered so far, and when the last answer came.
func (s *Stream) Counts() (sent, received int, last time.Time) {
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	return len(s.t.rounds), s.t.received, s.t.last
}

// tracker remembers the requests of a stream.
type tracker struct {
	kind Kind

	mu         sync.Mutex
	rounds     []Round // index: sequence number
	received   int
	last       time.Time
	sendErrors int
	connects   int
}

func (t *tracker) sending() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rounds = append(t.rounds, Round{Sent: time.Now()})
	return uint64(len(t.rounds) - 1)
}

func (t *tracker) failed() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sendErrors++
}

func (t *tracker) connected() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.connects++
}

func (t *tracker) answered(seq uint64, egress netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if seq >= uint64(len(t.rounds)) || !t.rounds[seq].Received.IsZero() {
		return
	}
	now := time.Now()
	t.rounds[seq].Received, t.rounds[seq].Egress = now, egress
	t.received++
	t.last = now
}

func (t *tracker) complete() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.received == len(t.rounds)
}

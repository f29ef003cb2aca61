package resolver

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"ztbridge/bridge/connlimit"
)

const (
	// maxInFlight bounds the questions that wait for an answer, and maxInFlightEach those of one
	// client. More are answered with SERVFAIL.
	maxInFlight     = 512
	maxInFlightEach = 128
	// maxConns bounds the TCP connections of all clients, and maxConnsEach those of one. At a limit
	// the connection that has been silent for longest is closed, so that idle connections of one
	// client do not keep others out.
	maxConns     = 256
	maxConnsEach = 16
	// maxUDP is the largest answer by UDP in bytes, whatever size a question offers: it crosses
	// every path whole, and who asks in another's name sends that one little. More goes by TCP.
	maxUDP = 1232
	// answerTimeout is about how long stub resolvers wait before they ask again.
	answerTimeout = 5 * time.Second
	// attemptTimeout bounds one attempt at one upstream and leaves time for a second one.
	attemptTimeout = 2 * time.Second
	// idleTimeout is how long a client's TCP connection may be silent, even within a message.
	idleTimeout   = 10 * time.Second
	shutdownGrace = time.Second
)

// ErrNoMark is returned when no firewall mark is configured: upstream sockets would follow the main
// routing table.
var ErrNoMark = errors.New("resolver without a firewall mark")

var errNoAnswer = errors.New("no upstream resolver answers")

// Upstream is a resolver that speaks DNS over TLS.
type Upstream struct {
	Addr netip.AddrPort // usually port 853
	Name string         // DNS name or IP address that its certificate must be for
}

// Config is what a Resolver needs. It is not changed after New.
type Config struct {
	// Listen is where clients' questions arrive, by UDP and TCP. An unspecified address listens on
	// all.
	Listen netip.AddrPort
	// Upstreams are asked in this order, beginning with the one that answered last.
	Upstreams []Upstream
	// Mark is set on every upstream socket (SO_MARK, needs CAP_NET_ADMIN). The host's rules must
	// route it through the egress, and refuse it while the egress is down.
	Mark uint32
	// Roots verify the upstreams' certificates; nil means the system's.
	Roots *x509.CertPool
	// Logger receives changes of state. Names that clients ask for are never logged.
	Logger *slog.Logger
}

// Resolver forwards questions to the resolvers of one egress.
type Resolver struct {
	cfg       Config
	upstreams []*upstream
	preferred atomic.Int64 // index of the upstream that answered last
	failing   atomic.Bool
	inFlight  inFlight
}

// New returns a resolver that does nothing until Run.
func New(cfg Config) *Resolver {
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	r := &Resolver{cfg: cfg, inFlight: inFlight{each: map[netip.Prefix]int{}}}
	for _, u := range cfg.Upstreams {
		r.upstreams = append(r.upstreams, newUpstream(u, cfg))
	}
	return r
}

// Run answers until ctx ends, and then returns nil. It fails when it cannot listen. It must be
// called once.
func (r *Resolver) Run(ctx context.Context) error {
	if r.cfg.Mark == 0 {
		return ErrNoMark
	}
	var lc net.ListenConfig
	address := r.cfg.Listen.String()
	udp, err := lc.ListenPacket(ctx, "udp", address)
	if err != nil {
		return fmt.Errorf("listening on udp %s: %w", address, err)
	}
	tcp, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		udp.Close()
		return fmt.Errorf("listening on tcp %s: %w", address, err)
	}
	defer r.closeUpstreams()
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { r.handle(ctx, w, q) })
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range []*dns.Server{
		{PacketConn: udp, Handler: handler, UDPSize: dns.DefaultMsgSize},
		{Listener: connlimit.New(tcp, maxConns, maxConnsEach, connlimit.OfMembers),
			Handler: handler, ReadTimeout: idleTimeout, WriteTimeout: idleTimeout,
			IdleTimeout: func() time.Duration { return idleTimeout }},
	} {
		serve(ctx, g, s)
	}
	r.cfg.Logger.Info("resolver answers", "listen", address, "upstreams", len(r.upstreams))
	return g.Wait()
}

// serve runs a server in g until ctx ends.
func serve(ctx context.Context, g *errgroup.Group, s *dns.Server) {
	started := make(chan struct{})
	s.NotifyStartedFunc = func() { close(started) }
	ended := make(chan struct{})
	g.Go(func() error {
		defer close(ended)
		if err := s.ActivateAndServe(); err != nil && ctx.Err() == nil {
			return fmt.Errorf("serving DNS: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		select {
		case <-started: // a server that has not started cannot be shut down
		case <-ended:
			return nil
		}
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		_ = s.ShutdownContext(grace) // its error means that clients lost their connections
		return nil
	})
}

func (r *Resolver) closeUpstreams() {
	for _, u := range r.upstreams {
		u.close()
	}
}

// handle answers one question. After any error the client gets SERVFAIL, and the question is sent
// nowhere else.
func (r *Resolver) handle(ctx context.Context, w dns.ResponseWriter, q *dns.Msg) {
	if code := acceptable(q); code != dns.RcodeSuccess {
		reply(w, new(dns.Msg).SetRcode(q, code))
		return
	}
	source := connlimit.SourceOf(w.RemoteAddr(), connlimit.OfMembers)
	if !r.inFlight.begin(source) {
		reply(w, new(dns.Msg).SetRcode(q, dns.RcodeServerFailure))
		return
	}
	defer r.inFlight.end(source)
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	a, err := r.ask(ctx, q)
	r.logChange(err)
	if err != nil {
		a = new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)
	}
	a.Compress = true
	if _, overUDP := w.LocalAddr().(*net.UDPAddr); overUDP {
		size := dns.MinMsgSize
		if opt := q.IsEdns0(); opt != nil {
			size = min(max(size, int(opt.UDPSize())), maxUDP)
		}
		a.Truncate(size)
	}
	reply(w, a)
}

// inFlight counts the questions that wait for an answer, by client and by network.
type inFlight struct {
	mu   sync.Mutex
	all  int
	each map[netip.Prefix]int
}

// begin counts a question and reports whether no limit was reached. A network may have half of all
// questions.
func (f *inFlight) begin(source netip.Prefix) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	network := connlimit.Network(source)
	if f.all >= maxInFlight || f.each[source] >= maxInFlightEach ||
		f.each[network] >= maxInFlight/2 {
		return false
	}
	f.all++
	for _, p := range slices.Compact([]netip.Prefix{source, network}) {
		f.each[p]++
	}
	return true
}

func (f *inFlight) end(source netip.Prefix) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all--
	for _, p := range slices.Compact([]netip.Prefix{source, connlimit.Network(source)}) {
		if f.each[p]--; f.each[p] == 0 {
			delete(f.each, p)
		}
	}
}

func reply(w dns.ResponseWriter, m *dns.Msg) {
	_ = w.WriteMsg(m) // the client may have closed the connection
}

// acceptable returns the code to refuse a question with, or success if it is to be forwarded.
func acceptable(q *dns.Msg) int {
	switch {
	case q.Response || len(q.Question) != 1:
		return dns.RcodeFormatError
	case q.Opcode != dns.OpcodeQuery:
		return dns.RcodeNotImplemented
	case q.Question[0].Qtype == dns.TypeAXFR || q.Question[0].Qtype == dns.TypeIXFR:
		return dns.RcodeRefused // answered by many messages
	}
	return dns.RcodeSuccess
}

// ask tries the upstreams in turn.
func (r *Resolver) ask(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	errs := []error{errNoAnswer}
	first := int(r.preferred.Load())
	for i := range r.upstreams {
		n := (first + i) % len(r.upstreams)
		a, err := r.upstreams[n].exchange(ctx, q)
		if err == nil {
			r.preferred.Store(int64(n))
			return a, nil
		}
		errs = append(errs, fmt.Errorf("asking %s: %w", r.upstreams[n].Addr, err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// logChange logs when answers begin to fail and when they work again.
func (r *Resolver) logChange(err error) {
	if r.failing.CompareAndSwap(err == nil, err != nil) {
		if err != nil {
			r.cfg.Logger.Warn("resolver fails", "error", err)
		} else {
			r.cfg.Logger.Info("resolver answers again")
		}
	}
}

package probe

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"ztbridge/bridge/step"
)

const (
	// minTimeout and maxTimeout limit how long to wait for an answer. Between them it is four times
	// the smoothed round-trip time, so that a near egress is graded sooner. minTimeout leaves a
	// small busy box time to answer: the path is measured, not the processor.
	minTimeout = 350 * time.Millisecond
	maxTimeout = 500 * time.Millisecond
	// alive is how many packets must come in while an answer is awaited for the egress to count as
	// Alive. A few may be errors of the provider's router.
	alive = 10
	// busy is how many bytes must come in during that time for the egress to count as Busy. A few
	// light users cause less.
	busy = 32 << 10
)

// Traffic is what has passed an egress's interface so far.
type Traffic struct {
	// Received counts packets that only this egress can have brought in: none on a shared
	// interface.
	Received uint64
	Sent     uint64 // packets
	Bytes    uint64 // in both directions
}

// Config says what to probe and how.
type Config struct {
	Egress string // for the log
	// SO_MARK of every packet, which a policy rule leads to the egress's table; 0: none
	Mark uint32
	// Device returns the interface that answers must come by; "": any but loopback, as where
	// Device is nil. It is called often, and must not block.
	Device func() string
	Nonce  Nonce // begins the data of every echo
	// Targets receive ICMP echoes; an answer of any one of them counts.
	Targets []netip.Addr
	// Traffic is asked several times in an interval, and while an answer is awaited. Nil: unknown,
	// taken for none.
	Traffic  func() Traffic
	Interval time.Duration // between probes, unless there is no need of them (see due)
	HoldDown time.Duration // how long it must answer to be Stable
	Notify   func()        // called on every change of grade; must not block
	Logger   *slog.Logger
}

func (c Config) path() path { return path{fwmark: c.Mark, device: c.Device} }

// Status is the result of the probes. It is immutable.
type Status struct {
	Grade Grade
	RTT   time.Duration // smoothed; 0 before the first answer
	Loss  float64       // moving average, 0 to 1
	MTU   int           // largest IP packet that was answered with DF set; 0 while unknown
	// Of are the grades of IPv4 and IPv6 (V4, V6), for those that are Asked. Of a Pair only.
	Of    [2]Grade
	Asked [2]bool
}

// Prober probes one egress while it is active. Safe for concurrent use.
type Prober struct {
	cfg    Config
	wake   chan struct{}
	echoes bool // an echo was ever answered; of the goroutine of Run
	mu     sync.Mutex
	active bool
	health Health
	status Status
	heard  time.Time // when the last answer came
}

// New returns a prober that is not active yet.
func New(cfg Config) *Prober {
	return &Prober{cfg: cfg, wake: make(chan struct{}, 1), health: Health{HoldDown: cfg.HoldDown}}
}

// Status returns the latest status.
func (p *Prober) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

// SetActive starts or pauses probing. Idempotent, does not block. Becoming active forgets the
// grade: a new connection starts without one.
func (p *Prober) SetActive(active bool) {
	p.mu.Lock()
	changed := p.active != active
	if changed {
		p.active = active
		p.health.Reset()
		p.status = Status{Grade: Unknown}
	}
	p.mu.Unlock()
	if changed {
		p.Kick()
	}
}

// Kick makes the next probe leave at once. Does not block.
func (p *Prober) Kick() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Run probes until ctx ends. It returns nil then; it never gives up before.
func (p *Prober) Run(ctx context.Context) error {
	echo := newEchoer(p.cfg.path(), p.cfg.Nonce)
	defer echo.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	lastMTU, remeasured, asked, seen := time.Time{}, time.Time{}, time.Time{}, Traffic{}
	used := time.Now()
	for {
		kicked := false
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-p.wake:
			kicked = true
			echo.forget() // it may be another connection
		}
		if !p.isActive() {
			timer.Stop() // SetActive wakes us
			continue
		}
		now, unused := p.traffic(), time.Since(used)
		if now.Sent > seen.Sent {
			used, unused = time.Now(), 0
		}
		if kicked || due(p.Status().Grade, p.cfg.Interval, time.Since(asked), seen, now) {
			asked = time.Now()
			p.round(ctx, echo)
			// A full queue drops big packets first: the MTU is measured while there is little
			// traffic.
			if now.Bytes < seen.Bytes+busy/looksInUse && p.wantsMTU(time.Since(lastMTU)) {
				lastMTU = time.Now()
				known := p.Status().MTU
				if known == 0 || lastMTU.Sub(remeasured) > mtuAgain {
					known, remeasured = 0, lastMTU
				}
				p.setMTU(echo.pathMTU(ctx, p.cfg.Targets, known, p.timeout()))
			}
			now = p.traffic() // without what we asked ourselves
		}
		seen = now
		pause := nextLook(p.Status().Grade, p.cfg.Interval, unused)
		timer.Reset(step.Until(time.Now(), pause))
	}
}

// round sends one probe and, if it is not answered, a second one at once. Two misses are an outage,
// and a pause between them would only lengthen it.
func (p *Prober) round(ctx context.Context, echo *echoer) {
	for try := range missesToDegrade {
		before := p.traffic()
		rtt, err := p.ask(ctx, echo, try > 0)
		if ctx.Err() != nil {
			return
		}
		p.record(rtt, err, before.until(p.traffic()))
		if err == nil || p.Status().Grade == Degraded {
			return
		}
	}
}

// ask sends one probe: an echo. It also sends a TCP connection request if echoes were never
// answered or the last one was not. Some providers drop echoes and still work.
func (p *Prober) ask(ctx context.Context, echo *echoer, again bool) (time.Duration, error) {
	if p.echoes && !again {
		return echo.any(ctx, p.cfg.Targets, p.timeout())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		rtt time.Duration
		err error
	}
	byTCP := make(chan answer, 1)
	go func() {
		rtt, err := connect(ctx, p.cfg.path(), p.cfg.Targets, p.timeout())
		if err == nil && again {
			defer cancel() // the echo need not be waited for
		}
		byTCP <- answer{rtt, err}
	}()
	rtt, err := echo.any(ctx, p.cfg.Targets, p.timeout())
	if err == nil {
		p.echoes = true
		return rtt, nil
	}
	if tcp := <-byTCP; tcp.err == nil {
		return tcp.rtt, nil
	}
	return rtt, err
}

// wantsMTU reports whether it is time to measure the path again.
func (p *Prober) wantsMTU(since time.Duration) bool {
	st := p.Status()
	return st.Grade >= Fresh && (since > mtuEvery || st.MTU == 0 && since > mtuRetry)
}

func (p *Prober) traffic() Traffic {
	if p.cfg.Traffic == nil {
		return Traffic{}
	}
	return p.cfg.Traffic()
}

// until returns the load between two moments. Counters begin again with their interface.
func (t Traffic) until(now Traffic) Load {
	switch {
	case now.Received >= t.Received+alive:
		return Alive
	case now.Bytes >= t.Bytes+busy:
		return Busy
	}
	return Idle
}

func (p *Prober) isActive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.active
}

func (p *Prober) timeout() time.Duration {
	rtt := p.Status().RTT
	if rtt == 0 {
		return maxTimeout
	}
	return min(max(4*rtt, minTimeout), maxTimeout)
}

func (p *Prober) setMTU(mtu int) {
	p.mu.Lock()
	changed := p.active && mtu != 0 && mtu != p.status.MTU
	if changed {
		p.status.MTU = mtu
	}
	p.mu.Unlock()
	if changed {
		p.cfg.Notify()
	}
}

func (p *Prober) record(rtt time.Duration, err error, load Load) {
	now := time.Now()
	p.mu.Lock()
	if !p.active {
		p.mu.Unlock()
		return
	}
	before := p.health.Grade()
	if err == nil {
		p.health.Hit(now)
		p.status.RTT = smooth(p.status.RTT, rtt, now.Sub(p.heard)/p.cfg.Interval)
		p.heard = now
	} else {
		p.health.Miss(now, load)
	}
	after := p.health.Grade()
	p.status.Loss = p.health.Loss()
	if after != before {
		p.status.Grade = after
	}
	p.mu.Unlock()
	if after != before {
		p.cfg.Logger.Info("probe grade changed", "egress", p.cfg.Egress, "from", before, "to",
			after, "cause", err)
		p.cfg.Notify()
	}
}

// smooth is the estimator of RFC 6298, section 2.3, with alpha = 1/8, after n intervals. If probes
// are rare, an old average counts less.
func smooth(old, sample time.Duration, n time.Duration) time.Duration {
	if old == 0 {
		return sample
	}
	for range min(max(n, 1), rest) {
		old += (sample - old) / 8
	}
	return old
}

package pathcheck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// tries is how often a question is asked before silence counts, pause apart: one lost packet
	// is no fault, and three in a row are what a client would notice.
	tries = 3
	pause = 400 * time.Millisecond
	// Quiet is how often a path that works is checked though nothing changed: 700 KB a day for
	// each client.
	Quiet = time.Minute
	// retryFirst and retryMax bound the pause before a path that failed is checked again.
	retryFirst = time.Second
	retryMax   = 30 * time.Second
	// trafficTrusted is how long traffic of real clients may stand for a check.
	trafficTrusted = 10 * time.Minute
	// udpEvery is how often UDP is tried on a path that works: its packets must be large.
	udpEvery = 10 * time.Minute
	// gather is how long after a change the check begins, so that several changes make one check.
	gather = 250 * time.Millisecond
)

// ErrDevice reports that the device could not be opened or does not work any more.
var ErrDevice = errors.New("the device of the path check is not usable")

// ErrNoTarget reports that a client has nobody to ask.
var ErrNoTarget = errors.New("the path check has no target")

// Client is a client of the box's own, with an address and so a policy of its own.
type Client struct {
	Key     string // names it in Status; unique
	Addr    netip.Addr
	Targets []netip.Addr // hosts that are asked, of the address's IP version; empty: no check
	Steered bool         // its DNS queries are steered to a resolver
	// Plan names everything that decides where its packets go. When it changes, the path is
	// checked at once.
	Plan string
	// stands holds how kinds were answered last that there is no need to ask again.
	stands map[Kind]Outcome
}

// Config says by which device to check.
type Config struct {
	// Open opens the device; it is called again after the device failed. The Checker closes it.
	Open func() (io.ReadWriteCloser, error)
	// Busy reports whether packets of real clients with the same path were answered since it was
	// last called for that key. Nil: never.
	Busy   func(key string) bool
	Notify func() // called when a result came that differs from the last; must not block
	Logger *slog.Logger
}

// Checker checks the paths of its clients. Safe for concurrent use.
type Checker struct {
	cfg  Config
	wake chan struct{}

	mu      sync.Mutex
	dev     io.Writer // nil while the device is not open
	clients []Client
	next    map[string]time.Time     // when each is due
	kicked  map[string]bool          // to be checked whatever others prove
	wait    map[string]time.Duration // the pause after the last failure
	results map[string]Result
	asked   map[string][kinds]time.Time   // when each was asked last
	waiting map[Kind]map[uint16]*question // by id of the probe
	// opened holds the hop limit with which a target accepted a client's connection last
	opened map[target]uint8
	named  map[string]bool // whether a client was answered by a resolver that looks names up
}

// question is a probe whose answer is awaited.
type question struct {
	probe
	sent time.Time
	got  chan answer
}

// New returns a checker without clients.
func New(cfg Config) *Checker {
	c := &Checker{cfg: cfg, wake: make(chan struct{}, 1), next: map[string]time.Time{},
		kicked: map[string]bool{}, wait: map[string]time.Duration{}, results: map[string]Result{},
		asked: map[string][kinds]time.Time{}, waiting: map[Kind]map[uint16]*question{},
		opened: map[target]uint8{}, named: map[string]bool{}}
	for _, k := range Kinds {
		c.waiting[k] = map[uint16]*question{}
	}
	return c
}

// Set replaces the clients. One that is new, or whose plan changed, is checked soon. Idempotent,
// does not block.
func (c *Checker) Set(clients []Client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := map[string]Client{}
	for _, o := range c.clients {
		old[o.Key] = o
	}
	next := map[string]time.Time{}
	for _, n := range clients {
		next[n.Key] = c.next[n.Key]
		if r, ok := c.results[n.Key]; ok && !slices.Equal(old[n.Key].Targets, n.Targets) {
			r.Ever = [kinds]bool{}
			c.results[n.Key] = r
		}
		if o, ok := old[n.Key]; !ok || o.Plan != n.Plan || o.Steered != n.Steered ||
			o.Addr != n.Addr || !slices.Equal(o.Targets, n.Targets) {
			next[n.Key] = time.Now().Add(gather)
			delete(c.wait, n.Key)
			delete(c.asked, n.Key)
		}
		delete(old, n.Key)
	}
	for key := range old {
		delete(c.results, key)
		delete(c.wait, key)
		delete(c.kicked, key)
		delete(c.asked, key)
		maps.DeleteFunc(c.opened, func(t target, _ uint8) bool { return t.client == key })
		delete(c.named, key)
	}
	c.clients, c.next = slices.Clone(clients), next
	c.poke()
}

// Kick has all clients checked soon: something changed that may matter to them. Does not block.
func (c *Checker) Kick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	soon := time.Now().Add(gather)
	for key, at := range c.next {
		c.kicked[key] = true
		if at.After(soon) {
			c.next[key] = soon
		}
	}
	c.poke()
}

func (c *Checker) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Status returns the last result of each client that was checked.
func (c *Checker) Status() map[string]Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.results)
}

// Run checks until ctx ends, and then returns nil. It fails with ErrDevice when the device does.
func (c *Checker) Run(ctx context.Context) error {
	dev, err := c.cfg.Open()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDevice, err)
	}
	var readers sync.WaitGroup
	ctx, cancel := context.WithCancelCause(ctx)
	c.use(dev)
	defer c.use(nil)
	readers.Go(func() { cancel(c.read(dev)) })
	c.loop(ctx, dev)
	_ = dev.Close() // ends the reader
	readers.Wait()
	if err := context.Cause(ctx); errors.Is(err, ErrDevice) {
		return err
	}
	return nil
}

func (c *Checker) use(dev io.Writer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dev = dev
}

// Ask checks one client now and keeps the result to itself. It blocks until the answers are there,
// or should be. It fails with ErrDevice while Run is not running, and with ErrNoTarget where there
// is nobody to ask.
func (c *Checker) Ask(ctx context.Context, client Client) (Result, error) {
	c.mu.Lock()
	dev := c.dev
	c.mu.Unlock()
	switch {
	case len(client.Targets) == 0:
		return Result{}, ErrNoTarget
	case dev == nil:
		return Result{}, ErrDevice
	}
	r := c.check(ctx, dev, client)
	return r, r.Err
}

func (c *Checker) loop(ctx context.Context, dev io.Writer) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-c.wake:
		}
		due, next := c.due(time.Now())
		var asking sync.WaitGroup
		for _, client := range due {
			asking.Go(func() { c.record(client, c.check(ctx, dev, client)) })
		}
		asking.Wait()
		if len(due) > 0 {
			_, next = c.due(time.Now())
		}
		if next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(max(time.Until(next), 0))
		}
	}
}

// due returns the clients to be checked now, and when the next ones are; zero if none will be.
// While the traffic of others proves the path, those that worked ask only what it does not prove:
// that names are answered, and that connections open. UDP is asked now and then alone.
func (c *Checker) due(now time.Time) (due []Client, next time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, client := range c.clients {
		at := c.next[client.Key]
		if !at.After(now) && len(client.Targets) > 0 {
			last := c.results[client.Key]
			quiet := last.Works() && last.Plan == client.Plan && now.Sub(last.At) >= Quiet
			quiet = quiet && !c.kicked[client.Key]
			asked := c.asked[client.Key]
			client.stands = map[Kind]Outcome{}
			if quiet && now.Sub(asked[UDP]) < udpEvery {
				client.stands[UDP] = last.Outcomes[UDP]
			}
			if quiet && now.Sub(asked[Echo]) < trafficTrusted && c.cfg.Busy != nil &&
				c.cfg.Busy(client.Key) {
				client.stands[Echo] = last.Outcomes[Echo]
			}
			delete(c.kicked, client.Key)
			due = append(due, client)
		}
		if at.After(now) && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return due, next
}

// record keeps a result, unless the client changed meanwhile.
func (c *Checker) record(client Client, r Result) {
	c.mu.Lock()
	i := slices.IndexFunc(c.clients, func(o Client) bool { return o.Key == client.Key })
	if i < 0 {
		c.mu.Unlock()
		return
	}
	last, known := c.results[client.Key]
	asked := c.asked[client.Key]
	for k, o := range r.Outcomes {
		if _, stands := client.stands[Kind(k)]; !stands {
			asked[k] = r.At
		}
		r.Ever[k] = o.Answered || last.Ever[k]
	}
	c.asked[client.Key] = asked
	if !r.Ever[UDP] { // many hosts do not answer it, which says nothing of the path
		r.Outcomes[UDP] = Outcome{}
	}
	c.results[client.Key] = r
	if r.Works() {
		delete(c.wait, client.Key)
		c.next[client.Key] = r.At.Add(Quiet)
	} else {
		wait := min(max(2*c.wait[client.Key], retryFirst), retryMax)
		c.wait[client.Key] = wait
		c.next[client.Key] = r.At.Add(wait)
	}
	if c.clients[i].Plan != client.Plan {
		c.next[client.Key] = r.At
	}
	c.mu.Unlock()
	if !known || last.Plan != r.Plan || !same(last, r) {
		c.cfg.Logger.Debug("path checked", "client", client.Key, "works", r.Works())
		c.cfg.Notify()
	}
}

// check asks all kinds at once. It takes up to tries × pause.
func (c *Checker) check(ctx context.Context, dev io.Writer, client Client) Result {
	r := Result{Plan: client.Plan}
	var errs [kinds]error
	var asking sync.WaitGroup
	for _, k := range Kinds {
		if o, stands := client.stands[k]; stands {
			r.Outcomes[k] = o
			continue
		}
		if k == DNS && !client.Steered {
			continue
		}
		asking.Go(func() { r.Outcomes[k], errs[k] = c.ask(ctx, dev, k, client) })
	}
	asking.Wait()
	r.At, r.Err = time.Now(), errors.Join(errs[:]...)
	return r
}

func (c *Checker) expect(p probe) *question {
	q := &question{probe: p, sent: time.Now(), got: make(chan answer, 1)}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting[p.kind][p.id] = q
	return q
}

func (c *Checker) forget(p probe) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting[p.kind], p.id)
}

// read gives answers to those who wait for them, until the device fails or is closed.
func (c *Checker) read(dev io.Reader) error {
	buf := make([]byte, 4096)
	for {
		n, err := dev.Read(buf)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDevice, err)
		}
		if a, ok := parse(buf[:n]); ok {
			c.deliver(a)
		}
	}
}

func (c *Checker) deliver(a answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, q := range c.waiting[a.kind] {
		if a.answers(q.probe) {
			select {
			case q.got <- a:
			default: // answered already
			}
		}
	}
}

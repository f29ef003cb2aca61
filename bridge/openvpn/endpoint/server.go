package endpoint

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// lookInterval is how often the key store is looked at for changes by commands: a revoked
	// client's session must end within a second.
	lookInterval = 250 * time.Millisecond
	// renewInterval is how often the keys are asked for though nothing changed, so that they are
	// renewed.
	renewInterval = time.Hour
	// refreshRetry is how soon they are asked for again when they could not be had.
	refreshRetry = 10 * time.Second
	// expiryInterval is how often sessions are looked at though nothing changed: clients expire.
	expiryInterval = 10 * time.Second
	// lastWords is how long a message to a client may take before its session is cut.
	lastWords = 200 * time.Millisecond
)

// Server runs the endpoint. Make one with New.
type Server struct {
	config    Config
	log       *slog.Logger
	sessions  *sessions
	listeners []*listener

	mu   sync.Mutex
	keys Keys
}

// New checks the configuration. Nothing is started.
func New(c Config) (*Server, error) {
	if len(c.Listeners) == 0 {
		return nil, errors.New("making the endpoint: it listens nowhere")
	}
	if c.Program == "" {
		c.Program = "openvpn"
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	s := &Server{config: c, log: c.Log, sessions: newSessions()}
	for i, l := range c.Listeners {
		if l.Proto != "udp" && l.Proto != "tcp" {
			return nil, fmt.Errorf("making the endpoint: %q is not a protocol", l.Proto)
		}
		for _, p := range l.Pool.Prefixes() {
			if !p.IsValid() {
				return nil, fmt.Errorf("making the endpoint: %s lacks a pool", l.Name())
			}
			for _, o := range c.Listeners[:i] {
				if slices.ContainsFunc(o.Pool.Prefixes(), p.Overlaps) {
					return nil, fmt.Errorf("making the endpoint: the pools of %s and %s overlap",
						o.Name(), l.Name())
				}
			}
		}
		s.listeners = append(s.listeners, newListener(l, s))
	}
	return s, nil
}

// Run runs the listeners until ctx ends, and returns nil then. A listener that fails is started
// again; what is wrong with it is in its status.
func (s *Server) Run(ctx context.Context) error {
	keys, err := s.config.Registry.Keys()
	if err != nil {
		return fmt.Errorf("running the endpoint: %w", err)
	}
	s.setKeys(keys)
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range s.listeners {
		g.Go(func() error {
			l.run(ctx)
			return nil
		})
	}
	g.Go(func() error {
		s.watch(ctx)
		return nil
	})
	return g.Wait()
}

// Status returns a snapshot.
func (s *Server) Status() Status {
	st := Status{Clients: s.sessions.status()}
	for _, l := range s.listeners {
		st.Listeners = append(st.Listeners, l.snapshot())
	}
	return st
}

// Disconnect ends the sessions of a client and returns how many there were. The client may come
// back at once, unless it is revoked. It blocks for some hundred milliseconds.
func (s *Server) Disconnect(name string) (int, error) {
	var list []held
	for _, h := range s.sessions.all() {
		if h.name == name {
			list = append(list, h)
		}
	}
	return len(list), end(list, func(held) string {
		return restartMessage +
			"disconnected by the operator"
	})
}

// end tells each client why, and ends its session a moment later, whether it has listened or not.
func end(list []held, message func(held) string) error {
	var errs error
	for _, h := range list {
		errs = errors.Join(errs, h.link.tell(h.key.cid, message(h)))
	}
	if len(list) > 0 {
		time.Sleep(lastWords)
	}
	for _, h := range list {
		if err := h.link.kill(h.name); err != nil {
			errs = errors.Join(errs,
				fmt.Errorf("ending a session of %s on %s: %w", h.name, h.key.listener, err))
		}
	}
	return errs
}

// watch follows the key store and the networks until ctx ends.
func (s *Server) watch(ctx context.Context) {
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	stamp, renewed, evicted := s.config.Registry.Stamp(), s.wall(), s.wall()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := s.config.Registry.Stamp()
		changed := now != stamp
		stamp = now
		if changed || s.passed(evicted, expiryInterval) {
			evicted = s.wall()
			s.evict() // before the keys, which take longer
		}
		if changed || s.passed(renewed, renewInterval) {
			renewed = s.wall()
			if err := s.refresh(); err != nil {
				s.log.Error("reading the keys", "error", err)
				renewed = renewed.Add(refreshRetry - renewInterval)
			}
		}
		s.reroute()
		for _, l := range s.listeners {
			l.checkDevice()
		}
	}
}

// wall is the time of day. What is valid until then, and not how long this program has run,
// decides: a clock that is set, or a machine that slept, counts as time that has passed.
func (s *Server) wall() time.Time { return s.config.Now().Round(0) }

// passed says whether an interval has passed, or the clock was set back.
func (s *Server) passed(since time.Time, interval time.Duration) bool {
	elapsed := s.wall().Sub(since)
	return elapsed < 0 || elapsed >= interval
}

// evict ends the sessions of clients that would not be admitted any more.
func (s *Server) evict() {
	open := s.sessions.all() // before the clients, of which none of them can then be too new
	clients, err := s.config.Registry.Clients()
	if err != nil {
		s.log.Error("looking up the clients", "error", err)
		return // an unreadable store lets nobody in, but throws nobody out
	}
	var list []held
	reasons := map[sessionKey]*denial{}
	for _, h := range open {
		client, known := clients[h.name]
		var lookup error
		if !known {
			lookup = ErrUnknownClient
		}
		if no := admit(request{name: h.name, serial: h.serial}, client, lookup,
			s.config.Now()); no != nil {
			s.log.Info("ending a session", "client", h.name, "reason", no.reason)
			list, reasons[h.key] = append(list, h), no
		}
	}
	if err := end(list, func(h held) string {
		return haltMessage +
			reasons[h.key].public
	}); err != nil {
		s.log.Error("ending sessions", "error", err)
	}
}

// reroute has clients connect anew that lack a route to a network. One that has a route too many
// keeps it: the network may come back, and until then nobody answers there.
func (s *Server) reroute() {
	list := s.sessions.lacking(s.networks())
	for _, h := range list {
		s.log.Info("ending a session", "client", h.name, "reason",
			"there is a network that it has no route to")
	}
	if err := end(list, func(held) string {
		return restartMessage +
			"there are new networks"
	}); err != nil {
		s.log.Error("ending sessions", "error", err)
	}
}

// refresh brings new keys to the listeners.
func (s *Server) refresh() error {
	keys, err := s.config.Registry.Keys()
	if err != nil {
		return err
	}
	old := s.setKeys(keys)
	for _, l := range s.listeners {
		if old.CRL != keys.CRL {
			l.writeCRL(keys.CRL)
		}
	}
	old.CRL = keys.CRL
	if old == keys {
		return nil
	}
	s.log.Info("the server's keys have changed, restarting the listeners")
	for _, l := range s.listeners {
		l.restart()
	}
	return nil
}

func (s *Server) setKeys(k Keys) (old Keys) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, s.keys = s.keys, k
	return old
}

func (s *Server) currentKeys() Keys {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys
}

func (s *Server) networks() []netip.Prefix {
	if s.config.Networks == nil {
		return nil
	}
	return s.config.Networks()
}

func (s *Server) notify() {
	if s.config.Notify != nil {
		s.config.Notify()
	}
}

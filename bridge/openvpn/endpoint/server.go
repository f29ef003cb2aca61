package endpoint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"ztbridge/bridge/step"
)

const (
	// pollInterval is how often the key store is checked for changes by commands. A revoked
	// client's session must end within a second. idlePoll applies while there is no session.
	pollInterval, idlePoll = 250 * time.Millisecond, time.Second
	// renewInterval is how often the keys are read though nothing changed, which renews them.
	renewInterval = time.Hour
	// refreshRetry is how soon the keys are read again after an error.
	refreshRetry = 10 * time.Second
	// expiryInterval is how often sessions are checked for clients that have expired.
	expiryInterval = 10 * time.Second
	// messageDelay is how long a message to a client may take before its session ends.
	messageDelay = 200 * time.Millisecond
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
		return nil, errors.New("making the endpoint: no listener is configured")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Log = cmp.Or(c.Log, slog.Default())
	if !filepath.IsAbs(c.RuntimeDir) { // openvpn runs in another directory
		return nil, fmt.Errorf("making the endpoint: the runtime directory %q is not absolute",
			c.RuntimeDir)
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
	if err := allowFiles(); err != nil {
		s.log.Warn("a flood of connections could make openvpn fail", "error", err)
	}
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
	var list []sessionRef
	for _, h := range s.sessions.all() {
		if h.name == name {
			list = append(list, h)
		}
	}
	return len(list), endSessions(list, func(sessionRef) string {
		return restartMessage + "disconnected by the operator"
	})
}

// endSessions sends each client a message and ends its session after messageDelay. Those of a
// process that hangs delay no others.
func endSessions(list []sessionRef, message func(sessionRef) string) error {
	byProcess := map[sessionEnder][]sessionRef{}
	for _, h := range list {
		byProcess[h.ender] = append(byProcess[h.ender], h)
	}
	var g errgroup.Group
	for _, list := range byProcess {
		g.Go(func() error { return endOfProcess(list, message) })
	}
	return g.Wait()
}

func endOfProcess(list []sessionRef, message func(sessionRef) string) error {
	var errs error
	for _, h := range list {
		errs = errors.Join(errs, h.ender.notify(h.key.cid, message(h)))
	}
	time.Sleep(messageDelay)
	for _, h := range list {
		if err := h.ender.disconnect(h.name); err != nil {
			errs = errors.Join(errs,
				fmt.Errorf("ending a session of %s on %s: %w", h.name, h.key.listener, err))
		}
	}
	return errs
}

// watch follows the key store and the networks until ctx ends.
func (s *Server) watch(ctx context.Context) {
	tick := time.NewTimer(0)
	defer tick.Stop()
	stamp, renewed, checked := s.config.Registry.Stamp(), s.wall(), s.wall()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			pause := pollInterval
			if s.sessions.none() {
				pause = idlePoll
			}
			tick.Reset(step.Until(time.Now(), pause))
		}
		now := s.config.Registry.Stamp()
		changed := now != stamp
		stamp = now
		if changed || s.elapsed(checked, expiryInterval) {
			checked = s.wall()
			s.endInvalid() // before the keys, which take longer
		}
		if changed || s.elapsed(renewed, renewInterval) {
			renewed = s.wall()
			if err := s.refreshKeys(); err != nil {
				s.log.Error("reading the keys", "error", err)
				renewed = renewed.Add(refreshRetry - renewInterval)
			}
		}
		s.endWithoutRoutes()
		for _, l := range s.listeners {
			l.checkDevice()
		}
	}
}

// wall returns the time of day, without the monotonic clock. Certificates expire by the time of
// day, also while the machine sleeps or after the clock is set.
func (s *Server) wall() time.Time { return s.config.Now().Round(0) }

// elapsed reports whether an interval has passed, or the clock was set back.
func (s *Server) elapsed(since time.Time, interval time.Duration) bool {
	d := s.wall().Sub(since)
	return d < 0 || d >= interval
}

// endInvalid ends the sessions of clients that would not be admitted any more.
func (s *Server) endInvalid() {
	open := s.sessions.all() // read first: a session must not be newer than the list of clients
	clients, err := s.config.Registry.Clients()
	if err != nil {
		s.log.Error("looking up the clients", "error", err)
		return // an unreadable store admits nobody, and ends no session
	}
	var list []sessionRef
	reasons := map[sessionKey]*denial{}
	for _, h := range open {
		client, known := clients[h.name]
		var lookup error
		if !known {
			lookup = ErrUnknownClient
		}
		if no := checkAccess(request{name: h.name, serial: h.serial}, client, lookup,
			s.config.Now()); no != nil {
			s.log.Info("ending a session", "client", h.name, "reason", no.reason)
			list, reasons[h.key] = append(list, h), no
		}
	}
	if err := endSessions(list, func(h sessionRef) string {
		return haltMessage + reasons[h.key].public
	}); err != nil {
		s.log.Error("ending sessions", "error", err)
	}
}

// endWithoutRoutes makes clients reconnect that lack a route to a network. A route to a network
// that is gone stays: nobody answers there, and the network may come back.
func (s *Server) endWithoutRoutes() {
	list := s.sessions.missingRoutes(s.networks())
	for _, h := range list {
		s.log.Info("ending a session", "client", h.name, "reason",
			"it lacks a route to a new network")
	}
	if err := endSessions(list, func(sessionRef) string {
		return restartMessage + "there are new networks"
	}); err != nil {
		s.log.Error("ending sessions", "error", err)
	}
}

// refreshKeys gives new keys to the listeners.
func (s *Server) refreshKeys() error {
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

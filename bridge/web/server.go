package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"ztbridge/bridge/api"
	"ztbridge/bridge/certfile"
	"ztbridge/bridge/clients"
	"ztbridge/bridge/connlimit"
)

const (
	ioTimeout       = 30 * time.Second
	shutdownTimeout = 2 * time.Second
	// placesEvery is how often the interfaces are looked at though nothing is told to have changed.
	placesEvery = 5 * time.Second
)

// Config configures a Server.
type Config struct {
	Backend api.Backend
	// Clients returns the endpoint's clients; api.ErrNoEndpoint, or a nil Clients: there is none.
	Clients func() (*clients.Roster, error)
	Tools   Tools
	// ImportSocket is where profiles are put in force: see api.Import.
	ImportSocket string
	Dir          string // private, for passwords and the log of actions; made when it is needed
	Port         uint16
	HTTPSPort    uint16           // speaks TLS by Cert
	Cert         *certfile.File   // nil: there is none
	LAN          bool             // serves the LAN as well
	Box          string           // the box's name
	Names        []string         // host names that browsers may ask for, besides addresses
	Now          func() time.Time // time.Now when nil
	Log          *slog.Logger
}

// Server serves the page. Make one with New.
type Server struct {
	config    Config
	accounts  *Accounts
	sessions  *sessions
	audit     *audit
	feed      *feed
	assets    map[string]asset
	templates map[string]*template.Template
	streams   streams
	requests  connlimit.Sources
	wrong     connlimit.Sources          // wrong passwords
	choices   *connlimit.Limiter[string] // of one device
	memberKey []byte                     // makes the tokens of members' forms
	allWrong  *rate.Limiter
	upload    upload
	sent      sentForms

	making sync.Mutex // a file for a download
	opened sync.Mutex // the network at its controller

	mu    sync.Mutex
	fault error // why it is not served on some interface
}

// New returns a server that listens nowhere yet.
func New(c Config) *Server {
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Server{
		config: c, accounts: OpenAccounts(c.Dir), audit: &audit{dir: c.Dir, log: c.Log},
		feed: newFeed(c.Backend), assets: assets(),
		allWrong: rate.NewLimiter(rate.Every(allEvery), allBurst),
	}
	s.limitBy(c.Now)
	s.templates = parseTemplates(s.assets)
	s.streams.of = map[source]int{}
	s.memberKey = []byte(random())
	s.sessions = newSessions(c.Now, s.accounts.current)
	return s
}

// limitBy begins to count what each source does, by a clock.
func (s *Server) limitBy(now func() time.Time) {
	s.requests = connlimit.NewSources(requestRate, requestBurst, networkRequests, now)
	s.choices = connlimit.NewLimiter[string](rate.Every(chooseEvery), chooseBurst, now)
	s.wrong = connlimit.NewSources(rate.Every(wrongEvery), wrongBurst, networkWrong, now)
}

// Fault returns why the page is not served on an interface where it should be; nil: it is.
func (s *Server) Fault() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault
}

// Run serves the page until ctx ends, on the interfaces that the status names at each time.
func (s *Server) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	if err := s.forget(); err != nil { // of an earlier run
		s.config.Log.Warn("removing an upload failed", "error", err)
	}
	wg.Go(func() { s.feed.run(ctx) })
	srv := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: ioTimeout, ReadTimeout: ioTimeout, WriteTimeout: ioTimeout,
		IdleTimeout:    2 * ioTimeout,
		MaxHeaderBytes: 16 << 10,
		BaseContext:    func(net.Listener) context.Context { return ctx },
		ConnContext:    withArrival,
		ErrorLog:       slog.NewLogLogger(s.config.Log.Handler(), slog.LevelDebug),
	}
	open := map[place]net.Listener{}
	changes := s.config.Backend.Changes(ctx)
	tick := time.NewTicker(placesEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		if _, err := s.accounts.claimLeft(); err != nil && !errors.Is(err, ErrNoClaim) {
			s.config.Log.Warn("the time for a claim is not counted", "error", err)
		}
		s.follow(ctx, open, func(l net.Listener) { wg.Go(func() { s.serve(srv, l) }) })
		select {
		case <-ctx.Done():
		case <-changes:
		case <-tick.C:
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := srv.Shutdown(last); err != nil {
		_ = srv.Close()
	}
}

// follow makes the open listeners those that the status asks for.
func (s *Server) follow(ctx context.Context, open map[place]net.Listener,
	serve func(net.Listener)) {
	wanted := placesOf(s.config.Backend.Status(), s.config.LAN)
	for _, p := range wanted {
		if s.config.Cert != nil {
			p.secure = true
			wanted = append(wanted, p)
		}
	}
	for p, l := range open {
		if !slices.Contains(wanted, p) {
			_ = l.Close() // its server ends by it
			delete(open, p)
		}
	}
	var faults []error
	for _, p := range wanted {
		if open[p] != nil {
			continue
		}
		port := s.config.Port
		if p.secure {
			port = s.config.HTTPSPort
		}
		l, err := listen(ctx, p, port)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if p.secure {
			l = tls.NewListener(l, s.tlsConfig())
		}
		open[p] = l
		s.config.Log.Info("page served", "interface", p.iface, "port", port)
		serve(l)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = errors.Join(faults...)
}

func (s *Server) serve(srv *http.Server, l net.Listener) {
	err := srv.Serve(l)
	if !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		s.config.Log.Warn("serving the page ended", "error", fmt.Errorf("accepting: %w", err))
	}
}

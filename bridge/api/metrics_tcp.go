package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/time/rate"

	"ztbridge/bridge/connlimit"
	"ztbridge/bridge/sockopt"
)

const (
	// lookEvery is how often it is checked whether an address has come, gone or moved to another
	// interface.
	lookEvery      = 5 * time.Second
	maxScrapers    = 32
	maxOneScraper  = 8
	metricsTimeout = 10 * time.Second
	// What a source may guess at once and again, and how many sources a /64 of IPv6 counts as.
	wrongBurst, wrongEvery, networkWrong = 10, 10 * time.Second, 4
)

// MetricsSettings say where metrics are served by TCP.
type MetricsSettings struct {
	Listen []netip.AddrPort // private addresses of this box
	// User and Password are asked for, unless User is empty. The password may be a bcrypt hash.
	User, Password string
}

// MetricsServer serves metrics by TCP on interfaces that hold the configured addresses, and on no
// others: a packet that comes by an egress does not get there. Safe for concurrent use.
type MetricsServer struct {
	status func() Status
	log    *slog.Logger
	mu     sync.Mutex
	want   MetricsSettings
	stops  []context.CancelFunc
	ctx    context.Context
	wg     sync.WaitGroup
}

// NewMetricsServer returns a server that serves nothing yet. status must cost no pass.
func NewMetricsServer(ctx context.Context, status func() Status, log *slog.Logger) *MetricsServer {
	return &MetricsServer{status: status, log: log, ctx: ctx}
}

// Configure serves by these settings from now on. It does not wait; what is configured as before
// goes on.
func (s *MetricsServer) Configure(want MetricsSettings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	same := slices.Equal(want.Listen, s.want.Listen) && want.User == s.want.User &&
		want.Password == s.want.Password
	if same {
		return
	}
	for _, stop := range s.stops {
		stop()
	}
	s.stops, s.want = nil, want
	handler := want.handler(s.status)
	for _, at := range want.Listen {
		ctx, stop := context.WithCancel(s.ctx)
		s.stops = append(s.stops, stop)
		s.wg.Go(func() { s.keep(ctx, at, handler) })
	}
}

// Wait returns when the context of NewMetricsServer has ended and nothing is served any more.
func (s *MetricsServer) Wait() { s.wg.Wait() }

// handler returns GET /metrics behind the password.
func (m MetricsSettings) handler(status func() Status) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(newCollector(status))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry,
		promhttp.HandlerOpts{MaxRequestsInFlight: maxOneScraper}))
	if m.User == "" {
		return mux
	}
	return &passwordGate{settings: m, next: mux,
		tries: connlimit.NewSources(rate.Every(wrongEvery), wrongBurst, networkWrong, time.Now)}
}

// passwordGate lets those through who know the password. A source may guess so often only: what is
// compared costs time where it is a hash.
type passwordGate struct {
	settings MetricsSettings
	next     http.Handler
	tries    connlimit.Sources
	right    atomic.Pointer[[sha256.Size]byte] // of what was right before
}

// ServeHTTP implements http.Handler.
func (g *passwordGate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, password, given := r.BasicAuth()
	sum := sha256.Sum256([]byte(user + "\x00" + password))
	known := g.right.Load()
	remote, _ := netip.ParseAddrPort(r.RemoteAddr)
	from := remote.Addr().Unmap().WithZone("")
	switch {
	case !given:
		unauthorized(w)
	case g.tries.Wait(from) > 0:
		w.Header().Set("Retry-After", strconv.Itoa(int(wrongEvery.Seconds())))
		http.Error(w, "too many wrong passwords", http.StatusTooManyRequests)
	case known != nil && subtle.ConstantTimeCompare(known[:], sum[:]) == 1:
		g.next.ServeHTTP(w, r)
	case !g.tries.Take(from) || !g.settings.admits(user, password):
		unauthorized(w)
	default:
		g.right.Store(&sum)
		g.next.ServeHTTP(w, r)
	}
}

func unauthorized(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Basic realm="ztbridge metrics"`)
	http.Error(w, "user name and password, please", http.StatusUnauthorized)
}

func (m MetricsSettings) admits(user, password string) bool {
	given, want := sha256.Sum256([]byte(user)), sha256.Sum256([]byte(m.User))
	right := subtle.ConstantTimeCompare(given[:], want[:]) == 1
	if strings.HasPrefix(m.Password, "$2") {
		return right && bcrypt.CompareHashAndPassword([]byte(m.Password), []byte(password)) == nil
	}
	given, want = sha256.Sum256([]byte(password)), sha256.Sum256([]byte(m.Password))
	return subtle.ConstantTimeCompare(given[:], want[:]) == 1 && right
}

// keep serves on one address whenever an interface that may has it.
func (s *MetricsServer) keep(ctx context.Context, at netip.AddrPort, handler http.Handler) {
	told := ""
	for ctx.Err() == nil {
		iface, err := s.holder(at.Addr())
		if err == nil {
			err = s.serveOn(ctx, at, iface, handler)
		}
		if err != nil && err.Error() != told {
			s.log.Warn("metrics are not served", "address", at, "error", err)
			told = err.Error()
		}
		select {
		case <-ctx.Done():
		case <-time.After(lookEvery):
		}
	}
}

// holder returns the interface that has an address. One that is a way out is none.
func (s *MetricsServer) holder(addr netip.Addr) (net.Interface, error) {
	ifaces, err := net.Interfaces()
	if err != nil {
		return net.Interface{}, fmt.Errorf("listing interfaces: %w", err)
	}
	for _, iface := range ifaces {
		if !holds(iface, addr) {
			continue
		}
		if slices.ContainsFunc(s.status().Egresses, func(e Egress) bool {
			return e.Kind == "openvpn" && e.Interface == iface.Name
		}) {
			return net.Interface{}, fmt.Errorf("%s is the address of an egress", addr)
		}
		return iface, nil
	}
	return net.Interface{}, fmt.Errorf("no interface has the address %s yet", addr)
}

func holds(iface net.Interface, addr netip.Addr) bool {
	addrs, err := iface.Addrs()
	return err == nil && slices.ContainsFunc(addrs, func(a net.Addr) bool {
		p, err := netip.ParsePrefix(a.String())
		return err == nil && p.Addr() == addr
	})
}

// serveOn serves until ctx ends or the interface has lost the address.
func (s *MetricsServer) serveOn(ctx context.Context, at netip.AddrPort, iface net.Interface,
	handler http.Handler) error {
	config := net.ListenConfig{Control: sockopt.Control(sockopt.Device(iface.Name))}
	listener, err := config.Listen(ctx, "tcp", at.String())
	if err != nil {
		return fmt.Errorf("serving metrics: %w", err)
	}
	private := connlimit.Admit(listener,
		func(_, remote netip.Addr) bool { return isPrivate(remote) })
	limited := connlimit.New(private, maxScrapers, maxOneScraper, connlimit.OfMembers)
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: headerTimeout,
		WriteTimeout: metricsTimeout, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)}
	s.log.Info("metrics are served", "address", at, "interface", iface.Name)
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(limited) }()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case err := <-failed:
			return fmt.Errorf("serving metrics: %w", err)
		case <-ctx.Done():
		case <-look.C:
			if now, err := s.holder(at.Addr()); err == nil && now.Index == iface.Index {
				continue
			}
		}
		err := srv.Close()
		if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	}
}

// shared are the addresses between a provider and its customers (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")

// isPrivate reports whether an address is of a network that the Internet does not lead to.
func isPrivate(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || shared.Contains(a)
}

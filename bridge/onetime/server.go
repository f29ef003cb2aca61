package onetime

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"ztbridge/bridge/connlimit"
)

const (
	// maxConns bounds the open connections; openvpn passes all of them on from one address. Beyond
	// it the one that has been silent for longest is closed, so that strangers keep nobody out.
	maxConns = 128
	// ioTimeout ends a connection that makes no progress. Profiles are some kilobytes.
	ioTimeout = 15 * time.Second
	// shutdownTimeout is how long open requests may take when the server ends.
	shutdownTimeout = 2 * time.Second
)

// Config configures a Server.
type Config struct {
	// Listen is a loopback address; port 0 takes any free port.
	Listen netip.AddrPort
	// Host and Port are the endpoint's public name or address and its TCP port, as in the links.
	Host string
	Port uint16
	// Dir is a private directory for what outlives a restart: the self-signed certificate and the
	// key of tokens. It is made if it is missing.
	Dir string
	TLS TLS
	Now func() time.Time // time.Now when nil
	Log *slog.Logger     // slog.Default() when nil
}

// ErrDirectory is returned by New when Config.Dir cannot be used.
var ErrDirectory = errors.New("the directory of links cannot be used")

// Server serves one-time links.
type Server struct {
	config   Config
	listener net.Listener
	certs    certificates
	tickets  *tickets
	log      *slog.Logger

	lastByteDelay time.Duration
}

// New binds the listening socket and prepares the certificate. The operator's own may still be
// missing or broken, see Check. The caller must call Run or Close.
func New(c Config) (*Server, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Log = cmp.Or(c.Log, slog.Default())
	if !c.Listen.Addr().IsLoopback() {
		return nil, fmt.Errorf("serving one-time links: %s is not a loopback address", c.Listen)
	}
	key, err := tokenKey(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("serving one-time links: %w", err)
	}
	certs, err := c.openTLS()
	if err != nil {
		return nil, fmt.Errorf("serving one-time links: %w", err)
	}
	l, err := net.Listen("tcp", c.Listen.String())
	if err != nil {
		return nil, fmt.Errorf("serving one-time links: %w", err)
	}
	return &Server{
		config: c, listener: connlimit.New(l, maxConns, 0, connlimit.OfInternet), certs: certs,
		tickets: newTickets(key, c.Now), log: c.Log, lastByteDelay: lastByteDelay,
	}, nil
}

// Addr is the address that the server listens on, for openvpn's port-share.
func (s *Server) Addr() netip.AddrPort {
	addr, ok := s.listener.Addr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return addr.AddrPort()
}

// Check returns why no link can be opened now: the operator's certificate cannot be used, or the
// authority gave none when it was last asked. It reads the files again each time.
func (s *Server) Check() error { return s.certs.check() }

// Close releases the socket of a server that is not run.
func (s *Server) Close() error { return s.listener.Close() }

// Run serves until ctx ends, which is no error. Links that are still open end with it.
func (s *Server) Run(ctx context.Context) error {
	web := &http.Server{
		Handler:           s,
		TLSConfig:         s.certs.config(),
		ReadHeaderTimeout: ioTimeout,
		WriteTimeout:      ioTimeout,
		IdleTimeout:       ioTimeout,
		MaxHeaderBytes:    16 << 10,
		// Broken handshakes of scanners are not logged.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if err := web.Shutdown(last); err != nil {
			_ = web.Close()
		}
	})
	var wg sync.WaitGroup
	defer wg.Wait()
	obtaining, cancel := context.WithCancel(ctx)
	defer cancel()
	if s.certs.run != nil {
		wg.Go(func() { s.certs.run(obtaining) })
	}
	err := web.ServeTLS(s.listener, "", "")
	if stop() {
		return fmt.Errorf("serving one-time links: %w", err)
	}
	<-stopped
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving one-time links: %w", err)
	}
	return nil
}

// ServeHTTP serves the profile of an open link, a page for a link that has ended, and anything else
// as a small web server would.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	if r.URL.Path == "/" {
		writePage(w, http.StatusOK, strangersPage)
		return
	}
	if token := strings.TrimPrefix(r.URL.Path, "/"); len(token) == tokenLen {
		s.serveLink(w, r, token)
		return
	}
	http.NotFound(w, r)
}

// certificates is a source of the server's certificate.
type certificates struct {
	get func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// protos lists further application protocols (ALPN) that the certificate's source answers.
	protos []string
	// run renews the certificate until ctx ends; nil where that is not needed.
	run func(ctx context.Context)
	// check returns, without blocking, why clients will refuse the server, as far as that is known;
	// obtain asks the authority first.
	check, obtain func() error
	// fingerprint is set for a self-signed certificate.
	fingerprint string
}

func (c certificates) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: c.get,
		NextProtos:     append([]string{"h2", "http/1.1"}, c.protos...),
	}
}

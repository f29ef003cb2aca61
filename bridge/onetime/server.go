// Package onetime hands a client its profile once: by a link with a secret token in it, for ten
// minutes and one download, over HTTPS. Its server listens on loopback behind the endpoint's TCP
// port, whose openvpn passes on whatever does not speak OpenVPN. Everybody without a token sees a
// plain web page.
package onetime

import (
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
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/netutil"
)

const (
	// maxConns bounds what strangers can hold open; openvpn passes all of them on from one address.
	maxConns = 128
	// ioTimeout ends a connection that does not go on. Profiles are some kilobytes.
	ioTimeout = 15 * time.Second
	grace     = 2 * time.Second
)

// Config is what a server needs.
type Config struct {
	// Listen is a loopback address; port 0 takes any free port.
	Listen netip.AddrPort
	// Host and Port are where clients reach it: the endpoint's public name or address and its TCP
	// port.
	Host string
	Port uint16
	TLS  TLS
	Now  func() time.Time // time.Now when nil
	Log  *slog.Logger     // slog.Default() when nil
}

// Server serves one-time links.
type Server struct {
	config   Config
	listener net.Listener
	certs    certificates
	tickets  *tickets
	log      *slog.Logger
}

// New binds the listening socket and prepares the certificate. The operator's own may be missing or
// broken yet, see Trouble. The caller must call Run or Close.
func New(c Config) (*Server, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if !c.Listen.Addr().IsLoopback() {
		return nil, fmt.Errorf("serving one-time links: %s is not a loopback address", c.Listen)
	}
	certs, err := c.TLS.open(c.Host, c.Now)
	if err != nil {
		return nil, fmt.Errorf("serving one-time links: %w", err)
	}
	l, err := net.Listen("tcp", c.Listen.String())
	if err != nil {
		return nil, fmt.Errorf("serving one-time links: %w", err)
	}
	return &Server{
		config: c, listener: netutil.LimitListener(l, maxConns), certs: certs,
		tickets: newTickets(c.Now), log: c.Log,
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

// Trouble says why no link can be opened now: the operator's certificate cannot be used, or the
// authority has given none when it was last asked. It looks again each time; what is mended is
// served.
func (s *Server) Trouble() error { return s.certs.trouble() }

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
		// Scanners' broken handshakes are no news.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
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

// ServeHTTP answers a token that is open with its profile, and everything else as any small web
// server would.
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
		header.Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, page) // the visitor may have gone
		return
	}
	if token := r.URL.Path[1:]; len(token) == tokenLen {
		s.serveLink(w, r, token)
		return
	}
	http.NotFound(w, r)
}

// serveLink hands out the profile of an open link. HEAD is how some programs look at a link before
// they open it: it is answered like GET, and does not use the link up.
func (s *Server) serveLink(w http.ResponseWriter, r *http.Request, token string) {
	header := w.Header()
	found, err := s.tickets.redeem(token, r.Method == http.MethodGet)
	switch {
	case errors.Is(err, errTooMany):
		header.Set("Retry-After", "30")
		http.Error(w, "Too Many Requests", http.StatusTooManyRequests)
		return
	case err != nil:
		http.NotFound(w, r)
		return
	case !found.valid():
		s.log.Warn("one-time link refused: its client is not valid any more", "client", found.name)
		http.NotFound(w, r)
		return
	}
	header.Set("Content-Type", "application/x-openvpn-profile")
	header.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", found.name+".ovpn"))
	header.Set("Content-Length", strconv.Itoa(len(found.content)))
	header.Set("Cache-Control", "no-store")
	if r.Method == http.MethodGet {
		s.log.Info("one-time link used", "client", found.name)
		_, _ = w.Write(found.content) // the client may have gone
	}
}

// page is what a visitor without a token sees.
const page = `<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>It works</title></head>
<body><h1>It works</h1><p>There is nothing here yet.</p></body>
</html>
`

// certificates gives the TLS configuration and what a person must know about it.
type certificates struct {
	get func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// protos are further application protocols (ALPN) that the certificate's source answers.
	protos []string
	// run keeps the certificate at hand until ctx ends; nil: nothing is to be done.
	run func(ctx context.Context)
	// trouble says, at once, why clients will refuse the server as far as that is known; ready
	// finds it out.
	trouble, ready func() error
	// fingerprint is set when nobody vouches for the certificate.
	fingerprint string
}

func (c certificates) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: c.get,
		NextProtos:     append([]string{"h2", "http/1.1"}, c.protos...),
	}
}

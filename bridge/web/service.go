package web

import (
	"context"
	"os"
	"path/filepath"
	"sync"

	"ztbridge/bridge/certfile"
)

// Dir returns the directory of the page's passwords and log below a state directory.
func Dir(stateDir string) string { return filepath.Join(stateDir, "page") }

// Settings are what the configuration says of the page.
type Settings struct {
	On   bool
	LAN  bool // on the uplink as well, where that is in a private network
	Port uint16
	// Certificate names the files of a certificate and of its key, by which HTTPSPort speaks TLS as
	// well; empty: there is none.
	Certificate [2]string
	HTTPSPort   uint16
}

// NewService returns a service that serves nothing yet. What the settings and the host decide of c
// is filled in later: ports, certificate, LAN and names.
func NewService(c Config) *Service { return &Service{config: c} }

// Service runs the server of the page as the configuration says. Make one with NewService;
// Configure belongs to one goroutine.
type Service struct {
	config Config
	now    Settings
	end    context.CancelFunc // ends the running server; nil: none has run
	ended  <-chan struct{}    // closed when its ports are free; nil: none has run

	mu     sync.Mutex
	server *Server
}

// Configure starts, ends or replaces the server where the configuration has changed. It does not
// wait: a new server begins when the old one has ended.
func (p *Service) Configure(ctx context.Context, s Settings) {
	if s == p.now {
		return
	}
	before := p.ended
	if p.end != nil {
		p.end()
	}
	p.set(nil)
	p.now = s
	if !s.On {
		return
	}
	name, err := os.Hostname()
	if err != nil {
		name = "ztbridge"
	}
	c := p.config
	c.Port, c.LAN, c.Box = s.Port, s.LAN, name
	if files := s.Certificate; files[0] != "" {
		c.Cert, c.HTTPSPort = certfile.New(files[0], files[1]), s.HTTPSPort
	}
	c.Names = []string{"ztbridge.local", name, name + ".local"}
	server := New(c)
	p.set(server)
	ended := make(chan struct{})
	p.ended = ended
	ctx, p.end = context.WithCancel(ctx)
	go func() {
		defer close(ended)
		if before != nil {
			<-before
		}
		server.Run(ctx)
	}()
}

// Wait returns when no server runs any more; their context must have ended.
func (p *Service) Wait() {
	if p.ended != nil {
		<-p.ended
	}
}

func (p *Service) set(server *Server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.server = server
}

// Fault returns why the page cannot be seen where it should be; nil: it can.
func (p *Service) Fault() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server == nil {
		return nil
	}
	return p.server.Fault()
}

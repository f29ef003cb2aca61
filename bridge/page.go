package bridge

import (
	"context"
	"os"
	"path/filepath"
	"sync"

	"ztbridge/bridge/config"
	"ztbridge/bridge/web"
)

// PageDir returns the directory of the page's passwords and log.
func PageDir(stateDir string) string { return filepath.Join(stateDir, "page") }

// page runs the server of the page as the configuration says. configure belongs to the loop.
type page struct {
	daemon *daemon
	cfg    config.Page
	end    context.CancelFunc // ends the running server; nil: none has run
	ended  <-chan struct{}    // closed when its ports are free; nil: none has run

	mu     sync.Mutex
	server *web.Server
}

// configure starts, ends or replaces the server where the configuration has changed. It does not
// wait: a new server begins when the old one has ended.
func (p *page) configure(ctx context.Context, cfg config.Page) {
	if cfg == p.cfg {
		return
	}
	before := p.ended
	if p.end != nil {
		p.end()
	}
	p.set(nil)
	p.cfg = cfg
	if cfg.Serve == config.PageOff {
		return
	}
	name, err := os.Hostname()
	if err != nil {
		name = "ztbridge"
	}
	server := web.New(web.Config{
		Backend: p.daemon, Dir: PageDir(p.daemon.opts.StateDir), Port: cfg.Port, Box: name,
		Names: []string{"ztbridge.local", name, name + ".local"}, Log: p.daemon.opts.Logger,
	})
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

// wait returns when no server runs any more; their context must have ended.
func (p *page) wait() {
	if p.ended != nil {
		<-p.ended
	}
}

func (p *page) set(server *web.Server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.server = server
}

// fault returns why the page cannot be seen where it should be; nil: it can.
func (p *page) fault() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server == nil {
		return nil
	}
	return p.server.Fault()
}

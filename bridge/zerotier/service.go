package zerotier

import (
	"context"
	"log/slog"
	"net/netip"
)

// Config is what a Service needs. It is not changed after New.
type Config struct {
	// Home is the service's home directory, usually /var/lib/zerotier-one.
	Home string
	// Networks are joined and kept joined. Networks that are not listed are left alone.
	Networks []NetworkID
	// Moon, when set, makes this node a moon.
	Moon *Moon
	// Orbit lists the moons of others to follow.
	Orbit []Address
	// Notify is called after Status changed, from the Service's goroutine. It must not block.
	Notify func()
	// Logger receives transitions, never a secret.
	Logger *slog.Logger
}

// Moon describes the moon that this node is to be.
type Moon struct {
	// Endpoints are the public addresses and ports at which this node is reached, stable over years.
	Endpoints []netip.AddrPort
}

// Service keeps zerotier-one as configured and follows its state.
type Service struct {
	cfg Config
}

// New returns a service that does nothing until Run.
func New(cfg Config) *Service { return &Service{cfg: cfg} }

// Run drives the service until ctx ends, then returns nil. Troubles are reported by Status, never
// returned: what is broken now may work in a minute. Run must be called once.
func (s *Service) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Status returns the latest snapshot. It does not block on the service.
func (s *Service) Status() Status { return Status{} }

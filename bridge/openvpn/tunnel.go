package openvpn

import (
	"context"
	"errors"
)

// Tunnel supervises one openvpn process.
type Tunnel struct{}

// NewTunnel checks the configuration.
func NewTunnel(cfg TunnelConfig) (*Tunnel, error) { return nil, errors.ErrUnsupported }

// Run blocks until ctx ends.
func (t *Tunnel) Run(ctx context.Context) error { return errors.ErrUnsupported }

// Status returns a snapshot.
func (t *Tunnel) Status() TunnelStatus { return TunnelStatus{} }

// Log returns the last lines of openvpn's log.
func (t *Tunnel) Log() []LogLine { return nil }

// Reconnect asks for a new session.
func (t *Tunnel) Reconnect(cause string) {}

// Restart ends the process and starts it anew.
func (t *Tunnel) Restart(cause string) {}

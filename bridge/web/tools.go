package web

import (
	"context"
	"io"

	"ztbridge/bridge/zerotier"
	"ztbridge/bridge/zerotier/controller"
)

// Tools are what the page can do with the box besides what the daemon's backend does.
type Tools struct {
	// Run carries out a command of the program, fed by in and writing to out; nil: none can be.
	Run func(ctx context.Context, in io.Reader, out io.Writer, args ...string) error
	// Restart begins to restart the daemon and does not wait; nil: nobody would start it again.
	Restart func()
	// Update has the box install what is newer and restart into it, within minutes; nil: it cannot.
	Update func() error
	// Network opens the box's ZeroTier network at its controller, which may take seconds; nil: it
	// cannot be. One at a time is open.
	Network func(ctx context.Context) (Network, error)
}

// Network is a ZeroTier network at its controller.
type Network interface {
	// HasController reports whether the network can be read and changed.
	HasController() bool
	// Self returns the box's own address.
	Self() zerotier.Address
	// Members returns the members, the box itself included.
	Members(ctx context.Context) ([]controller.Member, error)
	// Authorize lets a member in, or bars it; who is its address.
	Authorize(ctx context.Context, who string, yes bool) (zerotier.Address, error)
}

package web

import (
	"context"
	"io"

	"ztbridge/bridge/network"
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
	Network func(ctx context.Context, o NetworkOptions) (Network, error)
	// ForgetToken removes the kept token of ZeroTier Central, if there is one.
	ForgetToken func() error
}

// NetworkOptions say which network is meant, where the configuration does not.
type NetworkOptions struct {
	ID    string // of a network that is not configured yet; empty: none is meant
	Token string // of ZeroTier Central, kept where that takes it; empty: the kept one
}

// String hides the token.
func (o NetworkOptions) String() string { return o.ID + " [redacted]" }

// GoString hides the token from %#v.
func (o NetworkOptions) GoString() string { return o.String() }

// Network is a ZeroTier network at its controller.
type Network interface {
	// HasController reports whether the network can be read and changed.
	HasController() bool
	// UsesToken reports whether it is read and changed by a token of ZeroTier Central.
	UsesToken() bool
	// KeptToken returns the file in which a new token was kept, empty if none was.
	KeptToken() string
	// Self returns the box's own address.
	Self() zerotier.Address
	// Members returns the members, the box itself included.
	Members(ctx context.Context) ([]controller.Member, error)
	// Authorize lets a member in, or bars it; who is its address.
	Authorize(ctx context.Context, who string, yes bool) (zerotier.Address, error)
	// PlanSetup returns what the network lacks for members to leave by the box.
	PlanSetup(ctx context.Context, o network.SetupOptions) (*network.Setup, error)
	// PlanTeardown returns what an earlier setup added and still stands.
	PlanTeardown(ctx context.Context) (*network.Teardown, error)
	// Steps returns the plan of a setup as steps for Central's web page.
	Steps(ctx context.Context, o network.SetupOptions) ([]string, error)
}

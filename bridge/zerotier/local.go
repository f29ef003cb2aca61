package zerotier

import "context"

// Local speaks the local API of the zerotier-one whose home directory is given to NewLocal. Its
// methods may be called from any goroutine and block for at most a few seconds.
type Local struct{ client *client }

// NewLocal returns a Local. It reads port and token at each request, not here.
func NewLocal(home string) *Local { return &Local{newClient(home)} }

// Do sends one request and decodes the answer into out, unless that is nil. in is its JSON body,
// unless that is nil. It fails with ErrNotRunning, ErrNoToken, ErrRefused, ErrNotFound or
// ErrUnexpected.
func (l *Local) Do(ctx context.Context, method, path string, in, out any) error {
	return l.client.do(ctx, method, path, in, out)
}

// Node returns the node's own address and the version of zerotier-one.
func (l *Local) Node(ctx context.Context) (self Address, version string, err error) {
	a, err := l.client.node(ctx)
	return a.Address, a.Version, err
}

// Membership returns the box's membership in a network as the service reports it, without Since,
// Cause and Remedy. It fails with ErrNotFound for a network that is not joined.
func (l *Local) Membership(ctx context.Context, id NetworkID) (NetworkStatus, error) {
	var a networkAnswer
	if err := l.client.do(ctx, "GET", "/network/"+id.String(), nil, &a); err != nil {
		return NetworkStatus{}, err
	}
	st := NetworkStatus{ID: id, Iface: id.Iface()}
	st.fill(a)
	return st, nil
}

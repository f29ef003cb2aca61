package services

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/clients"
	"ztbridge/bridge/config"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/onetime"
	"ztbridge/bridge/openvpn/endpoint"
	"ztbridge/bridge/pki"
)

// pushedResolvers are the resolvers that clients are told to use. Queries do not reach them if the
// egress has resolvers of its own: they are steered to those.
var pushedResolvers = []netip.Addr{netip.MustParseAddr("9.9.9.9"),
	netip.MustParseAddr("149.112.112.112")}

// rulesTimeout is how long a new client waits for its rules before it is admitted. A pass takes
// some ten milliseconds; other clients wait behind it.
const rulesTimeout = 3 * time.Second

// Endpoint runs the OpenVPN servers and, behind their TCP port, the one-time links.
type Endpoint struct {
	cfg       *config.Endpoint
	listeners []decide.Listener
	store     *pki.Store
	d         *Set
	whole     atomic.Pointer[config.Config] // in force, for what is not told to the servers

	mu     sync.Mutex
	server *endpoint.Server // nil until it runs
	fault  error            // of the keys or of the whole endpoint, until they are in order again
	// validity of the authority; zero until the keys were read
	caFrom, caUntil time.Time

	links   *onetime.Server // nil where there is no TCP listener, and while it cannot be had
	noLinks error           // why it cannot be had
	stamp   string          // of clients
	clients []pki.Client
	inForce map[string][]netip.Addr // the addresses that the kernel's tables know, by client
	passed  chan struct{}           // closed when inForce changes
}

func (d *Set) endpointTask(was, next *services, l *Spec) task {
	settings := *l.Config.Endpoint
	settings.Pos = config.Position{}           // its place in the file is no change
	settings.Clients = config.ClientDefaults{} // told at the next connection, without a restart
	key := keyOf("endpoint", settings)
	if next.keeps(was, "endpoint", key) {
		next.endpoint = was.endpoint
	} else {
		next.endpoint = &Endpoint{cfg: l.Config.Endpoint, listeners: l.Listeners,
			store: clients.Keys(d.env.StateDir), d: d, passed: make(chan struct{})}
	}
	next.endpoint.whole.Store(l.Config)
	return task{key: key, uses: "endpoint", run: next.endpoint.run}
}

// run runs the endpoint until ctx ends. The status has the error that ended it, until it works
// again.
func (e *Endpoint) run(ctx context.Context) error {
	err := e.serve(ctx)
	if err != nil && ctx.Err() == nil {
		e.setFault(err)
	}
	return err
}

func (e *Endpoint) serve(ctx context.Context) error {
	links := e.openLinks()
	defer e.closeLinks()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := endpoint.Config{
		Registry: e.registry(ctx), DNS: pushedResolvers, Networks: e.networks,
		EnsureDevice: e.d.ensureDevice, UID: e.d.user.uid, GID: e.d.user.gid,
		RuntimeDir: filepath.Join(e.d.env.RuntimeDir, "endpoint"),
		Notify:     func() { e.d.trigger.Fire("endpoint") }, Log: e.d.env.Logger,
	}
	for _, l := range e.listeners {
		c.Listeners = append(c.Listeners,
			endpoint.Listener{Proto: l.Proto, Port: l.Port, Device: l.Device, Pool: l.Pool})
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	if links != nil {
		c.Web = links.Addr()
		wg.Go(func() {
			if err := links.Run(ctx); err != nil && ctx.Err() == nil {
				e.d.env.Logger.Error("one-time links failed", "error", err)
			}
		})
	}
	server, err := endpoint.New(c)
	if err != nil {
		return err
	}
	e.mu.Lock()
	e.server = server
	e.mu.Unlock()
	return server.Run(ctx)
}

// registry connects the key store to the servers until ctx ends.
func (e *Endpoint) registry(ctx context.Context) registry {
	return registry{
		Store:        e.store,
		defaults:     func() config.ClientDefaults { return e.whole.Load().Endpoint.Clients },
		waitForRules: func(c pki.Client) error { return e.waitForRules(ctx, c) },
		told:         e.setFault,
		authority: func(from, until time.Time) {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.caFrom, e.caUntil = from, until
		},
	}
}

// setFault records the endpoint's error; nil if there is none.
func (e *Endpoint) setFault(err error) {
	e.mu.Lock()
	changed := (err == nil) != (e.fault == nil) || err != nil && err.Error() != e.fault.Error()
	e.fault = err
	e.mu.Unlock()
	if changed {
		e.d.trigger.Fire("endpoint")
	}
}

// networks returns the prefixes that clients get a route to: what they may reach besides the
// Internet.
func (e *Endpoint) networks() []netip.Prefix { return e.d.view.Load().peers }

// known returns the clients. It reads them again if they have changed.
func (e *Endpoint) known() []pki.Client {
	e.mu.Lock()
	defer e.mu.Unlock()
	if stamp := e.store.Stamp(); stamp != e.stamp || e.clients == nil {
		clients, err := e.store.Clients()
		if err != nil {
			return e.clients // a store that is being made; the next pass sees it
		}
		e.stamp, e.clients = stamp, clients
	}
	return e.clients
}

// addresses returns the fixed addresses of every client, by name: see addressesOf.
func (e *Endpoint) addresses() map[string][]netip.Addr {
	return addressesOf(e.known(), e.listeners)
}

// ClientAddresses returns the fixed addresses of all clients in the key store of a state directory.
// There are none if it cannot be read.
func ClientAddresses(stateDir string, listeners []decide.Listener) map[string][]netip.Addr {
	clients, err := clients.Keys(stateDir).Clients()
	if err != nil {
		return map[string][]netip.Addr{}
	}
	return addressesOf(clients, listeners)
}

// addressesOf returns the fixed addresses of clients by name, one of each family for each listener.
// It includes revoked clients: a session outlives its revocation by some moments, in which the
// policy for its name must still apply. A revoked client whose host number was reissued has no
// address.
func addressesOf(clients []pki.Client, listeners []decide.Listener) map[string][]netip.Addr {
	owner := owners(clients)
	out := map[string][]netip.Addr{}
	for _, c := range clients {
		out[c.Name] = nil
		if owner[c.Host] == c.Name {
			out[c.Name] = poolAddresses(c, listeners)
		}
	}
	return out
}

// owners returns the owner of each host number: the client that is not revoked, or else the last
// one.
func owners(clients []pki.Client) map[uint32]string {
	last := map[uint32]pki.Client{}
	for _, c := range clients {
		o, taken := last[c.Host]
		if !taken || o.Revoked != nil && (c.Revoked == nil || c.Issued.After(o.Issued)) {
			last[c.Host] = c
		}
	}
	out := map[uint32]string{}
	for host, c := range last {
		out[host] = c.Name
	}
	return out
}

// revoked returns the names of revoked clients.
func (e *Endpoint) revoked() []string {
	var out []string
	for _, c := range e.known() {
		if c.Revoked != nil {
			out = append(out, c.Name)
		}
	}
	return out
}

func poolAddresses(c pki.Client, listeners []decide.Listener) []netip.Addr {
	var out []netip.Addr
	for _, l := range listeners {
		if addrs, err := l.Pool.Client(c.Host); err == nil {
			out = append(out, addrs...)
		}
	}
	return out
}

// applied records which clients the kernel's tables know from now on.
func (e *Endpoint) applied(clients map[string][]netip.Addr) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.inForce = clients
	close(e.passed)
	e.passed = make(chan struct{})
}

// waitForRules waits until the kernel's tables know the addresses of a client. It asks for a pass
// if they do not.
func (e *Endpoint) waitForRules(ctx context.Context, c pki.Client) error {
	ctx, cancel := context.WithTimeout(ctx, rulesTimeout)
	defer cancel()
	want := poolAddresses(c, e.listeners)
	for {
		e.mu.Lock()
		known, passed := slices.Equal(e.inForce[c.Name], want), e.passed
		e.mu.Unlock()
		if known {
			return nil
		}
		e.d.trigger.Fire("client " + c.Name)
		select {
		case <-passed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the rules of client %s: %w", c.Name, ctx.Err())
		}
	}
}

// status returns the state of the servers, empty until they run, and the errors that keep them from
// working.
func (e *Endpoint) status() (endpoint.Status, decide.EndpointFaults) {
	e.mu.Lock()
	defer e.mu.Unlock()
	faults := decide.EndpointFaults{Keys: e.fault, Links: e.linksFault(),
		AuthorityFrom: e.caFrom, AuthorityUntil: e.caUntil}
	if e.server == nil {
		return endpoint.Status{}, faults
	}
	return e.server.Status(), faults
}

// Disconnect ends the sessions of a client.
func (e *Endpoint) Disconnect(name string) (int, error) {
	if !slices.ContainsFunc(e.known(), func(c pki.Client) bool { return c.Name == name }) {
		return 0, fmt.Errorf("disconnecting %q: %w", name, api.ErrNotFound)
	}
	e.mu.Lock()
	server := e.server
	e.mu.Unlock()
	if server == nil {
		return 0, nil
	}
	return server.Disconnect(name)
}

package bridge

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/bridge/onetime"
	"ztbridge/bridge/openvpn/endpoint"
	"ztbridge/bridge/pki"
)

// pushedResolvers are what clients are told to ask. They never get there where the egress has
// resolvers of its own: queries are steered to those.
var pushedResolvers = []netip.Addr{netip.MustParseAddr("9.9.9.9"),
	netip.MustParseAddr("149.112.112.112")}

// listenerMTU is that of openvpn's TUN devices.
const listenerMTU = 1500

// settlePatience is how long a new client waits at the door for its rules. A pass takes some ten
// milliseconds; others wait behind it.
const settlePatience = 3 * time.Second

// Listener is the inside of one listening socket of the endpoint.
type Listener struct {
	config.Listener
	Device string // its TUN device
	Pool   endpoint.Pool
}

// listenersOf returns the endpoint's listeners with their devices and their parts of the pool.
func listenersOf(cfg *config.Config) ([]Listener, error) {
	if cfg.Endpoint == nil {
		return nil, nil
	}
	pools, err := endpoint.Divide(cfg.Endpoint.Pool4, cfg.Endpoint.Pool6, len(cfg.Endpoint.Listen))
	if err != nil {
		return nil, fmt.Errorf("%s: endpoint.pool: %w", cfg.Endpoint.Pos, err)
	}
	var out []Listener
	for i, l := range cfg.Endpoint.Listen {
		out = append(out, Listener{Listener: l, Device: listenerDevice(l), Pool: pools[i]})
	}
	return out, nil
}

// keyStore returns the endpoint's keys and clients.
func keyStore(stateDir string) *pki.Store { return pki.New(filepath.Join(stateDir, "pki")) }

// endpointDriver runs the OpenVPN servers and, behind their TCP port, the one-time links.
type endpointDriver struct {
	cfg       *config.Endpoint
	listeners []Listener
	store     *pki.Store
	d         *drivers

	mu      sync.Mutex
	server  *endpoint.Server // nil until it runs
	fault   error            // of the keys or of the whole endpoint, until they are in order again
	links   *onetime.Server  // nil where there is no TCP listener, and while it cannot be had
	noLinks error            // why it cannot be had
	stamp   string           // of clients
	clients []pki.Client
	settled map[string][]netip.Addr // the addresses that the kernel's tables know, by client
	passed  chan struct{}           // closed when settled changes
}

func (d *drivers) endpointTask(next *drivers, l *loaded) task {
	settings := *l.cfg.Endpoint
	settings.Pos = config.Position{} // where it stands in the file is no change of it
	key := keyOf("endpoint", settings)
	if d.kept(next, "endpoint", key) {
		next.endpoint = d.endpoint
	} else {
		next.endpoint = &endpointDriver{cfg: l.cfg.Endpoint, listeners: l.listeners,
			store: keyStore(d.opts.StateDir), d: d, passed: make(chan struct{})}
	}
	return task{key: key, run: next.endpoint.run}
}

// currentEndpoint returns the endpoint; nil where there is none. Safe for concurrent use.
func (d *drivers) currentEndpoint() *endpointDriver {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.endpoint
}

// run runs the endpoint until ctx ends. What ends it before stands in the status until it works
// again.
func (e *endpointDriver) run(ctx context.Context) error {
	err := e.serve(ctx)
	if err != nil && ctx.Err() == nil {
		e.blame(err)
	}
	return err
}

func (e *endpointDriver) serve(ctx context.Context) error {
	links := e.openLinks()
	defer e.closeLinks()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := endpoint.Config{
		Registry: e.registry(ctx), DNS: pushedResolvers, Networks: e.networks,
		EnsureDevice: e.d.ensureDevice, UID: e.d.user.uid, GID: e.d.user.gid,
		RuntimeDir: filepath.Join(e.d.opts.RuntimeDir, "endpoint"),
		Notify:     func() { e.d.bell.ring("endpoint") }, Log: e.d.opts.Logger,
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
				e.d.opts.Logger.Error("one-time links failed", "error", err)
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

// registry shows the key store to the servers until ctx ends.
func (e *endpointDriver) registry(ctx context.Context) registry {
	return registry{e.store, func(c pki.Client) error { return e.settle(ctx, c) }, e.blame}
}

// blame remembers what is wrong with the endpoint; nil: nothing is.
func (e *endpointDriver) blame(err error) {
	e.mu.Lock()
	changed := (err == nil) != (e.fault == nil) || err != nil && err.Error() != e.fault.Error()
	e.fault = err
	e.mu.Unlock()
	if changed {
		e.d.bell.ring("endpoint")
	}
}

// networks are the prefixes that clients get a route to: what they may reach besides the Internet.
func (e *endpointDriver) networks() []netip.Prefix { return e.d.around.Load().peers }

// known returns the clients, and reads them again when they have changed.
func (e *endpointDriver) known() []pki.Client {
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

// addresses returns the fixed addresses of every client, by name, one of each family for each
// listener. Revoked clients are among them: a session outlives its revocation by some moments, in
// which the policy for its name must still hold. One whose number somebody else has got since has
// none any more.
func (e *endpointDriver) addresses() map[string][]netip.Addr {
	clients := e.known()
	owner := owners(clients)
	out := map[string][]netip.Addr{}
	for _, c := range clients {
		out[c.Name] = nil
		if owner[c.Host] == c.Name {
			out[c.Name] = e.addressesOf(c)
		}
	}
	return out
}

// owners returns whose a host number is: a client's that is not revoked, or else the last one's.
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

// revoked returns the names of the clients that are barred.
func (e *endpointDriver) revoked() []string {
	var out []string
	for _, c := range e.known() {
		if c.Revoked != nil {
			out = append(out, c.Name)
		}
	}
	return out
}

func (e *endpointDriver) addressesOf(c pki.Client) []netip.Addr {
	var out []netip.Addr
	for _, l := range e.listeners {
		if addrs, err := l.Pool.Client(c.Host); err == nil {
			out = append(out, addrs...)
		}
	}
	return out
}

// applied says which clients the kernel's tables know from now on.
func (e *endpointDriver) applied(clients map[string][]netip.Addr) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.settled = clients
	close(e.passed)
	e.passed = make(chan struct{})
}

// settle waits until the kernel's tables know the addresses of a client. It asks for a pass if they
// do not.
func (e *endpointDriver) settle(ctx context.Context, c pki.Client) error {
	ctx, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	want := e.addressesOf(c)
	for {
		e.mu.Lock()
		known, passed := slices.Equal(e.settled[c.Name], want), e.passed
		e.mu.Unlock()
		if known {
			return nil
		}
		e.d.bell.ring("client " + c.Name)
		select {
		case <-passed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the rules of client %s: %w", c.Name, ctx.Err())
		}
	}
}

// status returns what the servers say, empty until they run, and what keeps them from working.
func (e *endpointDriver) status() (endpoint.Status, endpointFaults) {
	e.mu.Lock()
	defer e.mu.Unlock()
	faults := endpointFaults{e.fault, e.linksFault()}
	if e.server == nil {
		return endpoint.Status{}, faults
	}
	return e.server.Status(), faults
}

// disconnect ends the sessions of a client.
func (e *endpointDriver) disconnect(name string) (int, error) {
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

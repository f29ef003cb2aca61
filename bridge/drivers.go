package bridge

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"

	"ztbridge/bridge/config"
	"ztbridge/bridge/openvpn/client"
	"ztbridge/bridge/prefixcheck"
	"ztbridge/bridge/probe"
	"ztbridge/bridge/tun"
	"ztbridge/bridge/zerotier"
	"ztbridge/policyroute"
)

// drivers are what does the work outside the kernel's tables: the tunnels' processes, the
// membership in ZeroTier networks, the probes. Their set follows the configuration; a driver whose
// configuration did not change lives through a reload.
type drivers struct {
	opts Options
	user openvpnUser
	bell *doorbell
	sup  *supervisor

	mu       sync.Mutex // guards what follows: the loop writes it, other goroutines read it
	keys     map[string]string
	zerotier *zerotier.Service
	tunnels  map[string]*client.Tunnel
	probers  map[string]*probe.Prober
	endpoint *endpointDriver          // nil where there is no endpoint
	members  map[string]*probe.Prober // of the members that egresses lead to
	prefixes map[string]*prefixcheck.Checker
	nonces   map[string]probe.Nonce // of the probers' echoes

	rings  *rings
	around atomic.Pointer[surroundings]
}

func newDrivers(ctx context.Context, opts Options, user openvpnUser, bell *doorbell) *drivers {
	d := emptyDrivers(opts, user, bell)
	d.sup, d.rings = newSupervisor(ctx, opts.Logger),
		newRings(func(egress string) { bell.ring("no more ring through " + egress) })
	d.around.Store(&surroundings{})
	return d
}

func emptyDrivers(opts Options, user openvpnUser, bell *doorbell) *drivers {
	return &drivers{
		opts: opts, user: user, bell: bell, keys: map[string]string{},
		tunnels: map[string]*client.Tunnel{}, probers: map[string]*probe.Prober{},
		members: map[string]*probe.Prober{}, prefixes: map[string]*prefixcheck.Checker{},
		nonces: map[string]probe.Nonce{},
	}
}

// configure makes the running drivers those that the configuration asks for. It blocks until the
// ones that are no longer wanted have ended.
func (d *drivers) configure(l *loaded) error {
	next := emptyDrivers(d.opts, d.user, d.bell)
	var tasks []task
	if l.cfg.ZeroTier.Used() {
		t, err := d.zerotierTask(next, l.cfg.ZeroTier)
		if err != nil {
			return err
		}
		tasks = append(tasks, t)
	}
	if l.cfg.Endpoint != nil {
		tasks = append(tasks, d.endpointTask(next, l))
	}
	for i, e := range l.cfg.Egresses {
		of, err := d.egressTasks(next, l, i, e)
		if err != nil {
			return err
		}
		tasks = append(tasks, of...)
	}
	if ringsPossible(l.cfg) {
		for _, iface := range ingressIfaces(l.cfg) {
			tasks = append(tasks, d.ringTask(iface))
		}
	}
	d.mu.Lock()
	d.keys, d.zerotier, d.tunnels, d.probers, d.endpoint = next.keys, next.zerotier, next.tunnels,
		next.probers, next.endpoint
	d.members, d.prefixes, d.nonces = next.members, next.prefixes, next.nonces
	d.mu.Unlock()
	d.rings.expect(next.nonces)
	d.sup.set(tasks) // not under the lock: it waits for the drivers that end
	return nil
}

// egressTasks returns the drivers of one egress.
func (d *drivers) egressTasks(next *drivers, l *loaded, index int,
	e config.Egress) ([]task, error) {
	tasks := []task{d.probeTask(next, e, probeMark(index), l.cfg.Probe)}
	if e.OpenVPN != nil {
		t, err := d.tunnelTask(next, e.Name, l.tunnels[e.Name])
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, t)
	}
	if e.Member != nil {
		tasks = append(tasks, d.memberProbe(next, e, probeMark(index), l.cfg.Probe))
	}
	if e.WAN != nil && e.WAN.IPv6.Mode == config.IPv6Prefix {
		tasks = append(tasks, d.prefixTask(next, e, probeMark(index), l.cfg.Probe.Targets))
		if e.WAN.IPv6.NDP {
			tasks = append(tasks, d.neighbourTask(e))
		}
	}
	if usesTLS(e) {
		tasks = append(tasks, d.resolverTask(e, index))
	}
	return tasks, nil
}

// kept says whether the driver of that kind and name is configured as it was.
func (d *drivers) kept(next *drivers, name, key string) bool {
	next.keys[name] = key
	return d.keys[name] == key
}

func (d *drivers) zerotierTask(next *drivers, cfg config.ZeroTier) (task, error) {
	key := keyOf("zerotier", cfg)
	if d.kept(next, "zerotier", key) {
		next.zerotier = d.zerotier
	} else {
		c := zerotier.Config{Home: cfg.Home, Logger: d.opts.Logger,
			Notify:      func() { d.bell.ring("zerotier") },
			AllowGlobal: map[zerotier.NetworkID]bool{}}
		for _, n := range cfg.Networks {
			id, err := zerotier.ParseNetworkID(n.ID)
			if err != nil {
				return task{}, fmt.Errorf("configuring zerotier: %w", err)
			}
			c.Networks = append(c.Networks, id)
			c.AllowGlobal[id] = n.AllowGlobal
		}
		for _, o := range cfg.Orbit {
			id, err := zerotier.ParseAddress(o)
			if err != nil {
				return task{}, fmt.Errorf("configuring zerotier: %w", err)
			}
			c.Orbit = append(c.Orbit, id)
		}
		if cfg.Moon != nil {
			c.Moon = &zerotier.Moon{Endpoints: cfg.Moon.Endpoints}
		}
		next.zerotier = zerotier.New(c)
		if d.zerotier != nil {
			next.zerotier.Succeed(d.zerotier)
		}
	}
	return task{key: key, run: next.zerotier.Run}, nil
}

// unasked is what is known of the networks before the service was ever asked: their interfaces.
// Rules and filters need those from the first pass on.
func unasked(cfg config.ZeroTier) zerotier.Status {
	var s zerotier.Status
	for _, n := range cfg.Networks {
		if id, err := zerotier.ParseNetworkID(n.ID); err == nil {
			s.Networks = append(s.Networks, zerotier.NetworkStatus{ID: id,
				Iface: zerotier.IfaceIn(cfg.Home, id), State: zerotier.NetworkUnknown})
		}
	}
	return s
}

func (d *drivers) tunnelTask(next *drivers, name string, files tunnelFiles) (task, error) {
	id := "tunnel " + name
	key := id + " " + files.fingerprint
	if d.kept(next, id, key) {
		next.tunnels[name] = d.tunnels[name]
		return task{key: key, run: next.tunnels[name].Run}, nil
	}
	device := tunnelDevice(name)
	t, err := client.New(client.Config{
		Name: name, Profile: files.profile, Credentials: files.credentials,
		Device:       device,
		EnsureDevice: func() (string, error) { return d.ensureDevice(device) },
		UID:          d.user.uid, GID: d.user.gid,
		RuntimeDir: filepath.Join(d.opts.RuntimeDir, "openvpn"),
		StateDir:   filepath.Join(d.opts.StateDir, "openvpn"),
		Forbidden:  d.taken,
		Notify:     func() { d.bell.ring("tunnel " + name) },
		Log:        d.opts.Logger,
	})
	if err != nil {
		return task{}, fmt.Errorf("configuring tunnel %s: %w", name, err)
	}
	next.tunnels[name] = t
	return task{key: key, run: t.Run}, nil
}

// ensureDevice makes a TUN device of ours if it is missing, and returns the node by which openvpn
// opens it.
func (d *drivers) ensureDevice(device string) (node string, err error) {
	if err := tun.Ensure(device, d.user.uid, d.user.gid); err != nil {
		return "", err
	}
	return tun.Node(filepath.Join(d.opts.RuntimeDir, "dev"), d.user.uid)
}

func (d *drivers) probeTask(next *drivers, e config.Egress, mark uint32, cfg config.Probe) task {
	id := "probe " + e.Name
	key := fmt.Sprintf("%s %s %x %+v", id, e.Kind(), mark, cfg)
	if d.kept(next, id, key) {
		next.probers[e.Name], next.nonces[e.Name] = d.probers[e.Name], d.nonces[e.Name]
	} else {
		nonce := probe.NewNonce()
		next.nonces[e.Name] = nonce
		next.probers[e.Name] = probe.New(probe.Config{
			Egress: e.Name, Mark: mark, Nonce: nonce, Targets: cfg.Targets, Interval: cfg.Interval,
			HoldDown: cfg.HoldDown,
			Traffic:  d.trafficBy(e),
			Notify:   func() { d.bell.ring("probe " + e.Name) }, Logger: d.opts.Logger,
		})
	}
	return task{key: key, run: next.probers[e.Name].Run}
}

// trafficBy returns what tells a prober how busy its egress is. Only a tunnel has an interface to
// itself: what came in by another says nothing about the way to the Internet.
func (d *drivers) trafficBy(e config.Egress) func() probe.Traffic {
	if e.OpenVPN != nil {
		return func() probe.Traffic { return trafficOf(tunnelDevice(e.Name)) }
	}
	return func() probe.Traffic {
		t := trafficOf(d.around.Load().devices[e.Name])
		t.Received = 0
		return t
	}
}

// poke has the drivers look at once at what they would look at soon: something changed in the
// kernel, perhaps the interface of a network. Safe for concurrent use.
func (d *drivers) poke() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.zerotier != nil {
		d.zerotier.Poke()
	}
}

// retry ends the wait of an egress, if it is a tunnel: a person asks. The loop calls it.
func (d *drivers) retry(egress string) {
	if t := d.tunnels[egress]; t != nil {
		t.Retry()
	}
}

// fill writes what the drivers say into a snapshot.
func (d *drivers) fill(s *Snapshot) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.zerotier != nil {
		s.ZeroTier = d.zerotier.Status()
	}
	s.Tunnels = map[string]client.Status{}
	for name, t := range d.tunnels {
		s.Tunnels[name] = t.Status()
	}
	if d.endpoint != nil {
		s.Endpoint, s.Faults = d.endpoint.status()
		s.Clients, s.Revoked = d.endpoint.addresses(), d.endpoint.revoked()
	}
	s.Probes = map[string]probe.Status{}
	for name, p := range d.probers {
		s.Probes[name] = p.Status()
	}
	s.Members = map[string]probe.Status{}
	for name, p := range d.members {
		s.Members[name] = p.Status()
	}
	s.Prefixes = map[string]prefixcheck.Verdict{}
	for name, c := range d.prefixes {
		s.Prefixes[name] = c.Verdict()
	}
	s.Rings = d.rings.known(s.Now, s.Probes)
}

// applied tells the drivers that the kernel holds what a snapshot led to.
func (d *drivers) applied(s Snapshot) {
	if e := d.currentEndpoint(); e != nil && s.Clients != nil {
		e.applied(s.Clients)
	}
}

// removeStrays removes the TUN devices of egresses and listeners that the configuration no longer
// has. Nothing leads to them once the kernel holds the intent. One that is in use stays for a later
// pass.
func (d *drivers) removeStrays(intent policyroute.Intent, w World) {
	for _, device := range strays(intent, w) {
		switch err := tun.Remove(device); {
		case errors.Is(err, tun.ErrBusy):
			d.opts.Logger.Debug("a device that nothing leads to is in use", "device", device)
		case err != nil:
			d.opts.Logger.Warn("removing device failed", "device", device, "error", err)
		default:
			d.opts.Logger.Info("device removed", "device", device)
		}
	}
}

// strays returns our devices that are no part of the intent.
func strays(intent policyroute.Intent, w World) []string {
	wanted := map[string]bool{}
	for _, e := range intent.Egresses {
		wanted[e.Iface] = true
	}
	for _, g := range intent.Ingresses {
		wanted[g.Iface] = true
	}
	var out []string
	for _, l := range w.Links {
		if isOurs(l.Name) && !wanted[l.Name] {
			out = append(out, l.Name)
		}
	}
	return out
}

// stop ends all drivers and waits for them.
func (d *drivers) stop() { d.sup.set(nil) }

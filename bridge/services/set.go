package services

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"ztbridge/bridge/config"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/openvpn/client"
	"ztbridge/bridge/prefixcheck"
	"ztbridge/bridge/probe"
	"ztbridge/bridge/tun"
	"ztbridge/bridge/zerotier"
	"ztbridge/policyroute"
)

// Env is where services keep what they write, and where they log.
type Env struct {
	StateDir   string // survives a reboot
	RuntimeDir string // does not
	Logger     *slog.Logger
}

// Set are what does the work outside the kernel's tables: the tunnels' processes, the
// membership in ZeroTier networks, the probes. Their set follows the configuration; a driver whose
// configuration did not change lives through a reload.
type Set struct {
	env     Env
	user    User
	trigger *Trigger
	sup     *supervisor

	mu       sync.Mutex // guards what follows: the loop writes it, other goroutines read it
	keys     map[string]string
	zerotier *zerotier.Service
	tunnels  map[string]*client.Tunnel
	probers  map[string]*probe.Prober
	endpoint *Endpoint                // nil where there is no endpoint
	members  map[string]*probe.Prober // of the members that egresses lead to
	prefixes map[string]*prefixcheck.Checker
	nonces   map[string]probe.Nonce // of the probers' echoes

	loops *routeLoops
	view  atomic.Pointer[hostView]
}

// New returns an empty set. Services run until ctx ends; trigger fires when one has news.
func New(ctx context.Context, env Env, user User, bell *Trigger) *Set {
	d := emptySet(env, user, bell)
	d.sup, d.loops = newSupervisor(ctx, env.Logger),
		newRouteLoops(func(egress string) { bell.Fire("no more ring through " + egress) })
	d.view.Store(&hostView{})
	return d
}

func emptySet(env Env, user User, bell *Trigger) *Set {
	return &Set{
		env: env, user: user, trigger: bell, keys: map[string]string{},
		tunnels: map[string]*client.Tunnel{}, probers: map[string]*probe.Prober{},
		members: map[string]*probe.Prober{}, prefixes: map[string]*prefixcheck.Checker{},
		nonces: map[string]probe.Nonce{},
	}
}

// Configure makes the running drivers those that the configuration asks for. It blocks until the
// ones that are no longer wanted have ended.
func (d *Set) Configure(l *Spec) error {
	next := emptySet(d.env, d.user, d.trigger)
	var tasks []task
	if l.Config.ZeroTier.Used() {
		t, err := d.zerotierTask(next, l.Config.ZeroTier)
		if err != nil {
			return err
		}
		tasks = append(tasks, t)
	}
	if l.Config.Endpoint != nil {
		tasks = append(tasks, d.endpointTask(next, l))
	}
	for i, e := range l.Config.Egresses {
		of, err := d.egressTasks(next, l, i, e)
		if err != nil {
			return err
		}
		tasks = append(tasks, of...)
	}
	if loopsPossible(l.Config) {
		for _, iface := range decide.IngressIfaces(l.Config) {
			tasks = append(tasks, d.loopTask(iface))
		}
	}
	d.mu.Lock()
	d.keys, d.zerotier, d.tunnels, d.probers, d.endpoint = next.keys, next.zerotier, next.tunnels,
		next.probers, next.endpoint
	d.members, d.prefixes, d.nonces = next.members, next.prefixes, next.nonces
	d.mu.Unlock()
	d.loops.expect(next.nonces)
	d.sup.set(tasks) // not under the lock: it waits for the drivers that end
	return nil
}

// egressTasks returns the drivers of one egress.
func (d *Set) egressTasks(next *Set, l *Spec, index int,
	e config.Egress) ([]task, error) {
	tasks := []task{d.probeTask(next, e, decide.ProbeMark(index), l.Config.Probe)}
	if e.OpenVPN != nil {
		t, err := d.tunnelTask(next, e.Name, l.Tunnels[e.Name])
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, t)
	}
	if e.Member != nil {
		tasks = append(tasks, d.memberProbe(next, e, decide.ProbeMark(index), l.Config.Probe))
	}
	if e.WAN != nil && e.WAN.IPv6.Mode == config.IPv6Prefix {
		tasks = append(tasks, d.prefixTask(next, e, decide.ProbeMark(index),
			l.Config.Probe.Targets))
		if e.WAN.IPv6.NDP {
			tasks = append(tasks, d.neighbourTask(e))
		}
	}
	if decide.UsesTLS(e) {
		tasks = append(tasks, d.resolverTask(e, index))
	}
	return tasks, nil
}

// kept says whether the driver of that kind and name is configured as it was.
func (d *Set) kept(next *Set, name, key string) bool {
	next.keys[name] = key
	return d.keys[name] == key
}

func (d *Set) zerotierTask(next *Set, cfg config.ZeroTier) (task, error) {
	key := keyOf("zerotier", cfg)
	if d.kept(next, "zerotier", key) {
		next.zerotier = d.zerotier
	} else {
		c := zerotier.Config{Home: cfg.Home, Logger: d.env.Logger,
			Notify:      func() { d.trigger.Fire("zerotier") },
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

func (d *Set) tunnelTask(next *Set, name string, files TunnelFiles) (task, error) {
	id := "tunnel " + name
	key := id + " " + files.fingerprint
	if d.kept(next, id, key) {
		next.tunnels[name] = d.tunnels[name]
		return task{key: key, run: next.tunnels[name].Run}, nil
	}
	device := decide.TunnelDevice(name)
	t, err := client.New(client.Config{
		Name: name, Profile: files.profile, Credentials: files.credentials,
		Device:       device,
		EnsureDevice: func() (string, error) { return d.ensureDevice(device) },
		UID:          d.user.uid, GID: d.user.gid,
		RuntimeDir: filepath.Join(d.env.RuntimeDir, "openvpn"),
		StateDir:   filepath.Join(d.env.StateDir, "openvpn"),
		Forbidden:  d.taken,
		Notify:     func() { d.trigger.Fire("tunnel " + name) },
		Log:        d.env.Logger,
	})
	if err != nil {
		return task{}, fmt.Errorf("configuring tunnel %s: %w", name, err)
	}
	next.tunnels[name] = t
	return task{key: key, run: t.Run}, nil
}

// ensureDevice makes a TUN device of ours if it is missing, and returns the node by which openvpn
// opens it.
func (d *Set) ensureDevice(device string) (node string, err error) {
	if err := tun.Ensure(device, d.user.uid, d.user.gid); err != nil {
		return "", err
	}
	return tun.Node(filepath.Join(d.env.RuntimeDir, "dev"), d.user.uid)
}

func (d *Set) probeTask(next *Set, e config.Egress, mark uint32, cfg config.Probe) task {
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
			Notify:   func() { d.trigger.Fire("probe " + e.Name) }, Logger: d.env.Logger,
		})
	}
	return task{key: key, run: next.probers[e.Name].Run}
}

// trafficBy returns what tells a prober how busy its egress is. Only a tunnel has an interface to
// itself: what came in by another says nothing about the way to the Internet.
func (d *Set) trafficBy(e config.Egress) func() probe.Traffic {
	if e.OpenVPN != nil {
		return func() probe.Traffic { return trafficOf(decide.TunnelDevice(e.Name)) }
	}
	return func() probe.Traffic {
		t := trafficOf(d.view.Load().devices[e.Name])
		t.Received = 0
		return t
	}
}

// Poke has the drivers look at once at what they would look at soon: something changed in the
// kernel, perhaps the interface of a network. Safe for concurrent use.
func (d *Set) Poke() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.zerotier != nil {
		d.zerotier.Poke()
	}
}

// Retry ends the wait of an egress, if it is a tunnel: a person asks. The loop calls it.
func (d *Set) Retry(egress string) {
	if t := d.tunnels[egress]; t != nil {
		t.Retry()
	}
}

// Fill writes what the drivers say into a snapshot.
func (d *Set) Fill(s *decide.Snapshot) {
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
	s.Loops = d.loops.known(s.Now, s.Probes)
}

// Applied tells the drivers that the kernel holds what a snapshot led to.
func (d *Set) Applied(s decide.Snapshot) {
	if e := d.CurrentEndpoint(); e != nil && s.Clients != nil {
		e.applied(s.Clients)
	}
}

// RemoveOrphans removes the TUN devices of egresses and listeners that the configuration no longer
// has. Nothing leads to them once the kernel holds the intent. One that is in use stays for a later
// pass.
func (d *Set) RemoveOrphans(intent policyroute.Intent, w decide.HostState) {
	for _, device := range decide.OrphanDevices(intent, w) {
		switch err := tun.Remove(device); {
		case errors.Is(err, tun.ErrBusy):
			d.env.Logger.Debug("a device that nothing leads to is in use", "device", device)
		case err != nil:
			d.env.Logger.Warn("removing device failed", "device", device, "error", err)
		default:
			d.env.Logger.Info("device removed", "device", device)
		}
	}
}

// RetryAll ends the wait of every tunnel.
func (d *Set) RetryAll() {
	for name := range d.tunnels {
		d.Retry(name)
	}
}

// Stop ends all drivers and waits for them.
func (d *Set) Stop() { d.sup.set(nil) }

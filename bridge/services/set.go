package services

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/diskcheck"
	"ztbridge/bridge/exitaddr"
	"ztbridge/bridge/openvpn/client"
	"ztbridge/bridge/openvpn/process"
	"ztbridge/bridge/portal"
	"ztbridge/bridge/prefixcheck"
	"ztbridge/bridge/probe"
	"ztbridge/bridge/tun"
	"ztbridge/bridge/zerotier"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// Env is where services keep what they write, and where they log.
type Env struct {
	StateDir   string // survives a reboot
	RuntimeDir string // does not
	Logger     *slog.Logger
	Kernel     *kernel.Kernel // asked why packets do not get through; nil: nothing is checked
}

// Set runs the services. Which there are follows the configuration; a service whose settings did
// not change lives through a reload. Configure, Observe, Applied and Stop belong to the loop; all
// else is safe for concurrent use.
type Set struct {
	env     Env
	user    User
	trigger *Trigger
	sup     *supervisor
	loops   *routeLoops
	paths   *paths // nil where nothing is checked
	dns     *resolvers
	disk    *diskcheck.Checker // of the state directory
	runDisk *diskcheck.Checker // of the runtime directory
	servers serverFiles
	current atomic.Pointer[services]
	view    atomic.Pointer[hostView]
}

// services are those that run for one configuration. A value is never changed: a reload makes
// another, which takes over the services with the same settings.
type services struct {
	file     string            // of the configuration
	keys     map[string]string // settings of each service, by its kind and name
	zerotier *zerotier.Service // nil where no network is configured
	tunnels  map[string]*client.Tunnel
	probers  map[string]*probe.Pair
	endpoint *Endpoint                // nil where there is no endpoint
	peers    map[string]*probe.Prober // of the ZeroTier peers that egresses lead to
	prefixes map[string]*prefixcheck.Checker
	exits    *exitaddr.Asker        // nil where nobody is to be asked
	uplink   *probe.Pair            // by the host's own line
	portal   *portal.Checker        // of the network that the host's own line leads into
	nonces   map[string]probe.Nonce // of the probers' echoes
}

func newServices() *services {
	return &services{
		keys: map[string]string{}, tunnels: map[string]*client.Tunnel{},
		probers: map[string]*probe.Pair{}, peers: map[string]*probe.Prober{},
		prefixes: map[string]*prefixcheck.Checker{}, nonces: map[string]probe.Nonce{},
	}
}

// New returns an empty set. Services run until ctx ends; trigger fires when one has news.
func New(ctx context.Context, env Env, user User, trigger *Trigger) *Set {
	d := &Set{env: env, user: user, trigger: trigger, loops: newRouteLoops(),
		servers: serverFiles{patterns: serverPatterns}}
	d.sup = newSupervisor(ctx, env.Logger, func() { trigger.Fire("a service ended") })
	d.current.Store(newServices())
	d.view.Store(&hostView{})
	d.dns = newResolvers(trigger)
	look := func() { trigger.Fire("disk") }
	d.disk = diskcheck.New(env.StateDir, diskcheck.LeastState, look)
	d.runDisk = diskcheck.New(env.RuntimeDir, diskcheck.LeastRuntime, look)
	if env.Kernel != nil {
		d.paths = newPaths(env, trigger)
		d.dns.changed = d.paths.checker.Kick
	}
	return d
}

// Configure starts and stops services as the configuration asks. It does not wait: services that
// are no longer wanted end beside the caller, and one that needs the device or port of another
// starts after it. On an error everything runs on unchanged.
func (d *Set) Configure(l *Spec) error {
	was, next := d.current.Load(), newServices()
	next.file = l.Config.File
	tasks := []task{d.uplinkTask(was, next, l.Config.Probe),
		d.portalTask(was, next, l.Config.Probe)}
	if l.Config.ZeroTier.Used() {
		t, err := d.zerotierTask(was, next, l.Config.ZeroTier)
		if err != nil {
			return err
		}
		tasks = append(tasks, t)
	}
	if l.Config.Endpoint != nil {
		tasks = append(tasks, d.endpointTask(was, next, l))
	}
	for i, e := range l.Config.Egresses {
		of, err := d.egressTasks(was, next, l, i, e)
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
	tasks = append(tasks, task{key: "resolvers", run: d.dns.run},
		task{key: "disk check", run: d.disk.Run},
		task{key: "disk check of files of processes", run: d.runDisk.Run})
	if len(l.Config.ExitAddress) > 0 {
		tasks = append(tasks, d.exitTask(was, next, l.Config.ExitAddress))
	}
	if d.paths != nil && len(decide.IngressIfaces(l.Config)) > 0 {
		tasks = append(tasks, task{key: "path check", run: d.paths.run})
	}
	d.current.Store(next)
	d.loops.expect(next.nonces)
	d.sup.set(tasks)
	return nil
}

// egressTasks returns the drivers of one egress.
func (d *Set) egressTasks(was, next *services, l *Spec, index int,
	e config.Egress) ([]task, error) {
	tasks := []task{d.probeTask(was, next, e, decide.ProbeMark(index), l.Config.Probe)}
	if e.OpenVPN != nil {
		t, err := d.tunnelTask(was, next, e.Name, l.Tunnels[e.Name])
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, t)
	}
	if e.Peer != nil {
		tasks = append(tasks, d.peerProbe(was, next, e, decide.ProbeMark(index), l.Config.Probe))
	}
	if e.WAN != nil && e.WAN.IPv6.Mode == config.IPv6Prefix {
		tasks = append(tasks, d.prefixTask(was, next, e, decide.ProbeMark(index),
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

// keeps records the settings of a service, and reports whether it was configured so before.
func (next *services) keeps(was *services, name, key string) bool {
	next.keys[name] = key
	return was.keys[name] == key
}

func (d *Set) zerotierTask(was, next *services, cfg config.ZeroTier) (task, error) {
	key := keyOf("zerotier", cfg)
	if next.keeps(was, "zerotier", key) {
		next.zerotier = was.zerotier
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
		if was.zerotier != nil {
			next.zerotier.Succeed(was.zerotier)
		}
	}
	return task{key: key, uses: "zerotier", run: next.zerotier.Run}, nil
}

func (d *Set) tunnelTask(was, next *services, name string, files TunnelFiles) (task, error) {
	id, device := "tunnel "+name, decide.TunnelDevice(name)
	key := id + " " + files.fingerprint
	if next.keeps(was, id, key) {
		next.tunnels[name] = was.tunnels[name]
		return task{key: key, uses: device, run: next.tunnels[name].Run}, nil
	}
	t, err := client.New(client.Config{
		Name: name, Profile: files.profile, Credentials: files.credentials,
		Order: files.order, Rotate: files.rotate, PreferChaCha20: client.SlowAES(),
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
	return task{key: key, uses: device, run: t.Run}, nil
}

// ensureDevice makes a TUN device of ours if it is missing, and returns the node by which openvpn
// opens it.
func (d *Set) ensureDevice(device string) (node string, err error) {
	if err := tun.Ensure(device, d.user.uid, process.DeviceGroup(device)); err != nil {
		return "", err
	}
	return tun.Node(filepath.Join(d.env.RuntimeDir, "dev"), d.user.uid)
}

// Poke makes the drivers look at once instead of soon. Something changed in the kernel, perhaps the
// interface of a network. Safe for concurrent use.
func (d *Set) Poke(cause string) {
	if d.paths != nil {
		d.paths.kernelChanged(cause)
	}
	if z := d.current.Load().zerotier; z != nil {
		z.Poke()
	}
}

// Retry ends the wait of a tunnel on a person's request. It does nothing for other egresses. The
// loop calls it.
func (d *Set) Retry(egress string) {
	if t := d.current.Load().tunnels[egress]; t != nil {
		t.Retry()
	}
}

// Prefer selects the next profile of an egress's collection, also for after a restart. It reports
// whether there is one of that name.
func (d *Set) Prefer(egress, server string) (bool, error) {
	t := d.current.Load().tunnels[egress]
	if t == nil {
		return false, nil
	}
	return t.Prefer(server)
}

// ForgetServers forgets what Prefer selected, and keeps the connections.
func (d *Set) ForgetServers() error {
	var errs error
	for _, t := range d.current.Load().tunnels {
		_, err := t.Prefer("")
		errs = errors.Join(errs, err)
	}
	return errs
}

// Fill writes the state of the drivers into a snapshot.
func (d *Set) Fill(s *decide.Snapshot) {
	now := d.current.Load()
	if now.zerotier != nil {
		s.ZeroTier = now.zerotier.Status()
	}
	s.Tunnels = now.tunnelStatuses()
	if now.endpoint != nil {
		s.Endpoint, s.Faults = now.endpoint.status()
		s.Clients, s.Revoked = now.endpoint.addresses(), now.endpoint.revoked()
	}
	s.Probes, s.Peers = now.probes(), map[string]probe.Status{}
	if now.uplink != nil {
		s.Uplink, s.SignIn = now.uplink.Status(), now.portal.Page()
		s.FixedRouters = d.fixedRouters(*s)
	}
	for name, p := range now.peers {
		s.Peers[name] = p.Status()
	}
	s.Prefixes = map[string]prefixcheck.Outcome{}
	for name, c := range now.prefixes {
		s.Prefixes[name] = c.Outcome()
	}
	s.Servers = d.servers.addrs()
	s.Loops = d.loops.known(s.Now, s.Probes)
	s.DeadResolvers, s.BackResolvers = d.dns.status()
	s.Exits = now.exitAddresses()
	if d.paths != nil {
		s.Paths = d.paths.status()
	}
}

// tunnelStatuses returns the status of each tunnel, by name of egress.
func (s *services) tunnelStatuses() map[string]client.Status {
	out := map[string]client.Status{}
	for name, t := range s.tunnels {
		out[name] = t.Status()
	}
	return out
}

// probes returns the status of each prober, by name of egress.
func (s *services) probes() map[string]probe.Status {
	out := map[string]probe.Status{}
	for name, p := range s.probers {
		out[name] = p.Status()
	}
	return out
}

// NextLook returns when a snapshot will differ only because time has passed; zero if never.
func (d *Set) NextLook() time.Time { return d.loops.expiry() }

// Look returns what changes all the time and decides nothing. It is the counters of each interface,
// and a snapshot with Probes and Endpoint alone. It does not block on any service.
func (d *Set) Look() (map[string]api.Counters, decide.Snapshot) {
	now := d.current.Load()
	s := decide.Snapshot{Now: time.Now(), Probes: now.probes()}
	if now.endpoint != nil {
		s.Endpoint, s.Faults = now.endpoint.status()
	}
	return readTraffic(), s
}

// Applied tells the drivers that the kernel holds a decision. targets are the hosts whose answers
// prove that a path works.
func (d *Set) Applied(s decide.Snapshot, decided decide.Decision, targets []netip.Addr) {
	d.dns.set(decided, s)
	if x := d.current.Load().exits; x != nil {
		x.Set(exitPaths(decided, s))
	}
	if d.paths != nil {
		// The box's own answer says nothing about a path.
		d.paths.set(s, decided, slices.DeleteFunc(slices.Clone(targets), func(t netip.Addr) bool {
			_, own := s.Host.Owner(t)
			return own
		}))
	}
	if e := d.current.Load().endpoint; e != nil && s.Clients != nil {
		e.applied(s.Clients)
	}
}

// RemoveOrphans removes the TUN devices of egresses and listeners that the configuration no longer
// has. Once the kernel holds the intent, nothing leads to them. A device in use stays for a later
// pass.
func (d *Set) RemoveOrphans(intent policyroute.Intent, w decide.HostState) {
	for _, device := range decide.OrphanDevices(intent, w) {
		if trialRuns(device) {
			continue
		}
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

// RetryAll ends the wait of every tunnel, as Retry does.
func (d *Set) RetryAll() {
	for name := range d.current.Load().tunnels {
		d.Retry(name)
	}
}

// Stop ends all drivers and waits for them.
func (d *Set) Stop() { d.sup.stop() }

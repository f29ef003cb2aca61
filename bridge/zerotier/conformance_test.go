package zerotier

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ztbridge/bridge/health"
)

// world is a node, its controller and its root: recorded answers with the real behaviour
// (fake_test.go), or real ones in an isolated network (real_test.go). The same scenarios run on
// both.
//
// The network is private, with members in 10.99.0.0/16, 10.99.0.1 being set aside for this node.
type world interface {
	Home() string
	Address() Address
	Network() NetworkID
	// Install makes a service talk to this world's node.
	Install(*Service)
	Start() // of the node; its controller and root are always up
	Stop()
	Authorise(bool)
	// Set changes settings of the membership behind the service's back; Leave leaves the network
	// so.
	Set(map[string]bool)
	Leave()
	// BreakDevice makes network devices impossible, from the next one on.
	BreakDevice(bool)
	WriteToken(string)
	Token() string
	WriteLocalConf(string)
	LocalConf() string
	// Patience is how long the world may take for what it does by itself.
	Timeout() time.Duration
}

// driven is a running service under test.
type driven struct {
	*Service
	t      *testing.T
	w      world
	events chan struct{}
	count  atomic.Int64
}

func drive(t *testing.T, w world, change ...func(*Config)) *driven {
	t.Helper()
	d := &driven{t: t, w: w, events: make(chan struct{}, 1)}
	cfg := Config{
		Home: w.Home(), Networks: []NetworkID{w.Network()},
		Notify: func() {
			d.count.Add(1)
			select {
			case d.events <- struct{}{}:
			default:
			}
		},
		Logger: slog.New(slog.NewTextHandler(logWriter{t}, nil)),
	}
	for _, c := range change {
		c(&cfg)
	}
	d.Service = New(cfg)
	w.Install(d.Service)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
	return d
}

// until waits for a notified status that satisfies a condition.
func (d *driven) until(what string, ok func(Status) bool) Status {
	d.t.Helper()
	deadline := time.After(d.w.Timeout())
	for {
		st := d.Status()
		if ok(st) {
			return st
		}
		select {
		case <-d.events:
		case <-deadline:
			d.t.Fatalf("never %s; last status:\n%+v", what, st)
		}
	}
}

func (d *driven) untilService(s ServiceState) Status {
	d.t.Helper()
	return d.until(string(s), func(st Status) bool { return st.Service.State == s })
}

func (d *driven) untilNetwork(s NetworkState) NetworkStatus {
	d.t.Helper()
	return d.until("network "+string(s),
		func(st Status) bool { return st.Networks[0].State == s }).Networks[0]
}

// untilUsable waits for a network that is OK and has its interface.
func (d *driven) untilUsable() NetworkStatus {
	d.t.Helper()
	return d.until("usable", func(st Status) bool {
		n := st.Networks[0]
		return n.State == NetworkOK && n.Index > 0 && n.Cause == ""
	}).Networks[0]
}

type logWriter struct{ t *testing.T }

func (w logWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", strings.TrimSpace(string(b)))
	return len(b), nil
}

// conformance runs every scenario, or those of the given names, on worlds that make makes.
func conformance(t *testing.T, make func(*testing.T) world, only ...string) {
	scenarios := []struct {
		name string
		run  func(*testing.T, world)
	}{
		{"join, authorise, deauthorise", joinAuthorise},
		{"restart", restart},
		{"settings are forced off", settingsForced},
		{"allowManaged off is told", managedOff},
		{"left behind our back", rejoin},
		{"no such network", noSuchNetwork},
		{"token replaced", tokenReplaced},
		{"local.conf", localConf},
		{"no device", noDevice},
	}
	for _, s := range scenarios {
		if len(only) > 0 && !slices.Contains(only, s.name) {
			continue
		}
		t.Run(s.name, func(t *testing.T) { s.run(t, make(t)) })
	}
}

func joinAuthorise(t *testing.T, w world) {
	d := drive(t, w)
	st := d.untilService(ServiceNotRunning)
	if !strings.Contains(st.Service.Remedy, "systemctl") || st.Networks[0].State != NetworkUnknown {
		t.Errorf("a stopped service is told as %+v", st)
	}
	w.Start()
	n := d.untilNetwork(NetworkDenied)
	if !strings.Contains(n.Remedy, w.Address().String()) || n.Authorised {
		t.Errorf("the remedy must name the member %s to authorise: %+v", w.Address(), n)
	}
	if got := d.Status(); got.NodeAddress != w.Address() ||
		got.Service.Cause != "" {
		t.Errorf("a running service is told as %+v", got)
	}

	w.Authorise(true)
	n = d.untilUsable()
	if want := w.Network().Iface(); n.Iface != want {
		t.Errorf("interface %s, want %s", n.Iface, want)
	}
	if len(n.Addrs) != 1 || n.Addrs[0] != netip.MustParsePrefix("10.99.0.1/16") {
		t.Errorf("addresses %v, want 10.99.0.1/16", n.Addrs)
	}
	if len(n.Prefixes) != 1 || n.Prefixes[0] != netip.MustParsePrefix("10.99.0.0/16") {
		t.Errorf("members in %v, want 10.99.0.0/16", n.Prefixes)
	}
	if !n.Authorised || n.MTU != 2800 || n.Name == "" {
		t.Errorf("a usable network is told as %+v", n)
	}
	d.until("in contact", func(st Status) bool { return st.Reachable })

	w.Authorise(false)
	if n = d.untilNetwork(NetworkDenied); n.Authorised {
		t.Error("still authorised after being denied")
	}
}

func restart(t *testing.T, w world) {
	w.Start()
	w.Authorise(true)
	d := drive(t, w)
	before := d.untilUsable()
	began := time.Now()
	w.Stop()
	if took := time.Since(began); took > 4500*time.Millisecond {
		t.Errorf("the service took %s to stop: something holds a connection to it", took)
	}
	d.untilService(ServiceNotRunning)
	w.Start()
	after := d.untilUsable()
	if after.Iface != before.Iface || after.Index == before.Index {
		t.Errorf("restart: interface %s %d → %s %d, want the same name and another index",
			before.Iface, before.Index, after.Iface, after.Index)
	}
	if len(after.Addrs) != 1 || after.Addrs[0] != before.Addrs[0] {
		t.Errorf("restart: addresses %v → %v", before.Addrs, after.Addrs)
	}
	if !after.Since.After(before.Since) {
		t.Error("restart: Since does not tell that the network was away")
	}
}

func settingsForced(t *testing.T, w world) {
	w.Start()
	w.Authorise(true)
	d := drive(t, w)
	d.untilUsable()
	for _, key := range []string{"allowDefault", "allowGlobal", "allowDNS"} {
		w.Set(map[string]bool{key: true})
		c := newClientLike(d.Service)
		awaitCondition(t, w, key+" off again", func() bool {
			list, err := c.networks(t.Context())
			return err == nil && len(list) == 1 && !list[0].AllowDefault && !list[0].AllowGlobal &&
				!list[0].AllowDNS
		})
	}
	if n := d.untilUsable(); !n.AllowManaged {
		t.Error("allowManaged was changed along")
	}
}

func managedOff(t *testing.T, w world) {
	w.Start()
	w.Authorise(true)
	d := drive(t, w)
	d.untilUsable()
	w.Set(map[string]bool{"allowManaged": false})
	st := d.until("told that allowManaged is off",
		func(st Status) bool { return strings.Contains(st.Networks[0].Cause, "allowManaged") })
	if !strings.Contains(st.Networks[0].Remedy, "zerotier-cli set "+w.Network().String()+
		" allowManaged=1") {
		t.Errorf("remedy %q", st.Networks[0].Remedy)
	}
	w.Set(map[string]bool{"allowManaged": true})
	d.untilUsable()
}

func rejoin(t *testing.T, w world) {
	w.Start()
	w.Authorise(true)
	d := drive(t, w)
	before := d.untilUsable()
	w.Leave()
	d.until("seen to be gone", func(st Status) bool { return st.Networks[0].Index != before.Index })
	if after := d.untilUsable(); after.Index == before.Index {
		t.Error("the interface was never away")
	}
}

func noSuchNetwork(t *testing.T, w world) {
	unknown := w.Network() ^ 0xffff
	w.Start()
	d := drive(t, w, func(c *Config) { c.Networks = []NetworkID{unknown} })
	if n := d.untilNetwork(NetworkNotFound); n.ID != unknown ||
		!strings.Contains(n.Remedy, "network id") {
		t.Errorf("told as %+v", n)
	}
}

func tokenReplaced(t *testing.T, w world) {
	w.Start()
	w.Authorise(true)
	d := drive(t, w)
	d.untilUsable()
	token := w.Token()
	w.WriteToken("another-token-entirely")
	st := d.untilService(ServiceRefused)
	if strings.Contains(st.Service.Cause+st.Service.Remedy, "another-token") {
		t.Errorf("the token is shown: %+v", st.Service)
	}
	if st.NodeAddress != w.Address() {
		t.Error("the node's address is forgotten with the service's silence")
	}
	w.WriteToken("")
	d.untilService(ServiceNoToken)
	w.WriteToken(token)
	d.untilUsable()
}

func localConf(t *testing.T, w world) {
	w.WriteLocalConf(
		`{"physical":{"10.0.0.0/8":{"blacklist":true}},"settings":{"softwareUpdate":"disable","portMappingEnabled":false,"interfacePrefixBlacklist":["wg"]}}`)
	w.Start()
	d := drive(t, w)
	c := newClientLike(d.Service)
	awaitCondition(t, w, "the blacklist to be in local.conf",
		func() bool { return strings.Contains(w.LocalConf(), "tunztb") })
	for _, kept := range []string{`"wg"`, `"physical"`, `"10.0.0.0/8"`, `"softwareUpdate"`,
		`"tun"`} {
		if !strings.Contains(w.LocalConf(), kept) {
			t.Errorf("local.conf lost or lacks %s:\n%s", kept, w.LocalConf())
		}
	}
	effective := func() bool {
		a, err := c.config(t.Context())
		return err == nil && a.effective()
	}
	awaitCondition(t, w, "the running service to take the blacklist over", effective)
	if st := d.Status(); len(st.Problems) > 0 && st.Problems[0].Code == health.ServiceBlacklist {
		t.Errorf("conditions %+v", st.Problems)
	}
	w.Stop()
	w.Start()
	awaitCondition(t, w, "the blacklist to be effective after a restart", effective)
}

func noDevice(t *testing.T, w world) {
	w.Start()
	w.Authorise(true)
	w.BreakDevice(true)
	d := drive(t, w)
	n := d.untilNetwork(NetworkNoDevice)
	if !strings.Contains(n.Remedy, "tun") || n.Index != 0 {
		t.Errorf("told as %+v", n)
	}
	w.BreakDevice(false)
	d.untilUsable()
}

// newClientLike returns a client of one's own that reaches the same service.
func newClientLike(s *Service) *Local {
	c := NewLocal(s.cfg.Home)
	c.http.Transport = s.client.http.Transport
	return c
}

func awaitCondition(t *testing.T, w world, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(w.Timeout())
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

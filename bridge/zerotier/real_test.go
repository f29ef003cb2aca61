package zerotier

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/health"
	"ztbridge/bridge/lab"
	"ztbridge/bridge/lab/ztlab"
	"ztbridge/policyroute/netlab"
)

// realLab is a planet with a controller, and the box on which the node under test runs.
type realLab struct {
	top     *lab.Topology
	planet  *ztlab.Planet
	network *ztlab.Network
	node    *ztlab.Node
}

const labConf = `{"settings":{"portMappingEnabled":false,"allowSecondaryPort":false,"allowTcpFallbackRelay":false,"softwareUpdate":"disable"}}`

// TestConformanceReal runs the scenarios that a real zerotier-one notices at once.
func TestConformanceReal(t *testing.T) {
	l := newRealLab(t)
	conformance(t, func(t *testing.T) world { return l.fresh(t) },
		"restart", "settings are forced off", "left behind our back", "no device")
	t.Run("main table", func(t *testing.T) { mainTable(t, l.fresh(t)) })
}

func TestLongConformanceReal(t *testing.T) {
	netlab.Long(t, "all scenarios, some of which zerotier-one notices after minutes")
	l := newRealLab(t)
	conformance(t, func(t *testing.T) world { return l.fresh(t) })
	for name, run := range map[string]func(*testing.T, *realWorld){
		"moon":                          realMoon,
		"no device beside a network":    deviceFailsBeside,
		"main table":                    mainTable,
		"root silent":                   rootSilent,
		"addresses that can be derived": derivedAddresses,
	} {
		t.Run(name, func(t *testing.T) { run(t, l.fresh(t)) })
	}
}

func newRealLab(t *testing.T) *realLab {
	l := &realLab{top: lab.ForTest(t, lab.Options{RemoteClient: true}, netlab.ZeroTier)}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	var err error
	l.planet, err = ztlab.New(ctx, l.top)
	if errors.Is(err, ztlab.ErrNoController) {
		t.Skipf("SKIPPED: %v", err)
	}
	must(t, err)
	l.network, err = l.planet.NewNetwork(ctx,
		ztlab.NetworkConfig{Name: "lab", Routes: []ztlab.ManagedRoute{
			{Target: netip.MustParsePrefix("10.99.0.0/16")},
			{Target: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.99.0.7")},
		}})
	must(t, err)
	l.node, err = l.planet.Node(ctx, l.top.Box)
	must(t, err)
	return l
}

// fresh is the box as if it had never been in a network, with the identity that the root knows.
func (l *realLab) fresh(t *testing.T) *realWorld {
	w := &realWorld{realLab: l, t: t}
	w.Authorise(false)
	files, err := os.ReadDir(l.node.Home)
	must(t, err)
	for _, f := range files {
		if !slices.Contains([]string{"identity.public", "identity.secret", "planet",
			"authtoken.secret"}, f.Name()) {
			must(t, os.RemoveAll(filepath.Join(l.node.Home, f.Name())))
		}
	}
	w.WriteLocalConf(labConf)
	t.Cleanup(func() { w.BreakDevice(false); w.Stop() })
	return w
}

type realWorld struct {
	*realLab
	t       *testing.T
	running bool
	broken  bool
}

func (w *realWorld) Home() string           { return w.node.Home }
func (w *realWorld) Timeout() time.Duration { return 150 * time.Second }
func (w *realWorld) Network() NetworkID     { return w.id(w.network) }

func (w *realWorld) id(n *ztlab.Network) NetworkID {
	id, err := ParseNetworkID(n.ID)
	must(w.t, err)
	return id
}

func (w *realWorld) Address() Address {
	a, err := ParseAddress(w.node.Address)
	must(w.t, err)
	return a
}

// Install puts the driver, which runs here, into the box's network namespace.
func (w *realWorld) Install(s *Service) {
	s.client.http.Transport = w.client().http.Transport
	s.ifaces = func() (links map[string]int, err error) {
		return links, errors.Join(w.top.Box.Do(func() (err error) {
			links,
				err = interfaces()
			return err
		}), err)
	}
}

func (w *realWorld) client() *Local {
	c := NewLocal(w.node.Home)
	c.http.Transport.(*http.Transport).DialContext = func(ctx context.Context, network,
		address string) (net.Conn, error) {
		return w.top.Box.Dial(ctx, network, address)
	}
	return c
}

func (w *realWorld) Start() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), w.Timeout())
	defer cancel()
	must(w.t, w.node.Start(ctx))
	w.running = true
}

func (w *realWorld) Stop() {
	if w.running {
		w.node.Stop()
	}
	w.running = false
}

func (w *realWorld) Authorise(yes bool) {
	w.t.Helper()
	if yes {
		must(w.t, w.network.Authorise(context.Background(), w.node,
			netip.MustParseAddr("10.99.0.1")))
	} else {
		must(w.t, w.network.Deauthorise(context.Background(), w.node))
	}
}

func (w *realWorld) Set(settings map[string]bool) {
	w.t.Helper()
	must(w.t, w.node.Post(context.Background(), "/network/"+w.network.ID, settings, nil))
}

func (w *realWorld) Leave() { must(w.t, w.node.Leave(context.Background(), w.network.ID)) }

// BreakDevice hides the box's TUN driver from programs that start in it.
func (w *realWorld) BreakDevice(yes bool) {
	if yes == w.broken {
		return
	}
	w.broken = yes
	cmd := []string{"umount", tunDevice}
	if yes {
		cmd = []string{"mount", "--bind", "/dev/null", tunDevice}
	}
	_, err := w.top.Box.Run(context.Background(), cmd[0], cmd[1:]...)
	must(w.t, err)
}

func (w *realWorld) WriteToken(s string)     { w.write("authtoken.secret", s) }
func (w *realWorld) Token() string           { return w.read("authtoken.secret") }
func (w *realWorld) WriteLocalConf(s string) { w.write("local.conf", s) }
func (w *realWorld) LocalConf() string       { return w.read("local.conf") }

func (w *realWorld) write(name, text string) {
	must(w.t, os.WriteFile(filepath.Join(w.node.Home, name), []byte(text), 0o600))
}

func (w *realWorld) read(name string) string {
	raw, err := os.ReadFile(filepath.Join(w.node.Home, name))
	must(w.t, err)
	return string(raw)
}

// realMoon makes the box a moon without a restart of the service, and then the same one elsewhere.
func realMoon(t *testing.T, w *realWorld) {
	w.Start()
	first := netip.AddrPortFrom(lab.BoxWAN4, 9993)
	for _, endpoints := range [][]netip.AddrPort{{first},
		{netip.AddrPortFrom(lab.BoxWAN6, 9993), first}} {
		t.Run("", func(t *testing.T) {
			d := drive(t, w, func(c *Config) { c.Moon, c.Networks = &Moon{endpoints}, nil })
			d.until("a moon", func(st Status) bool { return st.Moon == w.Address() })
			list, err := w.client().moons(t.Context())
			if err != nil || len(list) != 1 ||
				!sameEndpoints(list[0].Roots[0].StableEndpoints, endpoints) {
				t.Errorf("moons %+v, want endpoints %v (%v)", list, endpoints, err)
			}
		})
	}
}

// deviceFailsBeside joins a second network whose device fails. That ends zerotier-one; once it is
// back, the first network must be, and stay, while the second is told and not tried again at once.
func deviceFailsBeside(t *testing.T, w *realWorld) {
	w.Start()
	w.Authorise(true)
	drive(t, w).untilUsable()
	w.BreakDevice(true)
	other := w.Network() ^ 0xff
	both := drive(t, w, func(c *Config) { c.Networks = []NetworkID{w.Network(), other} })
	second := func(st Status) bool { return st.Networks[1].State == NetworkNoDevice }
	both.until("not running or told",
		func(st Status) bool { return st.Service.State == ServiceNotRunning || second(st) })
	w.BreakDevice(false)
	w.Stop()
	must(t, os.RemoveAll(filepath.Join(w.node.Home, "networks.d", other.String()+".conf")))
	w.Start()
	both.untilUsable()
	both.until("told", second)
	for range 20 {
		both.Poke()
		if _, err := w.client().node(t.Context()); err != nil {
			t.Fatalf("the second network brought the service down again: %v", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// mainTable is about the host's own routes: not one of them may go into ZeroTier.
func mainTable(t *testing.T, w *realWorld) {
	w.Start()
	w.Authorise(true)
	drive(t, w).untilUsable()
	w.Set(map[string]bool{"allowDefault": true})
	awaitCondition(t, w, "no default route into ZeroTier", func() bool {
		table, err := w.top.Box.MainTable(t.Context())
		must(t, err)
		list, err := w.client().networks(t.Context())
		return err == nil && len(list) == 1 && !list[0].AllowDefault &&
			!strings.Contains(table, "0.0.0.0/1")
	})
}

// rootSilent takes the only root away. The service goes on saying that it is online.
func rootSilent(t *testing.T, w *realWorld) {
	w.Start()
	w.Authorise(true)
	d := drive(t, w)
	d.untilUsable()
	d.until("in contact", func(st Status) bool { return st.Reachable })
	root := w.planet.Root.NS
	// Both ways: a root calls its nodes, too.
	must(t, root.Nft(`table inet cut {
		chain in { type filter hook input priority 0; udp dport 9993 drop; }
		chain out { type filter hook output priority 0; udp sport 9993 drop; }
	}`))
	t.Cleanup(func() { must(t, root.Nft("delete table inet cut")) })
	cut := time.Now()
	st := d.until("out of contact", func(st Status) bool { return !st.Reachable })
	if len(st.Problems) == 0 || st.Problems[0].Code != health.ServiceUnreachable ||
		st.Problems[0].Remedy == "" {
		t.Errorf("conditions %+v", st.Problems)
	}
	// It was heard up to 20 seconds before: see contactTimeout.
	if age := time.Since(cut); age < contactTimeout-20*time.Second ||
		age > contactTimeout+10*time.Second {
		t.Errorf("noticed after %s, want about %s", age, contactTimeout)
	}
}

// derivedAddresses compares what the controller hands out with what follows from the ids.
func derivedAddresses(t *testing.T, w *realWorld) {
	network, err := w.planet.NewNetwork(t.Context(),
		ztlab.NetworkConfig{Name: "six", RFC4193: true, SixPlane: true})
	must(t, err)
	must(t, network.Authorise(t.Context(), w.node))
	w.Start()
	id := w.id(network)
	n := drive(t, w, func(c *Config) { c.Networks = []NetworkID{id} }).untilUsable()
	for _, want := range []netip.Prefix{RFC4193(id, w.Address()), SixPlane(id, w.Address())} {
		if !slices.Contains(n.Addrs, want) || !slices.Contains(n.Prefixes, want.Masked()) {
			t.Errorf("addresses %v in %v, want %s", n.Addrs, n.Prefixes, want)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

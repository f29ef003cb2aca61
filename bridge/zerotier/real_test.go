package zerotier

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ztbridge/policyroute/netlab"
)

// The lab of the real conformance run, cut off from the Internet:
//
//	root ─── 198.51.100.0/24 ─── box
//	 .1  planet of its own,       .10  the node under test,
//	     controller                    driven from here
type realLab struct {
	root, box *netlab.Namespace
	planet    []byte
	rootHome  string
	boxID     string // directory with the box's identity
	boxAddr   Address
	network   NetworkID
}

const labConf = `{"settings":{"portMappingEnabled":false,"allowSecondaryPort":false,"allowTcpFallbackRelay":false,"softwareUpdate":"disable"}}`

func TestConformanceReal(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED, NOT PASSED: -short leaves out the real zerotier-one")
	}
	netlab.Require(t, netlab.Root, netlab.ZeroTier)
	lab := newRealLab(t)
	conformance(t, func(t *testing.T) world { return lab.fresh(t) })
	t.Run("moon", func(t *testing.T) { realMoon(t, lab.fresh(t)) })
	t.Run("device fails beside a working network", func(t *testing.T) { deviceFailsBeside(t, lab.fresh(t)) })
	t.Run("main table", func(t *testing.T) { mainTable(t, lab.fresh(t)) })
	t.Run("root silent", func(t *testing.T) { rootSilent(t, lab.fresh(t)) })
}

func newRealLab(t *testing.T) *realLab {
	l := &realLab{root: newNamespace(t, "root"), box: newNamespace(t, "box"), rootHome: t.TempDir(), boxID: t.TempDir()}
	_, err := netlab.Connect(
		l.root, netlab.Iface{Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("198.51.100.1/24")}},
		l.box, netlab.Iface{Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("198.51.100.10/24")}})
	must(t, err)
	rootAddr := identity(t, l.rootHome)
	l.boxAddr = identity(t, l.boxID)
	l.planet = makePlanet(t, l.rootHome, rootAddr)
	must(t, os.WriteFile(filepath.Join(l.rootHome, "planet"), l.planet, 0o600))
	must(t, os.WriteFile(filepath.Join(l.rootHome, "local.conf"), []byte(labConf), 0o600))
	l.startRoot(t)
	l.network = l.makeNetwork(t, rootAddr)
	return l
}

func (l *realLab) startRoot(t *testing.T) *netlab.Process {
	t.Helper()
	os.Remove(filepath.Join(l.rootHome, "zerotier-one.port"))
	p, err := l.root.Start(netlab.Command("zerotier-one", l.rootHome))
	must(t, err)
	c := l.client(l.root, l.rootHome)
	eventually(t, p, "the root's API", func() bool { _, err := c.node(t.Context()); return err == nil })
	return p
}

func (l *realLab) client(ns *netlab.Namespace, home string) *client {
	c := newClient(home)
	c.http.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		return ns.Dial(ctx, network, address)
	}
	return c
}

func (l *realLab) controller(t *testing.T, path string, in, out any) {
	t.Helper()
	must(t, l.client(l.root, l.rootHome).do(context.Background(), http.MethodPost, "/controller/network/"+path, in, out))
}

func (l *realLab) makeNetwork(t *testing.T, root Address) NetworkID {
	var made struct{ ID NetworkID }
	l.controller(t, root.String()+"______", map[string]any{
		"name": "lab", "private": true, "enableBroadcast": true, "mtu": 2800, "v4AssignMode": map[string]bool{"zt": true},
		"routes": []any{
			map[string]any{"target": "10.99.0.0/16", "via": nil},
			map[string]any{"target": "0.0.0.0/0", "via": "10.99.0.7"},
		},
		"rules": []any{map[string]any{"type": "ACTION_ACCEPT"}},
	}, &made)
	return made.ID
}

// fresh is a box that was never in a network, with the identity that the root knows already.
func (l *realLab) fresh(t *testing.T) *realWorld {
	w := &realWorld{realLab: l, t: t, home: t.TempDir()}
	for _, name := range []string{"identity.public", "identity.secret"} {
		raw, err := os.ReadFile(filepath.Join(l.boxID, name))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(w.home, name), raw, 0o600))
	}
	must(t, os.WriteFile(filepath.Join(w.home, "planet"), l.planet, 0o600))
	must(t, os.WriteFile(filepath.Join(w.home, "authtoken.secret"), []byte("realtokenrealtokenrealto"), 0o600))
	w.WriteLocalConf(labConf)
	w.Authorise(false)
	t.Cleanup(func() { w.BreakDevice(false); w.Stop() })
	return w
}

type realWorld struct {
	*realLab
	t      *testing.T
	home   string
	node   *netlab.Process
	broken bool
}

func (w *realWorld) Home() string            { return w.home }
func (w *realWorld) Address() Address        { return w.boxAddr }
func (w *realWorld) Network() NetworkID      { return w.network }
func (w *realWorld) Patience() time.Duration { return 150 * time.Second }
func (w *realWorld) Install(s *Service) {
	s.client.http.Transport = w.client(w.box, w.home).http.Transport
	s.ifaces = w.interfaces
}

func (w *realWorld) interfaces() (links map[string]int, err error) {
	return links, errors.Join(w.box.Do(func() (err error) { links, err = interfaces(); return }), err)
}

func (w *realWorld) Start() {
	w.t.Helper()
	os.Remove(filepath.Join(w.home, "zerotier-one.port"))
	p, err := w.box.Start(netlab.Command("zerotier-one", w.home))
	must(w.t, err)
	w.node = p
	eventually(w.t, p, "the box's API", func() bool { _, err := w.boxClient().node(context.Background()); return err == nil })
}

func (w *realWorld) Stop() {
	if w.node != nil {
		w.node.Stop()
		w.node = nil
	}
}

func (w *realWorld) boxClient() *client { return w.client(w.box, w.home) }

func (w *realWorld) Authorise(yes bool) {
	w.t.Helper()
	w.controller(w.t, w.network.String()+"/member/"+w.boxAddr.String(),
		map[string]any{"authorized": yes, "ipAssignments": []string{"10.99.0.1"}}, nil)
}

func (w *realWorld) Set(settings map[string]bool) {
	w.t.Helper()
	must(w.t, w.boxClient().do(context.Background(), http.MethodPost, "/network/"+w.network.String(), settings, nil))
}

func (w *realWorld) Leave() { must(w.t, w.boxClient().leave(context.Background(), w.network)) }

func (w *realWorld) BreakDevice(yes bool) {
	if yes == w.broken {
		return
	}
	w.broken = yes
	cmd := []string{"umount", "/dev/net/tun"}
	if yes {
		cmd = []string{"mount", "--bind", "/dev/null", "/dev/net/tun"}
	}
	_, err := w.box.Run(context.Background(), cmd[0], cmd[1:]...)
	must(w.t, err)
}

func (w *realWorld) WriteToken(s string) {
	must(w.t, os.WriteFile(filepath.Join(w.home, "authtoken.secret"), []byte(s), 0o600))
}

func (w *realWorld) Token() string { return w.read("authtoken.secret") }

func (w *realWorld) WriteLocalConf(s string) {
	must(w.t, os.WriteFile(filepath.Join(w.home, "local.conf"), []byte(s), 0o600))
}

func (w *realWorld) LocalConf() string { return w.read("local.conf") }

func (w *realWorld) read(name string) string {
	raw, err := os.ReadFile(filepath.Join(w.home, name))
	must(w.t, err)
	return string(raw)
}

// realMoon makes the box a moon without a restart of the service, and then another one of it.
func realMoon(t *testing.T, w *realWorld) {
	w.Start()
	endpoints := []netip.AddrPort{netip.MustParseAddrPort("198.51.100.10:9993")}
	withMoon := func(c *Config) { c.Moon, c.Networks = &Moon{endpoints}, nil }
	d := drive(t, w, withMoon)
	d.until("a moon", func(st Status) bool { return st.Moon == w.Address() })

	endpoints = append(endpoints, netip.MustParseAddrPort("[2001:db8::10]:9993"))
	second := drive(t, w, withMoon)
	second.until("a moon with another endpoint", func(st Status) bool {
		list, err := w.boxClient().moons(t.Context())
		return st.Moon == w.Address() && err == nil && len(list) == 1 && sameEndpoints(list[0].Roots[0].StableEndpoints, endpoints)
	})
}

// deviceFailsBeside joins a second network whose device fails. That ends zerotier-one; once it is back,
// the first network must be, and stay, while the second is told and not tried again at once.
func deviceFailsBeside(t *testing.T, w *realWorld) {
	w.Start()
	w.Authorise(true)
	first := drive(t, w)
	first.untilUsable()
	w.BreakDevice(true)
	both := drive(t, w, func(c *Config) { c.Networks = []NetworkID{w.network, w.network ^ 0xff} })
	second := func(st Status) bool { return st.Networks[1].State == NetworkNoDevice }
	both.until("not running or told", func(st Status) bool { return st.Service.State == ServiceNotRunning || second(st) })
	if w.node.Running() {
		t.Log("this zerotier-one survives a failed device")
	}
	w.BreakDevice(false)
	w.Stop()
	must(t, os.RemoveAll(filepath.Join(w.home, "networks.d", (w.network^0xff).String()+".conf")))
	w.Start()
	both.untilUsable()
	both.until("told", second)
	for range 20 {
		both.Poke()
		select {
		case <-w.node.Done():
			t.Fatal("the second network brought the service down again")
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// mainTable is about the host's own routes: not one of them may go into ZeroTier.
func mainTable(t *testing.T, w *realWorld) {
	w.Start()
	w.Authorise(true)
	d := drive(t, w)
	d.untilUsable()
	w.Set(map[string]bool{"allowDefault": true})
	awaitCondition(t, w, "no default route into ZeroTier", func() bool {
		table, err := w.box.MainTable(t.Context())
		must(t, err)
		list, err := w.boxClient().networks(t.Context())
		return err == nil && len(list) == 1 && !list[0].AllowDefault && !bytes.Contains([]byte(table), []byte("0.0.0.0/1"))
	})
}

// rootSilent takes the only root away. The service goes on saying that it is online.
func rootSilent(t *testing.T, w *realWorld) {
	w.Start()
	w.Authorise(true)
	d := drive(t, w)
	d.untilUsable()
	d.until("in contact", func(st Status) bool { return st.Reachable })
	must(t, w.box.IP("link set eth0 down"))
	t.Cleanup(func() { must(t, w.box.IP("link set eth0 up")) })
	st := d.until("out of contact", func(st Status) bool { return !st.Reachable })
	if len(st.Conditions) == 0 || st.Conditions[0].Code != ConditionUnreachable || st.Conditions[0].Remedy == "" {
		t.Errorf("conditions %+v", st.Conditions)
	}
	if age := time.Since(st.LastContact); age < ContactTimeout || age > ContactTimeout+10*time.Second {
		t.Errorf("noticed %s after the last contact, want about %s", age, ContactTimeout)
	}
}

func newNamespace(t *testing.T, label string) *netlab.Namespace {
	t.Helper()
	ns, err := netlab.NewNamespace(label)
	must(t, err)
	t.Cleanup(func() { must(t, ns.Close()) })
	return ns
}

func identity(t *testing.T, home string) Address {
	t.Helper()
	_, err := runIDTool(t.Context(), home, "generate", "identity.secret", "identity.public")
	must(t, err)
	raw, err := os.ReadFile(filepath.Join(home, "identity.public"))
	must(t, err)
	a, err := ParseAddress(string(raw[:10]))
	must(t, err)
	return a
}

func makePlanet(t *testing.T, home string, root Address) []byte {
	t.Helper()
	raw, err := runIDTool(t.Context(), home, "initmoon", "identity.public")
	must(t, err)
	var recipe map[string]any
	must(t, json.Unmarshal(raw, &recipe))
	recipe["worldType"] = "planet"
	must(t, setEndpoints(recipe, []netip.AddrPort{netip.MustParseAddrPort("198.51.100.1:9993")}))
	raw, err = json.Marshal(recipe)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(home, "planet.json"), raw, 0o600))
	_, err = runIDTool(t.Context(), home, "genmoon", "planet.json")
	must(t, err)
	planet, err := os.ReadFile(filepath.Join(home, fmt.Sprintf("%016x.moon", uint64(root))))
	must(t, err)
	return planet
}

func eventually(t *testing.T, p *netlab.Process, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-p.Done():
			t.Fatalf("waiting for %s: the process ended: %s", what, p.Log())
		case <-deadline:
			t.Fatalf("waited in vain for %s: %s", what, p.Log())
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

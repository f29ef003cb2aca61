package devices

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/bridgetest"
	"ztbridge/bridge/config"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/openvpn/client"
	"ztbridge/bridge/probe"
	"ztbridge/bridge/zerotier"
	"ztbridge/policyroute/kernel"
)

const (
	choosing = `
zerotier: {networks: [` + bridgetest.Network + `]}
ingress: [{interface: br-lan, name: lan, prefixes: [192.168.60.0/24, 'fd60::/64']}]
endpoint: {address: vpn.example.org, listen: [udp/1194, tcp/443]}
egress:
  provider: {openvpn: {profile: provider.ovpn}}
  backup: {openvpn: {profile: backup.ovpn}}
policy:
  - {from: [zerotier, phone, lan], choose: [provider, backup]}
  - {from: [endpoint], egress: [provider]}
`
	mine  zerotier.Address = 0x89e92ceee5
	other zerotier.Address = 0x1122334455
)

var home = func() zerotier.NetworkID {
	id, err := zerotier.ParseNetworkID(bridgetest.Network)
	if err != nil {
		panic(err) // a constant
	}
	return id
}()

// testBox is a box without a kernel: passes decide, and what they decide is in force.
type testBox struct {
	t          *testing.T
	cfg        *config.Config
	snap       decide.Snapshot
	neighbours map[string][]kernel.Neighbour
	view       *View
	passes     int
	service    *Service
	dir        string
}

func (w *testBox) Neighbours(iface string) ([]kernel.Neighbour, error) {
	return w.neighbours[iface], nil
}

// meets makes the kernel know who answers for an address behind an interface.
func (w *testBox) meets(iface, addr string, mac net.HardwareAddr) {
	a := netip.MustParseAddr(addr)
	w.neighbours[iface] = append(slices.DeleteFunc(w.neighbours[iface],
		func(n kernel.Neighbour) bool { return n.Addr == a }), kernel.Neighbour{Addr: a, MAC: mac})
}

func (w *testBox) pass() {
	w.passes++
	w.snap.Claims = w.service.Book.Learn(w.cfg, w.snap)
	w.snap.Devices = w.service.Book.List()
	next := NewView(w, w.cfg, w.snap, decide.Decide(w.cfg, w.snap))
	if w.view != nil {
		next.KeepBound(w.view)
	}
	w.view = next
}

func newTestBox(t *testing.T) *testBox {
	t.Helper()
	w := &testBox{t: t, dir: t.TempDir(), neighbours: map[string][]kernel.Neighbour{}}
	w.restart()
	return w
}

// restart makes the box again from its configuration and its files.
func (w *testBox) restart() {
	w.view = nil
	w.service = &Service{Book: Open(w.dir, w, slog.New(slog.DiscardHandler)),
		View: func() (*View, error) { return w.view, nil },
		Change: func(_ context.Context, _ string,
			change func(*config.Config, decide.Snapshot) error) error {
			err := change(w.cfg, w.snap)
			if err == nil {
				w.pass()
			}
			return err
		}}
	w.load(choosing)
}

// load puts another configuration in force.
func (w *testBox) load(text string) {
	w.t.Helper()
	w.cfg = bridgetest.Parse(w.t, text)
	listeners, err := decide.ListenersOf(w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.snap = decide.Snapshot{Now: time.Now(), ZeroTier: bridgetest.Joined(), Listeners: listeners,
		Host: decide.HostState(bridgetest.HostState("provider", "backup")),
		Tunnels: map[string]client.Status{"provider": bridgetest.Up("10.8.0.2/24", "fd08::2/64"),
			"backup": bridgetest.Up("10.88.0.2/24", "fd88::2/64")},
		Probes:  map[string]probe.Status{},
		Clients: map[string][]netip.Addr{}}
	w.snap.Host.IPv6 = true
	w.snap.ZeroTier.Networks[0].Prefixes = append(w.snap.ZeroTier.Networks[0].Prefixes,
		netip.MustParsePrefix("fd80::/64"), zerotier.RFC4193(home, mine).Masked(),
		zerotier.SixPlane(home, mine).Masked())
	for _, e := range w.cfg.Egresses {
		w.snap.Probes[e.Name] = probe.Status{Grade: probe.Stable}
	}
	for _, l := range listeners {
		of, err := l.Pool.Client(l.Pool.LastHost())
		if err != nil {
			w.t.Fatal(err)
		}
		w.snap.Clients["phone"] = append(w.snap.Clients["phone"], of...)
	}
	w.pass()
}

// now returns a connection that is opened at this moment.
func now(iface, addr string) api.Sender {
	time.Sleep(time.Microsecond) // the clock has gone on since the last pass
	return api.Sender{Iface: iface, Addr: netip.MustParseAddr(addr), Opened: time.Now()}
}

// recognised asks as a browser does, again where the box asks for that, and returns the device.
func (w *testBox) recognised(iface, addr string) (api.Identity, error) {
	of, err := w.service.Identify(w.t.Context(), now(iface, addr))
	if errors.Is(err, api.ErrAskAgain) {
		of, err = w.service.Identify(w.t.Context(), now(iface, addr))
	}
	return of, err
}

// TestWhoIsRecognised is the law: an address is a device's if the address and what the kernel knows
// of its sender agree, and nobody else can have it.
func TestWhoIsRecognised(t *testing.T) {
	zt := bridgetest.Iface()
	own, strange := zerotier.MAC(home, mine), zerotier.MAC(home, other)
	rfc, six := zerotier.RFC4193(home, mine).Addr().String(),
		zerotier.SixPlane(home, mine).Addr().String()
	inSix := zerotier.SixPlaneMember(home, mine).Addr().Next().Next().String()
	lan, err := net.ParseMAC("00:16:3e:11:22:33")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, iface, addr string
		mac               net.HardwareAddr // that answers for addr; nil: nobody does
		want              string           // empty: nobody
	}{
		{"a member", zt, "10.147.17.5", own, mine.String()},
		{"a member, IPv4 in IPv6", zt, "::ffff:10.147.17.5", own, mine.String()},
		{"a member, IPv6", zt, "fd80::5", own, mine.String()},
		{"a member, RFC 4193", zt, rfc, own, mine.String()},
		{"a member, 6PLANE", zt, six, own, mine.String()},
		{"a member, another address of its 6PLANE prefix", zt, inSix, own, mine.String()},
		{"another member's RFC 4193 address", zt, rfc, strange, ""},
		{"another member's 6PLANE address", zt, six, strange, ""},
		{"in another member's 6PLANE prefix", zt, inSix, strange, ""},
		{"nobody answers for it", zt, "10.147.17.5", nil, ""},
		{"a host behind a bridge", zt, "10.147.17.5", lan, ""},
		{"a link-local address", zt, "fe80::5", own, ""},
		{"a member's address by the LAN", "br-lan", "10.147.17.5", own, ""},
		{"the LAN", "br-lan", "192.168.60.7", lan, ""},
		{"the LAN, with a member's hardware address", "br-lan", "192.168.60.7", own, ""},
		{"the LAN, IPv6", "br-lan", "fd60::7", own, ""},
		{"the uplink", "eth0", "192.168.1.9", own, ""},
		{"the endpoint's device, nobody's address", "tunztb-udp1194", "10.147.17.5", own, ""},
		{"no interface", "", "10.147.17.5", own, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newTestBox(t)
			if tt.mac != nil {
				w.meets(tt.iface, netip.MustParseAddr(tt.addr).Unmap().String(), tt.mac)
			}
			of, err := w.recognised(tt.iface, tt.addr)
			if of.ID != tt.want || tt.want == "" && !errors.Is(err, api.ErrUnvouched) {
				t.Errorf("recognised %+v, %v", of, err)
			}
			if tt.want != "" && strings.Join(of.Offers, " ") != "provider backup" {
				t.Errorf("may choose %v", of.Offers)
			}
		})
	}
}

// TestClientsAreRecognised by their own tunnel device, and by no other.
func TestClientsAreRecognised(t *testing.T) {
	w := newTestBox(t)
	for _, l := range w.snap.Listeners {
		of, err := l.Pool.Client(l.Pool.LastHost())
		if err != nil {
			t.Fatal(err)
		}
		free, err := l.Pool.Client(l.Pool.LastHost() - 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range of {
			if got, err := w.recognised(l.Device, a.String()); err != nil || got.ID != "phone" ||
				got.Kind != "client" || len(got.Offers) != 2 {
				t.Errorf("%s by %s: %+v, %v", a, l.Device, got, err)
			}
			for _, iface := range []string{bridgetest.Iface(), "br-lan", "eth0",
				w.snap.Listeners[0].Device, w.snap.Listeners[1].Device} {
				got, err := w.recognised(iface, a.String())
				if iface != l.Device && !errors.Is(err, api.ErrUnvouched) {
					t.Errorf("%s by %s: %+v, %v", a, iface, got, err)
				}
			}
		}
		for _, a := range free {
			if got, err := w.recognised(l.Device, a.String()); !errors.Is(err, api.ErrUnvouched) {
				t.Errorf("%s, which no client has: %+v, %v", a, got, err)
			}
		}
	}
}

// TestConnectionsFromBeforeAreNobodys: until the filter ties an address to its owner, anybody may
// have sent from it.
func TestConnectionsFromBeforeAreNobodys(t *testing.T) {
	w := newTestBox(t)
	zt := bridgetest.Iface()
	for _, a := range []string{"10.147.17.5", "fd80::5"} {
		w.meets(zt, a, zerotier.MAC(home, mine))
		old := now(zt, a)
		for i := range 3 {
			before := w.passes
			_, err := w.service.Identify(t.Context(), old)
			if !errors.Is(err, api.ErrAskAgain) {
				t.Errorf("%s, question %d: %v", a, i, err)
			}
			if took := w.passes - before; (took > 0) != (i == 0) {
				t.Errorf("%s, question %d cost %d passes", a, i, took)
			}
			if _, err := w.service.UseOwn(t.Context(), old, "backup"); !errors.Is(err,
				api.ErrAskAgain) {
				t.Errorf("%s, a choice by it: %v", a, err)
			}
		}
		if of, err := w.service.Identify(t.Context(), now(zt, a)); err != nil ||
			of.ID != mine.String() || of.Choice != "" {
			t.Errorf("%s, a new connection: %+v, %v", a, of, err)
		}
	}
	// Another member answers for a bound address: it is nobody, in whichever order they ask.
	for _, a := range []string{"10.147.17.5", "fd80::5"} {
		w.meets(zt, a, zerotier.MAC(home, other))
		if of, err := w.recognised(zt, a); !errors.Is(err, api.ErrUnvouched) {
			t.Errorf("%s of another member: %+v, %v", a, of, err)
		}
		if of, err := w.service.UseOwn(t.Context(), now(zt, a), "backup"); !errors.Is(err,
			api.ErrUnvouched) {
			t.Errorf("%s of another member chose: %+v, %v", a, of, err)
		}
		w.meets(zt, a, zerotier.MAC(home, mine))
		if of, err := w.service.Identify(t.Context(), now(zt, a)); err != nil ||
			of.ID != mine.String() {
			t.Errorf("%s of its owner: %+v, %v", a, of, err)
		}
	}
}

// TestAddressesOfAMemberAreFew: each new one costs a pass.
func TestAddressesOfAMemberAreFew(t *testing.T) {
	w := newTestBox(t)
	zt := bridgetest.Iface()
	for i := range 3 * maxAddrs {
		a := netip.AddrFrom4([4]byte{10, 147, 17, byte(i + 2)}).String()
		w.meets(zt, a, zerotier.MAC(home, mine))
		_, err := w.recognised(zt, a)
		const byIDs = 2 // RFC 4193 and 6PLANE
		if known := i < maxAddrs-byIDs; (err == nil) != known || !known &&
			!errors.Is(err, api.ErrUnvouched) {
			t.Errorf("address %d: %v", i, err)
		}
	}
	if w.passes > maxAddrs+2 {
		t.Errorf("%d passes", w.passes)
	}
}

// TestOwnChoice: a device takes an exit of its list, by any of its addresses; the choice outlasts a
// restart and a reload, and never goes beyond the list.
func TestOwnChoice(t *testing.T) {
	w := newTestBox(t)
	zt, second := bridgetest.Iface(), "fd80::5"
	for _, a := range []string{"10.147.17.5", second} {
		w.meets(zt, a, zerotier.MAC(home, mine))
	}
	w.meets(zt, "10.147.17.6", zerotier.MAC(home, other))
	sees := func(addr, choice, egress string, offers int) {
		t.Helper()
		of, err := w.recognised(zt, addr)
		if err != nil || of.Choice != choice || of.Egress != egress || len(of.Offers) != offers {
			t.Errorf("%s sees %+v, %v; want the choice %q, leaving by %q", addr, of, err, choice,
				egress)
		}
	}
	use := func(addr, egress string) error {
		t.Helper()
		if _, err := w.recognised(zt, addr); err != nil {
			t.Fatal(err)
		}
		_, err := w.service.UseOwn(t.Context(), now(zt, addr), egress)
		return err
	}
	if err := use("10.147.17.5", "backup"); err != nil {
		t.Fatal(err)
	}
	before := w.passes
	if err := use("10.147.17.5", "backup"); err != nil || w.passes != before {
		t.Errorf("the same choice again: %v, %d passes", err, w.passes-before)
	}
	sees("10.147.17.5", "backup", "backup", 2)
	sees(second, "backup", "backup", 2)
	sees("10.147.17.6", "", "provider", 2)
	for _, bad := range []string{"nosuch", "direct", "block", "provider/server", " "} {
		if err := use(second, bad); !errors.Is(err, api.ErrNotFound) {
			t.Errorf("choosing %q: %v", bad, err)
		}
	}
	w.restart()
	sees(second, "backup", "backup", 2)
	before = w.passes
	w.load(choosing)
	if _, err := w.service.Identify(t.Context(), now(zt, second)); err != nil ||
		w.passes != before+1 {
		t.Errorf("after a reload of the same: %v", err)
	}
	// The list shrinks: what was chosen is not used any more, and comes back with the list.
	w.load(strings.Replace(choosing, "choose: [provider, backup]", "choose: [provider]", 1))
	sees(second, "backup", "provider", 1)
	w.load(strings.Replace(choosing, "choose: [provider, backup]", "egress: [provider, backup]", 1))
	sees(second, "backup", "provider", 0)
	if err := use(second, "provider"); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("choosing where no rule offers anything: %v", err)
	}
	w.load(choosing)
	sees(second, "backup", "backup", 2)
	kept := now(zt, "10.147.17.5")
	if err := use("10.147.17.5", ""); err != nil {
		t.Fatal(err)
	}
	if of, err := w.service.Identify(t.Context(), kept); err != nil || of.Choice != "" ||
		of.Egress != "provider" {
		t.Errorf("the same connection after a reset: %+v, %v", of, err)
	}
	// Without the network, nothing vouches.
	w.load(strings.NewReplacer("zerotier: {networks: ["+bridgetest.Network+"]}", "",
		"zerotier, ", "").Replace(choosing))
	if of, err := w.recognised(zt, second); !errors.Is(err, api.ErrUnvouched) {
		t.Errorf("of a network that is gone: %+v, %v", of, err)
	}
}

// TestNewAddressIsNews: only what makes the choice follow the device to another address is worth a
// pass.
// TestAddressesOnAFullDisk: a device that chose is followed to a new address also while the disk
// takes nothing; the choice itself is not made then.
func TestAddressesOnAFullDisk(t *testing.T) {
	w := newTestBox(t)
	w.meets(w.snap.ZeroTier.Networks[0].Iface, "10.147.17.50", zerotier.MAC(home, mine))
	request := api.DeviceRequest{Device: "10.147.17.50", Egress: "backup"}
	if _, err := w.service.UseFor(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(w.dir); err != nil { // no file can be made there
		t.Fatal(err)
	}
	w.meets(w.snap.ZeroTier.Networks[0].Iface, "10.147.17.51", zerotier.MAC(home, mine))
	w.pass()
	if of, err := w.view.Resolve(t.Context(), "10.147.17.51"); err != nil ||
		!w.view.state(of).Has(netip.MustParseAddr("10.147.17.51")) ||
		w.view.Identity(of).Egress != "backup" {
		t.Errorf("at the new address: %+v, %v", w.view.state(of), err)
	}
	request.Egress = "provider"
	if _, err := w.service.UseFor(t.Context(), request); err == nil {
		t.Error("a choice that is not kept is made")
	}
}

func TestNewAddressIsNews(t *testing.T) {
	w := newTestBox(t)
	zt := bridgetest.Iface()
	met := func(addr string, node zerotier.Address) bool {
		w.meets(zt, addr, zerotier.MAC(home, node))
		return w.view.News(kernel.Neighbour{Addr: netip.MustParseAddr(addr),
			MAC: zerotier.MAC(home, node)})
	}
	w.meets(zt, "10.147.17.5", zerotier.MAC(home, mine))
	if _, err := w.recognised(zt, "10.147.17.5"); err != nil {
		t.Fatal(err)
	}
	if met("fd80::5", mine) {
		t.Error("an address of a device that has not chosen is news")
	}
	if _, err := w.service.UseOwn(t.Context(), now(zt, "10.147.17.5"), "backup"); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		addr string
		node zerotier.Address
		want bool
	}{{"fd80::5", mine, false}, {"10.147.17.5", mine, false}, {"10.147.17.5", other, false},
		{"10.147.17.7", other, false}, {"10.147.17.6", mine, true}, {"fd80::6", mine, true}} {
		if got := met(tt.addr, tt.node); got != tt.want {
			t.Errorf("%s of %s is news: %t", tt.addr, tt.node, got)
		}
	}
	w.pass()
	if met("10.147.17.6", mine) || met("fd80::6", mine) {
		t.Error("what is known is news")
	}
	for _, f := range []string{"10.147.17.6", "fd80::6"} {
		if of, err := w.recognised(zt, f); err != nil || of.Egress != "backup" {
			t.Errorf("%s follows the choice: %+v, %v", f, of, err)
		}
	}
	for i := range 3 * maxAddrs {
		w.meets(zt, netip.AddrFrom4([4]byte{10, 147, 17, byte(20 + i)}).String(),
			zerotier.MAC(home, mine))
	}
	w.pass()
	if met("10.147.17.99", mine) {
		t.Error("one more of too many addresses is news")
	}
}

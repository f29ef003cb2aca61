package decide

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/bridgetest"
	"ztbridge/bridge/config"
	"ztbridge/bridge/openvpn/client"
	"ztbridge/bridge/probe"
	"ztbridge/bridge/zerotier"
	"ztbridge/policyroute"
	"ztbridge/policyroute/policytest"
)

const choosing = `
zerotier: {networks: [` + bridgetest.Network + `]}
ingress: [{interface: br-lan, name: lan, prefixes: [192.168.60.0/24, 'fd60::/64']}]
endpoint: {address: vpn.example.org, listen: [udp/1194, tcp/443]}
egress:
  provider: {openvpn: {profile: provider.ovpn}}
  backup: {openvpn: {profile: backup.ovpn}}
  direct: {wan: {ipv6: nat66}}
policy:
  - {from: [10.147.17.9], egress: [backup]}
  - {from: [zerotier, phone], to: 9.9.9.0/24, egress: [direct]}
  - {from: [zerotier, phone], choose: [provider, backup, direct]}
  - {from: [lan], choose: [backup, direct], egress: [provider, backup]}
  - {from: [endpoint], egress: [provider]}
`

const laptopNode zerotier.Address = 0x89e92ceee5

func addrs(texts ...string) (out []netip.Addr) {
	for _, t := range texts {
		out = append(out, netip.MustParseAddr(t))
	}
	return out
}

// choosingBox is a box in which all is well.
func choosingBox(t *testing.T) (*config.Config, Snapshot) {
	t.Helper()
	cfg := bridgetest.Parse(t, choosing)
	listeners, err := ListenersOf(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := Snapshot{Now: time.Unix(1_700_000_000, 0),
		Host:     HostState(bridgetest.HostState("provider", "backup")),
		ZeroTier: bridgetest.Joined(), Listeners: listeners,
		Tunnels: map[string]client.Status{"provider": bridgetest.Up("10.8.0.2/24", "fd08::2/64"),
			"backup": bridgetest.Up("10.88.0.2/24", "fd88::2/64")},
		Probes:  map[string]probe.Status{},
		Clients: map[string][]netip.Addr{},
	}
	s.Host.IPv6 = true
	s.ZeroTier.Networks[0].Prefixes = append(s.ZeroTier.Networks[0].Prefixes,
		netip.MustParsePrefix("fd80::/64"))
	for _, e := range cfg.Egresses {
		s.Probes[e.Name] = probe.Status{Grade: probe.Stable}
	}
	for i, name := range []string{"phone", "tablet"} {
		for _, l := range listeners {
			of, err := l.Pool.Client(l.Pool.LastHost() - uint32(i))
			if err != nil {
				t.Fatal(err)
			}
			s.Clients[name] = append(s.Clients[name], of...)
		}
	}
	return cfg, s
}

func laptop(egress string, of ...string) DeviceState {
	return DeviceState{Device: Device{Network: bridgetest.Network, Member: laptopNode},
		Addrs: addrs(of...), Egress: egress}
}

func TestDeviceExits(t *testing.T) {
	phone := DeviceState{Device: Device{Client: "phone"}}
	tablet := DeviceState{Device: Device{Client: "tablet"}}
	lan := DeviceState{Device: Device{Addr: netip.MustParseAddr("192.168.60.7")}}
	tests := []struct {
		name         string
		device       DeviceState
		choice       string
		down         string // an egress
		want4, want6 string
		offers       string
	}{
		{"no choice: the first", laptop("", "10.147.17.5", "fd80::5"), "", "", "provider",
			"provider", "provider backup direct"},
		{"no choice, and the first is down", laptop("", "10.147.17.5"), "", "provider", "", "",
			"provider backup direct"},
		{"a choice, in both IP versions", laptop("", "10.147.17.5", "fd80::5"), "backup", "",
			"backup", "backup", "provider backup direct"},
		{"the choice is down: no other is used", laptop("", "10.147.17.5", "fd80::5"), "backup",
			"backup", "", "", "provider backup direct"},
		{"beyond the list", laptop("", "10.147.17.5"), "nosuch", "", "provider", "",
			"provider backup direct"},
		{"an earlier rule takes it", laptop("", "10.147.17.9"), "direct", "", "backup", "", ""},
		{"not met yet", laptop(""), "direct", "", "", "", "provider backup direct"},
		{"another network", DeviceState{Device: Device{Network: "abcdef0123000009",
			Member: laptopNode}, Addrs: addrs("10.147.17.5")}, "direct", "", "", "", ""},
		{"a client", phone, "direct", "", "direct", "", "provider backup direct"},
		{"a client whose rule offers nothing", tablet, "direct", "", "provider", "provider", ""},
		{"behind an interface", lan, "direct", "", "direct", "", "backup direct"},
		{"with egress: no choice", lan, "", "", "provider", "", "backup direct"},
		{"with egress: the choice is down", lan, "direct", "direct", "provider", "",
			"backup direct"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg, s := choosingBox(t)
			if tt.down != "" {
				s.Loops = map[string]bool{tt.down: true}
			}
			tt.device.Egress = tt.choice
			s.Devices = []DeviceState{tt.device}
			d := Decide(cfg, s)
			_, got4 := deviceExit(cfg, s, d.Intent, tt.device, policyroute.V4)
			_, got6 := deviceExit(cfg, s, d.Intent, tt.device, policyroute.V6)
			if got4 != tt.want4 || got6 != tt.want6 {
				t.Errorf("leaves by %q and %q, want %q and %q", got4, got6, tt.want4, tt.want6)
			}
			if got := strings.Join(Offers(cfg, s, tt.device), " "); got != tt.offers {
				t.Errorf("may choose %q, want %q", got, tt.offers)
			}
		})
	}
}

// What the kernel's own rules say is what status says; the choice is of the device alone, and does
// not touch what a rule says of single destinations.
func TestChoiceInTheFieldsLanguage(t *testing.T) {
	cfg, s := choosingBox(t)
	s.Devices = []DeviceState{laptop("direct", "10.147.17.5", "fd80::5"),
		{Device: Device{Client: "phone"}, Egress: "backup"}}
	d := Decide(cfg, s)
	state, err := policyroute.Compile(d.Intent)
	if err != nil {
		t.Fatal(err)
	}
	// By which table each device's own ingress leads it.
	for _, tt := range []struct{ device, ingress, egress string }{
		{"10.147.17.5", bridgetest.Network, "direct"}, {"fd80::5", bridgetest.Network, "direct"},
		{s.Clients["phone"][0].String(), "tunztb.udp1194", "backup"},
	} {
		e, err := policyroute.Explain(d.Intent, netip.MustParseAddr(tt.device),
			somewhere[policyroute.FamilyOf(netip.MustParseAddr(tt.device))], tt.ingress)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(e.List, []string{tt.egress}) || e.Policy != "policy[2]" ||
			len(e.Rules) == 0 {
			t.Errorf("%s by %s: %s, list %v, rules %q", tt.device, tt.ingress, e.Policy, e.List,
				e.Rules)
		}
	}
	want := "ether saddr != " + zerotier.MAC(s.ZeroTier.Networks[0].ID, laptopNode).String() +
		" counter name \"dropped_entrance\" drop"
	if text := state.Nft.String(); strings.Count(text, want) != 1 ||
		!strings.Contains(text, "10.147.17.5 : goto owner_") ||
		!strings.Contains(text, "fd80::5 : goto owner_") {
		t.Errorf("the laptop's addresses are not bound by %q:\n%s", want, text)
	}
}

// Whatever devices chose, and whatever is down, none is led beyond the exits that its rule offers.
func TestChoiceLaws(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, policytest.Seed(t)))
	cfg, s := choosingBox(t)
	random := func() policyroute.Intent {
		s := s
		s.Devices, s.Loops = nil, map[string]bool{}
		for _, e := range cfg.Egresses {
			s.Loops[e.Name] = rng.IntN(4) == 0
		}
		pick := func() string {
			return []string{"", "provider", "backup", "direct", "nosuch"}[rng.IntN(5)]
		}
		s.Devices = []DeviceState{laptop(pick(), "10.147.17.5", "fd80::5"),
			{Device: Device{Network: bridgetest.Network, Member: laptopNode + 1},
				Addrs: addrs("10.147.17.6", "10.147.17.9"), Egress: pick()},
			{Device: Device{Client: "phone"}, Egress: pick()},
			{Device: Device{Client: "tablet"}, Egress: pick()},
			{Device: Device{Addr: netip.MustParseAddr("192.168.60.7")}, Egress: pick()}}
		s.Devices = s.Devices[:rng.IntN(len(s.Devices)+1)]
		d := Decide(cfg, s)
		for _, dev := range s.Devices {
			offers := append(Offers(cfg, s, dev), "provider", "backup", "") // of rules that offer none
			for _, f := range policyroute.Families {
				if _, e := deviceExit(cfg, s, d.Intent, dev, f); !slices.Contains(offers, e) {
					t.Fatalf("%s leaves by %q, and may choose %v", dev, e, offers)
				}
			}
		}
		return d.Intent
	}
	for range 300 {
		if _, err := policyroute.Compile(random()); err != nil {
			t.Fatal(err)
		}
	}
}

// A switch from one exit to another leaks nothing after any of its steps.
func TestChoiceSwitches(t *testing.T) {
	cfg := bridgetest.Parse(t, bridgetest.Uno+
		"policy: [{from: [zerotier], choose: [provider, backup]}]\n")
	_, s := choosingBox(t)
	s.Listeners, s.Clients = nil, nil
	intent := func(egress string) policyroute.Intent {
		s := s
		s.Devices = []DeviceState{laptop(egress, "10.147.17.5", "fd80::5")}
		d := Decide(cfg, s)
		d.Intent.Ingresses = d.Intent.Ingresses[:1] // without the box's own clients
		d.Intent.Policies = slices.DeleteFunc(d.Intent.Policies, func(p policyroute.Policy) bool {
			return slices.Contains(p.Ingress, pathIngress)
		})
		return d.Intent
	}
	f := policytest.NewFake(devicesOf(intent(""))...)
	before := intent("")
	for _, choice := range []string{"provider", "backup", "provider", ""} {
		after := intent(choice)
		want, err := policyroute.Compile(after)
		if err != nil {
			t.Fatal(err)
		}
		for _, op := range policyroute.Diff(observe(t, f), want).Ops {
			if err := f.Apply(t.Context(),
				policyroute.Plan{Ops: []policyroute.Op{op}}); err != nil {
				t.Fatal(err)
			}
			if err := policyroute.LeakFree(observe(t, f), before, after); err != nil {
				t.Fatalf("to %q, after %s: %v", choice, op, err)
			}
		}
		before = after
	}
}

func observe(t *testing.T, f *policytest.Fake) policyroute.State {
	t.Helper()
	s, err := f.Observe()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func devicesOf(in policyroute.Intent) []string {
	out := []string{"eth0"}
	for _, g := range in.Ingresses {
		out = append(out, g.Iface)
	}
	for _, e := range in.Egresses {
		out = append(out, e.Iface)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

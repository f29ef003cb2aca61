package decide

import (
	"net/netip"
	"slices"
	"testing"

	"ztbridge/bridge/bridgetest"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// A moon is reached by those who follow it at its endpoints, through whatever firewall the host
// has.
func TestMoonIsAdmitted(t *testing.T) {
	cfg := bridgetest.Parse(t, `
zerotier: {networks: [`+bridgetest.Network+
		`], moon: {endpoints: [198.51.100.2, "[2001:db8::2]:9993", 198.51.100.2/443]}}
egress: {direct: {wan: {}}}
policy: [{egress: [direct]}]
`)
	state, err := policyroute.Compile(Decide(cfg,
		Snapshot{Host: HostState(bridgetest.HostState()), ZeroTier: bridgetest.Joined()}).Intent)
	if err != nil {
		t.Fatal(err)
	}
	admitted := 0
	for _, c := range state.IPTables {
		if c.Name == policyroute.ChainInput {
			admitted++
			if want := []string{"-p udp -m udp --dport 9993 -j ACCEPT",
				"-p udp -m udp --dport 443 -j ACCEPT"}; !slices.Equal(c.Rules, want) {
				t.Errorf("%s: %q, want %q", c.Family, c.Rules, want)
			}
		}
	}
	if admitted != 2 {
		t.Errorf("admitted in %d families", admitted)
	}
}

// A bridge by which main's default route leads is a way out, for packets of clients too; any other
// only switches.
func TestBridgesSwitch(t *testing.T) {
	cfg := bridgetest.Parse(t, bridgetest.Uno+"ingress: [br-lan, eth7]\n")
	w := HostState(bridgetest.HostState())
	w.Links = append(w.Links, kernel.Link{Name: "br-lan", Up: true, Bridge: true},
		kernel.Link{Name: "eth7", Up: true})
	oneArmed := w
	oneArmed.Defaults = []kernel.DefaultRoute{{Family: policyroute.V6, Iface: "br-lan"}}
	for _, tt := range []struct {
		name string
		w    HostState
		want []string
	}{{"beside a WAN", w, []string{"br-lan"}}, {"as the WAN", oneArmed, nil}} {
		var got []string
		for _, g := range Decide(cfg,
			Snapshot{Host: tt.w, ZeroTier: bridgetest.Joined()}).Intent.Ingresses {
			if g.Switches {
				got = append(got, g.Iface)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v switch, want %v", tt.name, got, tt.want)
		}
	}
}

// What the endpoint answers on a line that main's default route does not take has rules and a table
// of its own.
func TestDesireAnswersByTheLineAsked(t *testing.T) {
	w := HostState(bridgetest.HostState())
	w.Links = append(w.Links, kernel.Link{Name: "eth1", Up: true, Addrs: []netip.Prefix{
		netip.MustParsePrefix("203.0.113.9/24"), netip.MustParsePrefix(
			"2001:db8:1::9/64"), netip.MustParsePrefix("fe80::9/64")}})
	w.Defaults = append(w.Defaults,
		kernel.DefaultRoute{Family: policyroute.V4, Iface: "eth1",
			Gateway: netip.MustParseAddr("203.0.113.1"), Metric: 500},
		kernel.DefaultRoute{Family: policyroute.V4, Iface: "eth1",
			Gateway: netip.MustParseAddr("203.0.113.2"), Metric: 600},
		kernel.DefaultRoute{Family: policyroute.V6, Iface: "eth1",
			Gateway: netip.MustParseAddr("fe80::1")})
	cfg := bridgetest.Parse(t, bridgetest.Uno+
		"endpoint: {address: vm.example.org, listen: [tcp/443]}\n")
	listeners, err := ListenersOf(cfg)
	if err != nil {
		t.Fatal(err)
	}
	in := Decide(cfg, Snapshot{Host: w, ZeroTier: bridgetest.Joined(), Listeners: listeners}).Intent
	state, err := policyroute.Compile(in)
	if err != nil {
		t.Fatal(err)
	}
	if err := policyroute.LeakFree(state, in); err != nil {
		t.Error(err)
	}
	var got []string
	for _, r := range state.Rules {
		if r.SrcPort != 0 {
			got = append(got, r.String())
		}
	}
	for _, r := range state.Routes {
		if r.Table >= policyroute.TableUplinkFirst {
			got = append(got, r.String())
		}
	}
	// Main takes eth1 for IPv6, and has no need to be told.
	want := []string{
		"priority 15920 from 203.0.113.9/32 ipproto tcp sport 443 lookup 254 suppress_prefixlength 0",
		"priority 15921 from 203.0.113.9/32 ipproto tcp sport 443 lookup 23192",
		"default via 203.0.113.1 dev eth1 onlink metric 100 table 23192",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

package decide

import (
	"net/netip"
	"strings"
	"testing"

	"ztbridge/bridge/bridgetest"
	"ztbridge/bridge/config"
)

// A way out that leads to the box itself is none: its route would be refused.
func TestViaThatIsNoOtherMachine(t *testing.T) {
	cfg := bridgetest.Parse(t, "zerotier: {networks: ["+bridgetest.Network+
		"]}\negress: {home: {zerotier: {via: 10.147.17.9}}}\npolicy: [{egress: home}]\n")
	w := HostState(bridgetest.HostState())
	for i, l := range w.Links {
		if l.Name == bridgetest.Iface() {
			w.Links[i].Addrs = []netip.Prefix{netip.MustParsePrefix("10.147.17.1/24"),
				netip.MustParsePrefix("fd00::1/64")}
		}
	}
	for via, want := range map[string]string{
		"10.147.17.9": "", "fd00::9": "", "fd00::ffff:ffff:ffff:ffff": "", "10.147.18.255": "",
		"10.147.17.1": "this box itself", "fd00::1": "this box itself",
		"10.147.17.255": "every machine",
	} {
		e := cfg.Egresses[0]
		e.Peer = &config.Peer{Network: e.Peer.Network}
		if a := netip.MustParseAddr(via); a.Is4() {
			e.Peer.Via4 = a
		} else {
			e.Peer.Via6 = a
		}
		cfg.Egresses[0] = e
		s := Snapshot{Host: w, ZeroTier: bridgetest.Joined()}
		got := CheckNextHop(e, w)
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("via %s: %q, want %q", via, got, want)
		}
		d := Decide(cfg, s)
		if in := d.Intent.Egresses[0]; in.Present != (want == "") ||
			(d.Health["home"] > Unusable) != (want == "") {
			t.Errorf("via %s: present is %v, merit %v", via, in.Present, d.Health["home"])
		}
	}
}

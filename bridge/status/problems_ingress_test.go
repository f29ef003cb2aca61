package status

import (
	"net/netip"
	"strings"
	"testing"

	"ztbridge/bridge/config"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/health"
	"ztbridge/bridge/openvpn/client"
	"ztbridge/bridge/probe"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
	"ztbridge/policyroute/policytest"
)

// An address of the link alone, which the kernel keeps or makes by itself, is none that devices
// could use.
func TestLostAddress(t *testing.T) {
	given := policytest.Prefixes("10.77.0.1/24", "fd77::1/64", "fe80::1/64")
	tests := map[string]struct {
		have    []netip.Prefix
		f       policyroute.Family
		command string // empty: nothing is lost
	}{
		"all there":        {given, policyroute.V6, ""},
		"another of it":    {policytest.Prefixes("fd77::2/64"), policyroute.V6, ""},
		"none at all":      {nil, policyroute.V6, "ip addr replace fd77::1/64 dev ing0"},
		"the link's alone": {given[2:], policyroute.V6, "ip addr replace fd77::1/64 dev ing0"},
		"IPv4, the link's": {policytest.Prefixes("169.254.3.4/16"), policyroute.V4,
			"ip addr replace 10.77.0.1/24 dev ing0"},
		"IPv4, IPv6 is left": {given[1:], policyroute.V4, "ip addr replace 10.77.0.1/24 dev ing0"},
	}
	for name, tt := range tests {
		link := kernel.Link{Name: "ing0", MTU: 1500, Addrs: tt.have}
		p, lost := lostAddress(link, tt.f, given)
		if lost != (tt.command != "") || p.Command != tt.command {
			t.Errorf("%s: lost %t, command %q", name, lost, p.Command)
		}
	}
}

// An interface that had devices and is gone is no matter of the configuration; one that goes by
// another name is told with that.
func TestMissingLink(t *testing.T) {
	i := config.Interface{Name: "ing0", Iface: "ing0"}
	had := linkAddrs{"ing0": policytest.Prefixes("10.77.0.1/24")}
	renamed := decide.HostState{Links: []kernel.Link{{Name: "lan9", Addrs: had["ing0"]}}}
	for name, tt := range map[string]struct {
		in       Input
		severity health.Severity
		says     string
	}{
		"never there": {Input{addrs: linkAddrs{}}, health.Warning, "there is no interface ing0"},
		"gone":        {Input{addrs: had}, health.Error, "interface ing0 is gone"},
		"renamed": {Input{addrs: had, Snapshot: decide.Snapshot{Host: renamed}}, health.Error,
			"interface ing0 is called lan9 now"},
	} {
		if p := missingLink(tt.in, i).Fill(); p.Severity != tt.severity ||
			!strings.Contains(p.Message, tt.says) {
			t.Errorf("%s: %s: %s", name, p.Severity, p.Message)
		}
	}
}

// IPv4 that is dead on the WAN is told where a tunnel needs it, and not of a box that uses IPv6.
func TestWANSilentOverOneVersion(t *testing.T) {
	for server, want := range map[string]string{
		"203.0.113.2:1194":         "over IPv4: its router (192.168.1.1)",
		"[2001:db8:cb::2]:1194":    "",
		"[::ffff:203.0.113.2]:443": "over IPv4",
	} {
		in := well(t)
		in.Snapshot.Uplink = probe.Status{Grade: probe.Fresh, Asked: [2]bool{true, true},
			Of: [2]probe.Grade{probe.Degraded, probe.Fresh}}
		in.Snapshot.Tunnels["provider"] = client.Status{State: client.StateBackoff,
			Server: netip.MustParseAddrPort(server)}
		found := wanProblems(in)
		if len(found) != min(len(want), 1) || want != "" && !strings.Contains(found[0].Message, want) {
			t.Errorf("%s: %+v, want %q", server, found, want)
		}
	}
}

// TestOtherLinksInAnIngress tells of another interface that is in the network of an ingress, and
// not of the box's own network inside a wide one that lies behind a router.
func TestOtherLinksInAnIngress(t *testing.T) {
	prefix := netip.MustParsePrefix
	for addr, want := range map[string]int{"10.77.0.1/24": 1, "172.16.0.1/24": 0} {
		intent := policyroute.Intent{Ingresses: []policyroute.Ingress{{Name: "lan", Iface: "lan0",
			Elsewhere: []netip.Prefix{prefix("10.77.0.0/25")}}}}
		host := decide.HostState{Links: []kernel.Link{{Name: "lan0",
			Addrs: []netip.Prefix{prefix(addr)}}}}
		if got := ingressProblems(intent, host); len(got) != want {
			t.Errorf("beside %s: %v, want %d", addr, got, want)
		}
	}
}

// TestIngressWithoutARP tells of an ingress of any kind that does not ask for its neighbours.
func TestIngressWithoutARP(t *testing.T) {
	for _, iface := range []string{"lan0", "ztlab0"} {
		intent := policyroute.Intent{Ingresses: []policyroute.Ingress{{Name: "in", Iface: iface}}}
		host := decide.HostState{Links: []kernel.Link{{Name: iface, Up: true, NoARP: true}}}
		got := ingressProblems(intent, host)
		if len(got) != 1 || got[0].Code != health.IngressDown ||
			got[0].Command != "ip link set "+iface+" arp on" {
			t.Errorf("%s: %+v", iface, got)
		}
	}
}

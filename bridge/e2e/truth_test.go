package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/health"
	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

const truthConfig = `
ingress: [ing0]
egress:
  provider: {openvpn: {profile: provider.ovpn, credentials: provider.auth}}
probe: {targets: [192.0.2.10, "2001:db8:c0::10"], hold_down: 2s}
`

// truthLab is a box that works, with a client whose streams are measured.
type truthLab struct {
	*lab.Topology
	t       *testing.T
	box     *box
	streams map[string]*lab.Stream
}

// brokenState is one way to leave clients without what they are promised. What status and doctor
// say of it is compared, the remedy is carried out, and all must be well after it.
type brokenState struct {
	name string
	// brk and mend do and undo the thing; an empty mend carries out the remedy that is printed.
	brk, mend func(*truthLab)
	dead      []string // streams that a client does not get
	code      health.Code
	says      []string // in the message
	headline  string   // in the summary
	// transcript names the file of what status and doctor print, where they are compared
	transcript string
}

// shell runs a command on the box.
func shell(command string) func(*truthLab) {
	return func(l *truthLab) { l.box.sh(command) }
}

// reconfigure writes another configuration and has it read.
func reconfigure(config string) func(*truthLab) {
	return func(l *truthLab) {
		l.box.write("ztbridge.yaml", config)
		l.box.reload()
	}
}

var (
	all = []string{"udp4", "udp6", "tcp4", "dns4"}
	v4  = []string{"udp4", "tcp4", "dns4"}
)

// deviceFilter drops what comes by an interface before anything else sees it.
func deviceFilter(iface string) func(*truthLab) {
	return shell("nft 'table netdev foreign { chain c { type filter hook ingress device " + iface +
		" priority 0; drop; }; }'")
}

// foreignTable is a filter as other programs make one.
func foreignTable(hook, rules string) func(*truthLab) {
	return shell(fmt.Sprintf(
		"nft 'table inet foreign { chain c { type filter hook %s; %s; }; }'", hook, rules))
}

const forwardHook = "forward priority 0"

// onThisBox are states that other programs on the box make.
var onThisBox = []brokenState{
	{name: "a foreign filter whose policy is drop", transcript: "foreign-filter",
		brk: foreignTable(forwardHook, "policy drop"), dead: all, code: health.PathBlocked,
		says: []string{"the policy of chain c in table inet foreign"}, headline: "drops their packets"},
	{name: "a foreign filter that rejects",
		brk: foreignTable(forwardHook, "reject with icmpx admin-prohibited"), dead: all,
		code: health.PathBlocked, says: []string{"reject with icmpx admin-prohibited"}},
	{name: "a foreign filter before routing",
		brk:  foreignTable("prerouting priority -150", "meta l4proto != 58 fib daddr type unicast drop"),
		code: health.PathBlocked, dead: all, says: []string{"fib daddr type unicast drop"}},
	{name: "a foreign filter of answers",
		brk:  foreignTable(forwardHook, `iifname "tunztb-*" drop`),
		code: health.PathBlocked, dead: all, says: []string{`iifname \"tunztb-*\" drop`}},
	{name: "a foreign filter of IPv6", brk: foreignTable(forwardHook, "meta nfproto ipv6 drop"),
		code: health.PathBlocked, dead: []string{"udp6"}, says: []string{"no IPv6"}},
	{name: "a foreign filter of IPv4", brk: foreignTable(forwardHook, "meta nfproto ipv4 drop"),
		code: health.PathBlocked, dead: []string{"udp4", "tcp4", "dns4"},
		says: []string{"no IPv4"}},
	{name: "a foreign filter of DNS", brk: foreignTable(forwardHook, "udp dport 53 drop"),
		code: health.PathBlocked, dead: []string{"dns4"}, says: []string{"by DNS"}},
	{name: "a foreign filter of UDP other than DNS",
		brk:  foreignTable(forwardHook, "udp dport 53 accept; udp sport 53 accept; meta l4proto udp drop"),
		code: health.PathBlocked, dead: []string{"udp4", "udp6"}, says: []string{"by UDP"}},
	{name: "a foreign filter of TCP", brk: foreignTable(forwardHook, "meta l4proto tcp drop"),
		code: health.PathBlocked, dead: []string{"tcp4"}, says: []string{"by TCP"}},
	{name: "a limit on the interface",
		brk: foreignTable(forwardHook,
			`iifname "ing0" limit rate 1/hour burst 1 packets accept; iifname "ing0" drop`),
		code: health.PathBlocked, dead: all, says: []string{"hardly any", `iifname \"ing0\" drop`}},
	{name: "a limit on answers",
		brk:  foreignTable(forwardHook, `oifname "ing0" limit rate over 1/hour burst 1 packets drop`),
		code: health.PathBlocked, dead: all, says: []string{"hardly any", "limit rate over"}},
	{name: "a filter that names the interface",
		brk:  foreignTable(forwardHook, `iifname "ing0" drop`),
		code: health.PathBlocked, dead: all, says: []string{`iifname \"ing0\" drop`}},
	{name: "a filter of what goes to the interface",
		brk:  foreignTable(forwardHook, `oifname "ing0" reject`),
		code: health.PathBlocked, dead: all, says: []string{`oifname \"ing0\" reject`}},
	{name: "a filter of legacy iptables", brk: shell("iptables-legacy -P FORWARD DROP"),
		code: health.PathBlocked, dead: []string{"udp4", "tcp4", "dns4"},
		says: []string{"the policy of chain FORWARD", "iptables-legacy"}},
	{name: "a routing rule of another program", transcript: "foreign-rule",
		brk: shell("ip route add default via 198.51.100.1 dev wan0 table 200; " +
			"ip rule add pref 100 from 10.77.0.0/24 lookup 200"),
		code: health.PathDiverted, dead: []string{"udp4", "tcp4", "dns4"},
		says: []string{"100: from 10.77.0.0/24 lookup 200"}, headline: "routing rule"},
	{name: "a routing rule that throws packets away",
		brk:  shell("ip -6 rule add pref 101 from fd77::/64 blackhole"),
		code: health.PathDiverted, dead: []string{"udp6"}, says: []string{"blackhole"}},
	{name: "a routing rule of one device",
		brk:  shell("ip rule add pref 102 from 10.77.0.2 prohibit"),
		code: health.PathDiverted, dead: []string{"udp4", "tcp4", "dns4"},
		says: []string{"from 10.77.0.2/32 prohibit"}},
	{name: "a filter of where they come from",
		brk:  foreignTable(forwardHook, "ip saddr 10.77.0.0/24 drop"),
		code: health.PathBlocked, dead: v4, says: []string{"devices behind ing0 have no IPv4"}},
	{name: "a filter of one device", brk: foreignTable(forwardHook, "ip saddr 10.77.0.2 drop"),
		code: health.PathBlocked, dead: v4, says: []string{"device 10.77.0.2 behind ing0 has no"}},
	{name: "a filter on the interface itself",
		brk:  deviceFilter("ing0"),
		code: health.PathBlocked, dead: all, says: []string{"behind ing0 have no Internet"}},
	{name: "a filter on the tunnel itself",
		brk:  deviceFilter("tunztb-provider"),
		code: health.PathBlocked, dead: all, says: []string{"table netdev foreign"}},
	{name: "a filter of answers before routing",
		brk:  foreignTable("prerouting priority mangle", `iifname "tunztb-provider" drop`),
		code: health.PathBlocked, dead: all, says: []string{"chain c of table inet foreign"}},
	{name: "a rule of legacy iptables for the interface",
		brk:  shell("iptables-legacy -A FORWARD -i ing0 -j DROP"),
		code: health.PathBlocked, dead: v4, says: []string{"-A FORWARD -i ing0 -j DROP"}},
	{name: "a rule of iptables before routing",
		brk:  shell("iptables -t raw -A PREROUTING -i ing0 -j DROP"),
		code: health.PathBlocked, dead: v4, says: []string{"table raw (iptables-nft)"}},
	{name: "a mark and a routing rule for it",
		brk: shell(`nft 'table inet foreign { chain c { type filter hook prerouting priority ` +
			`mangle; iifname "ing0" meta mark set 0x99; }; }'; ` +
			"ip rule add pref 103 fwmark 0x99 prohibit"),
		code: health.PathDiverted, dead: v4, says: []string{"fwmark 0x99 prohibit"}},
	{name: "a routing rule of TCP", brk: shell("ip rule add pref 104 ipproto tcp prohibit"),
		code: health.PathDiverted, dead: []string{"tcp4"},
		says: []string{"some traffic", "ipproto tcp"}},
	{name: "a routing rule of answers",
		brk:  shell("ip rule add pref 105 to 10.77.0.0/24 blackhole"),
		code: health.PathDiverted, dead: v4, says: []string{"to 10.77.0.0/24 blackhole"}},
	{name: "a route that throws answers away", brk: shell("ip route add blackhole 10.77.0.2"),
		code: health.PathDiverted, dead: v4, says: []string{"blackhole 10.77.0.2/32"}},
	{name: "a route that leads some devices elsewhere",
		brk:  shell("ip route add 10.77.0.0/25 via 192.168.50.20 dev lan0"),
		code: health.PathDiverted, dead: v4,
		says: []string{"sent elsewhere", "10.77.0.0/25 via 192.168.50.20 dev lan0"}},
	{name: "a route that leads one device elsewhere",
		brk:  shell("ip -6 route add fd77::2 via 2001:db8:b0::1 dev wan0"),
		code: health.PathDiverted, dead: []string{"udp6"}, says: []string{"fd77::2/128"}},
	{name: "packets that are not tracked",
		brk:  shell("iptables -t raw -A PREROUTING -i ing0 -j NOTRACK"),
		code: health.PathBlocked, dead: v4, says: []string{"keeps ztbridge from translating"}},
	{name: "an interface that does not ask for neighbours", brk: shell("ip link set ing0 arp off"),
		code: health.IngressDown, dead: all, says: []string{"arp off"}},
	{name: "an IPsec policy that throws packets away",
		brk: shell("ip xfrm policy add src 10.77.0.0/24 dir fwd action block; " +
			"nft add table ip other; nft delete table ip other"), // has it look at once
		mend: shell("ip xfrm policy delete src 10.77.0.0/24 dst 0.0.0.0/0 dir fwd; " +
			"nft add table ip other; nft delete table ip other"),
		code: health.PathDiverted, dead: v4, says: []string{"src 10.77.0.0/24 dst 0.0.0.0/0"}},
	{name: "a routing rule to main", brk: shell("ip -6 rule add pref 106 lookup main"),
		code: health.PathDiverted, dead: []string{"udp6"}, says: []string{"lookup main"}},
	{name: "an interface that is switched off", brk: shell("ip link set ing0 down"),
		code: health.IngressDown, dead: all, says: []string{"ing0 is switched off"}},
	{name: "an interface whose IPv6 is switched off",
		brk:  shell("sysctl -qw net.ipv6.conf.ing0.disable_ipv6=1"),
		code: health.IngressAddress, dead: []string{"udp6"},
		says: []string{"IPv6 is switched off"}},
	{name: "a filter of IPv6 by its reverse path, as firewalld's",
		brk: foreignTable("prerouting priority 10",
			"meta nfproto ipv6 fib saddr . mark . iif oif missing drop"),
		code: health.PathBlocked, dead: []string{"udp6"}, says: []string{"fib saddr"}},
	{name: "an interface that is renamed",
		brk: shell("ip link set ing0 down; ip link set ing0 name lan9; ip link set lan9 up"),
		mend: shell("ip link set lan9 down; ip link set lan9 name ing0; ip link set ing0 up; " +
			"ip -6 addr replace fd77::1/64 dev ing0 nodad"),
		code: health.IngressMissing, dead: all, says: []string{"ing0 is called lan9 now"}},
	{name: "an MTU that IPv6 cannot use", brk: shell("ip link set ing0 mtu 1000"),
		code: health.IngressAddress, dead: []string{"udp6"}, says: []string{"MTU of 1000"}},
	{name: "an interface without a link-local address",
		brk:  shell("ip -6 addr flush dev ing0 scope link; ip -6 neigh flush dev ing0"),
		code: health.IngressAddress, dead: []string{"udp6"}, says: []string{"link-local"}},
	{name: "an address that another machine claims",
		brk: func(l *truthLab) {
			l.box.sh("sysctl -qw net.ipv6.conf.ing0.accept_dad=1; " +
				"ip -6 addr del fd77::1/64 dev ing0; ip -6 addr add fd77::1/64 dev ing0")
			must(l.t, claim(l.Client, "fd77::1"))
			_, err := l.Client.Run(l.t.Context(), "ip", "-6", "neigh", "flush", "dev", "eth0")
			must(l.t, err)
		},
		code: health.IngressAddress, dead: []string{"udp6"}, says: []string{"uses fd77::1"}},
}

// claim answers, for some two seconds, the box's question whether anybody has its new address.
func claim(from *netlab.Namespace, addr string) error {
	const advertise = `
import socket, struct, sys, time
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex("eth0"))
for _ in range(20):
    s.sendto(struct.pack("!BBHI", 136, 0, 0, 1 << 29) +
        socket.inet_pton(socket.AF_INET6, sys.argv[1]), ("ff02::1", 0))
    time.sleep(0.1)`
	_, err := from.Run(context.Background(), "python3", "-c", advertise, addr)
	return err
}

// elsewhere are states of the provider, the WAN and the configuration, and filters that are found
// late or by other means.
var elsewhere = []brokenState{
	{name: "a filter that lets only others through",
		brk: foreignTable(forwardHook, `policy drop; iifname "tunztb*" accept; `+
			`oifname "tunztb.check" accept`),
		code: health.PathBlocked, dead: all, says: []string{"the policy of chain c"}},
	{name: "IPv4 that is dead in the tunnel", transcript: "ipv4-dead", brk: providerDrops("meta nfproto ipv4 drop"),
		mend: providerHeals, code: health.EgressSilent, dead: []string{"udp4", "tcp4"},
		says: []string{"over IPv4", "nothing beyond provider answers"}, headline: "IPv4"},
	{name: "IPv6 that is dead in the tunnel", brk: providerDrops("meta nfproto ipv6 drop"),
		mend: providerHeals, code: health.EgressSilent, dead: []string{"udp6"},
		says: []string{"have no IPv6"}, headline: "no IPv6"},
	{name: "connections that a provider drops",
		brk: func(l *truthLab) {
			providerDrops("meta l4proto tcp drop")(l)
			l.box.sh("nft add table ip other; nft delete table ip other") // has it look at once
		},
		mend: providerHeals, code: health.PathBroken, dead: []string{"tcp4"},
		says: []string{"by TCP over IPv4"}, headline: "by TCP"},
	{name: "UDP that a provider drops",
		brk: func(l *truthLab) {
			providerDrops("meta l4proto udp drop")(l)
			l.box.sh("nft add table ip other; nft delete table ip other") // has it look at once
		},
		mend: providerHeals, code: health.PathBroken, dead: []string{"udp4", "udp6"},
		says: []string{"by UDP over IPv4"}, headline: "needs attention"},
	{name: "UDP to one port that a provider drops",
		brk: func(l *truthLab) {
			providerDrops("udp dport 443 drop")(l)
			l.box.sh("nft add table ip other; nft delete table ip other") // has it look at once
		},
		mend: providerHeals, code: health.PathBroken,
		says: []string{"by UDP over IPv4", "to port 443 at least"}, headline: "needs attention"},
	{name: "connections that a provider resets",
		brk: func(l *truthLab) {
			providerDrops("meta l4proto tcp reject with tcp reset")(l)
			l.box.sh("nft add table ip other; nft delete table ip other") // has it look at once
		},
		mend: providerHeals, code: health.PathBroken, dead: []string{"tcp4"},
		says: []string{"by TCP over IPv4", "resets connections"}, headline: "by TCP"},
	{name: "a resolver that gives every name one address",
		brk: func(l *truthLab) {
			l.Providers[0].DNS.SetAlike(netip.MustParseAddr("10.1.1.1"))
			l.box.sh("nft add table ip other; nft delete table ip other")
		},
		mend: func(l *truthLab) { l.Providers[0].DNS.SetAlike(netip.Addr{}) },
		code: health.DNSUnanswered, says: []string{"answers every name with 10.1.1.1"},
		headline: "cannot look up names"},
	{name: "no default route", brk: shell("ip route del default; ip -6 route del default"),
		mend: shell("ip route add default via 198.51.100.1; " +
			"ip -6 route add default via 2001:db8:b0::1"),
		code: health.WANDown, dead: all, headline: "no Internet"},
	{name: "a rule of legacy iptables",
		brk:  shell("iptables-legacy -A FORWARD -p udp -j DROP"),
		code: health.PathBlocked, dead: []string{"udp4", "dns4"},
		says: []string{"-A FORWARD -p udp -j DROP"}},
	{name: "a resolver that is dead", transcript: "resolver-dead",
		brk:  func(l *truthLab) { l.Providers[0].DNS.SetSilent(true) },
		mend: func(l *truthLab) { l.Providers[0].DNS.SetSilent(false) },
		code: health.DNSUnanswered, dead: []string{"dns4"},
		says: []string{"cannot look up names", "10.8."}, headline: "cannot look up names"},
	{name: "an endpoint that no rule covers", transcript: "endpoint-uncovered",
		brk: reconfigure(truthConfig + "policy: [{from: [ing0], egress: [provider]}]\n" +
			"endpoint: {address: 198.51.100.2, listen: [udp/1194]}\n"),
		mend: reconfigure(truthConfig), code: health.IngressUncovered,
		says: []string{"endpoint"}, headline: "no rule of the policy covers"},
	{name: "an interface that does not exist",
		brk:  reconfigure(strings.Replace(truthConfig, "[ing0]", "[ing0, ing7]", 1)),
		mend: reconfigure(truthConfig), code: health.IngressMissing, says: []string{"ing7"}},
	{name: "a configuration that is refused", transcript: "reload-refused",
		brk: func(l *truthLab) {
			l.box.write("ztbridge.yaml", truthConfig+"polcy: []\n")
			if out, err := l.box.run("reload"); err == nil {
				l.t.Errorf("a reload that is refused succeeds: %s", out)
			}
		},
		mend: reconfigure(truthConfig), code: health.ReloadRefused, says: []string{"polcy"}},
	{name: "the cable is out", transcript: "cable-out", brk: shell("ip link set wan0 down"),
		mend: shell("ip link set wan0 up; ip route add default via 198.51.100.1; " +
			"ip -6 addr replace 2001:db8:b0::2/64 dev wan0 nodad; " +
			"ip -6 route add default via 2001:db8:b0::1"),
		code: health.WANDown, dead: all, headline: "no Internet"},
	{name: "a router that passes nothing on", transcript: "router-silent",
		brk: func(l *truthLab) {
			_, err := l.Router.Run(l.t.Context(), "nft",
				"table inet broken { chain c { type filter hook forward priority 0; drop; }; }")
			must(l.t, err)
		},
		mend: func(l *truthLab) {
			_, err := l.Router.Run(l.t.Context(), "nft", "delete", "table", "inet", "broken")
			must(l.t, err)
		},
		code: health.WANSilent, dead: all, says: []string{"its router (198.51.100.1)"},
		headline: "othing on the Internet answers this box"},
	{name: "a wrong hardware address of the router",
		brk:  shell("ip neigh replace 198.51.100.1 lladdr 02:00:00:00:00:99 dev wan0 nud permanent"),
		code: health.WANSilent, dead: all, says: []string{"over IPv4", "02:00:00:00:00:99"},
		headline: "othing on the Internet answers this box"},
	{name: "a line that is dead and comes before another",
		brk: shell("ip route add default via 192.168.50.20 dev lan0 metric 50; " +
			"ip route del default via 198.51.100.1; " +
			"ip route add default via 198.51.100.1 dev wan0 metric 100"),
		code: health.WANSilent, dead: all, says: []string{"over IPv4", "192.168.50.20"},
		headline: "othing on the Internet answers this box"},
	{name: "a network that wants a sign-in",
		brk: wantsSignInBy(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://login.hotel.lab/", http.StatusFound)
		}),
		mend: letsIn, code: health.WANSignIn, dead: all,
		says: []string{"wants a sign-in", "login.hotel.lab"}, headline: "sign-in"},
	{name: "a network that answers in the place of others",
		brk: wantsSignInBy(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("<title>Welcome to the hotel</title>"))
		}),
		mend: letsIn, code: health.WANSignIn, dead: all,
		says: []string{"answers web requests in the place of others"}, headline: "sign-in"},
	{name: "a server that is gone", brk: func(l *truthLab) { l.Providers[0].Kill() },
		mend: func(l *truthLab) { must(l.t, l.Providers[0].Restart(l.t.Context())) },
		code: health.TunnelReconnecting, dead: all, headline: "No exit is connected"},
	{name: "a password that is refused", transcript: "password-refused",
		brk: func(l *truthLab) {
			must(l.t, l.Providers[0].SetCredentials(lab.Credentials{User: "n", Password: "n"}))
			must(l.t, l.Providers[0].Disconnect())
		},
		mend: func(l *truthLab) {
			must(l.t, l.Providers[0].SetCredentials(truthCustomer))
			l.box.reload()
		},
		code: health.TunnelAuthFailed, dead: all, headline: "No exit is connected"},
}

// wantsSignInBy has the router pass nothing on but names, and answer web requests itself.
func wantsSignInBy(answer http.HandlerFunc) func(*truthLab) {
	return func(l *truthLab) {
		page, err := l.Router.Listen("tcp", "[::]:8880")
		must(l.t, err)
		server := &http.Server{ReadHeaderTimeout: waitTimeout, Handler: answer}
		go func() { _ = server.Serve(page) }()
		l.t.Cleanup(func() { _ = server.Close() })
		must(l.t, l.Router.Nft(`table inet broken {
		chain web { type nat hook prerouting priority dstnat; iifname "wan" tcp dport 80 redirect to :8880; }
		chain c { type filter hook forward priority 0; iifname "wan" udp dport 53 accept; iifname "wan" drop; }
	}`))
	}
}

func letsIn(l *truthLab) { must(l.t, l.Router.Nft("delete table inet broken")) }

// providerDrops has the provider drop what it forwards.
func providerDrops(rules string) func(*truthLab) {
	return func(l *truthLab) { drops(l.t, l.Providers[0], rules) }
}

func providerHeals(l *truthLab) {
	_, err := l.Providers[0].NS.Run(l.t.Context(), "nft", "delete", "table", "inet", "broken")
	must(l.t, err)
}

var truthCustomer = lab.Credentials{User: "customer", Password: "secret"}

// reload has the daemon read its configuration, which must be good.
func (b *box) reload() {
	b.t.Helper()
	b.mustRun("reload")
}

// TestTruth makes states in which a client does not get what it is promised. For each of them
// status and doctor must say so, name the cause, and name a remedy after which all is well.
func TestTruth(t *testing.T) {
	t.Parallel()
	runTruth(t, onThisBox)
}

// TestTruthElsewhere is the same of what is wrong elsewhere.
func TestTruthElsewhere(t *testing.T) {
	t.Parallel()
	runTruth(t, elsewhere)
}

func runTruth(t *testing.T, states []brokenState) {
	l := newTruthLab(t)
	l.healthyTranscript()
	l.tell(states)
	l.box.stop()
	l.transcript("daemon-stopped")
}

// tell makes all states, one after the other.
func (l *truthLab) tell(states []brokenState) {
	t := l.t
	for _, s := range states {
		if !t.Run(s.name, func(t *testing.T) {
			l.t, l.box.t = t, t
			l.check(s)
		}) {
			break // what is left of it would be taken for the next one's
		}
	}
	l.t, l.box.t = t, t
}

// newTruthLab returns a lab in which all is well.
func newTruthLab(t *testing.T) *truthLab {
	l := startTruthLab(t, truthConfig)
	l.streamsOf(func(kind lab.Kind, v lab.Version) *lab.Stream {
		s, err := l.ClientStream(kind, v, 20)
		must(t, err)
		return s
	})
	return l
}

// startTruthLab returns one without streams.
func startTruthLab(t *testing.T, config string) *truthLab {
	top := standard(t, lab.Options{Providers: []lab.ProviderOptions{{
		Credentials: &truthCustomer}}})
	webOf(t, top)
	b := newBox(t, top.Box)
	b.write("provider.ovpn", top.Providers[0].Config())
	b.write("provider.auth", truthCustomer.User+"\n"+truthCustomer.Password+"\n")
	b.write("ztbridge.yaml", config)
	b.start()
	return &truthLab{Topology: top, t: t, box: b}
}

// webOf has the targets on the Internet accept connections, as most do.
func webOf(t *testing.T, top *lab.Topology) {
	web, err := top.Internet.Listen("tcp", "[::]:443")
	must(t, err)
	t.Cleanup(func() { _ = web.Close() })
}

// streamsOf starts the client's streams, and waits until all is well.
func (l *truthLab) streamsOf(start func(lab.Kind, lab.Version) *lab.Stream) {
	l.streams = map[string]*lab.Stream{"udp4": start(lab.UDP, lab.IPv4),
		"udp6": start(lab.UDP, lab.IPv6), "tcp4": start(lab.TCP, lab.IPv4),
		"dns4": start(lab.DNS, lab.IPv4)}
	l.awaitWell("the start")
}

// awaitWell waits until nothing is wrong and every stream is answered.
func (l *truthLab) awaitWell(after string) {
	l.t.Helper()
	l.box.await("no problem after "+after, func(st api.Status) bool {
		return st.State == api.Working && !slices.ContainsFunc(st.Conditions,
			func(c api.Condition) bool { return c.Severity.AtLeast(health.Warning) })
	})
	for _, s := range l.streams {
		awaitAnswers(l.t, s, 5)
	}
}

// check makes one state, and has its remedy carried out.
func (l *truthLab) check(s brokenState) {
	began := time.Now()
	s.brk(l)
	var found api.Condition
	st := l.box.await("the problem "+string(s.code), func(st api.Status) bool {
		i := slices.IndexFunc(st.Conditions, func(c api.Condition) bool {
			for _, want := range s.says {
				if !strings.Contains(c.Message, want) {
					return false
				}
			}
			return c.Code == s.code
		})
		if i >= 0 {
			found = st.Conditions[i]
		}
		return i >= 0
	})
	l.t.Logf("said after %.1f s: %s\n\t%s\n\tremedy: %s", time.Since(began).Seconds(), st.Summary,
		found.Message, found.Remedy)
	if st.State == api.Working || !strings.Contains(st.Summary, s.headline) {
		l.t.Errorf("the headline of %s: %q, want %q", st.State, st.Summary, s.headline)
	}
	if text, err := l.box.run("doctor"); err == nil && found.Severity == health.Error ||
		!strings.Contains(strings.Join(strings.Fields(text), " "), found.Remedy) ||
		!strings.Contains(text, found.Command) {
		l.t.Errorf("doctor (%v) does not name the remedy %q:\n%s", err, found.Remedy, text)
	}
	l.measure(s)
	if s.transcript != "" {
		l.transcript(s.transcript)
	}
	switch {
	case s.mend != nil:
		s.mend(l)
	case found.Command == "":
		l.t.Error("there is no command that helps")
	default:
		l.remedy(found)
	}
	l.awaitWell(s.name)
	l.box.sh("nft delete table inet foreign 2>/dev/null; ip rule del pref 100 2>/dev/null; " +
		"nft delete table netdev foreign 2>/dev/null; iptables -t raw -F PREROUTING; " +
		"ip route del default metric 100 2>/dev/null && ip route add default via 198.51.100.1; true")
	for _, program := range []string{"iptables-legacy", "ip6tables-legacy"} {
		l.box.sh(program + " -P FORWARD ACCEPT; " + program + " -F FORWARD; " + program +
			" -F INPUT")
	}
}

// remedy carries out what the problem names, and what those name that come up behind it.
func (l *truthLab) remedy(found api.Condition) {
	same := func(c api.Condition) bool { return c.Code == found.Code }
	for range 3 {
		l.box.sh(found.Command)
		st := l.box.await("the end of the problem, or what is behind it", func(st api.Status) bool {
			return !slices.ContainsFunc(st.Conditions, func(c api.Condition) bool {
				return same(c) && c.Command == found.Command
			})
		})
		i := slices.IndexFunc(st.Conditions, same)
		if i < 0 {
			return
		}
		found = st.Conditions[i]
	}
}

// measure compares what the client has with what it should not have.
func (l *truthLab) measure(s brokenState) {
	l.t.Helper()
	before := map[string]int{}
	for name, stream := range l.streams {
		_, before[name], _ = stream.Counts()
	}
	const window = time.Second
	time.Sleep(window)
	for name, stream := range l.streams {
		_, now, _ := stream.Counts()
		if dead := slices.Contains(s.dead, name); dead && now-before[name] > 1 {
			l.t.Errorf("the client's %s is answered %d times in %v", name, now-before[name], window)
		} else if !dead && now == before[name] {
			l.t.Errorf("the client's %s is dead, too", name)
		}
	}
}

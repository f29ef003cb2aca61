package e2e

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"ztbridge/bridge/health"
	"ztbridge/bridge/lab"
)

const truthEndpointConfig = `
endpoint: {address: 198.51.100.2, listen: [udp/1194, tcp/443]}
egress:
  provider: {openvpn: {profile: provider.ovpn, credentials: provider.auth}}
policy: [{from: [endpoint], egress: [provider]}]
probe: {targets: [192.0.2.10, "2001:db8:c0::10"], hold_down: 2s}
`

// TestTruthEndpoint is TestTruth of a client of the endpoint.
func TestTruthEndpoint(t *testing.T) {
	t.Parallel()
	l := startTruthLab(t, truthEndpointConfig)
	l.box.awaitEgress("provider")
	phone := newGuest(t, l.Topology, l.box, "phone", "udp")
	l.streamsOf(func(kind lab.Kind, v lab.Version) *lab.Stream {
		to := map[lab.Version]netip.Addr{lab.IPv4: lab.ClientTarget4, lab.IPv6: lab.ClientTarget6}
		place := targetOf(to[v])
		if kind == lab.DNS {
			place = netip.AddrPortFrom(lab.PublicResolver4, 53)
		}
		return phone.stream(kind, place, 20, l.Marker)
	})
	l.tell(endpointStates(phone))
}

// endpointStates are states that a client of the endpoint meets.
func endpointStates(phone *guest) []brokenState {
	// connectsAgain has the client begin anew, as a session that is there is let through.
	connectsAgain := func(do func(*truthLab)) func(*truthLab) {
		return func(l *truthLab) {
			do(l)
			phone.proc.Stop()
			l.box.sh("conntrack -D -p udp --dport 1194 >/dev/null 2>&1; true")
			phone.start(onlyBy("udp", l.box.mustRun("client", "show", phone.name)))
		}
	}
	var busy net.PacketConn
	const input = "input priority 0"
	return []brokenState{
		{name: "a resolver that is dead",
			brk:  func(l *truthLab) { l.Providers[0].DNS.SetSilent(true) },
			mend: func(l *truthLab) { l.Providers[0].DNS.SetSilent(false) },
			code: health.DNSUnanswered, dead: []string{"dns4"},
			says: []string{"cannot look up names"}, headline: "cannot look up names"},
		{name: "a filter of one client",
			brk:  foreignTable(forwardHook, "ip saddr "+phone.addr4.String()+" drop"),
			code: health.PathBlocked, dead: v4,
			says: []string{"client phone (" + phone.addr4.String() + ") has no IPv4"}},
		{name: "a routing rule of one client",
			brk:  shell("ip rule add pref 100 from " + phone.addr4.String() + " prohibit"),
			code: health.PathDiverted, dead: v4, says: []string{"clients of the endpoint"}},
		{name: "a routing rule of all clients",
			brk: shell("ip route add default via 198.51.100.1 dev wan0 table 200; " +
				"ip rule add pref 100 from " + clientPool4.String() + " lookup 200"),
			code: health.PathDiverted, dead: v4, says: []string{"clients of the endpoint"}},
		{name: "a filter that lets nobody in",
			brk: connectsAgain(foreignTable(input, "policy drop; iif lo accept; "+
				"ct state established,related accept; icmpv6 type nd-neighbor-solicit accept; "+
				"icmpv6 type nd-neighbor-advert accept; tcp dport { 22, 80 } accept")),
			code: health.ListenerFailed, dead: all,
			says: []string{"cannot connect by udp/1194: the policy of chain c"}},
		{name: "a filter of legacy iptables that lets nobody in",
			brk: connectsAgain(shell("iptables-legacy -A INPUT -m conntrack --ctstate " +
				"ESTABLISHED,RELATED -j ACCEPT; iptables-legacy -A INPUT -i wan0 -p udp -m udp " +
				"--dport 53 -j ACCEPT; iptables-legacy -A INPUT -i wan0 -j REJECT")),
			code: health.ListenerFailed, dead: all,
			says: []string{"by udp/1194 over IPv4", "-A INPUT -i wan0 -j REJECT"}},
		{name: "a rule that leads elsewhere",
			brk: connectsAgain(shell("nft 'table inet foreign { chain c { type nat hook " +
				"prerouting priority dstnat; udp dport 1194 redirect to :9; }; }'")),
			code: health.ListenerFailed, dead: all, says: []string{"redirect to :9"}},
		{name: "a listener's port that is changed, and busy",
			brk: connectsAgain(func(l *truthLab) {
				var err error
				busy, err = l.Box.ListenPacket("udp", "0.0.0.0:1195")
				must(l.t, err)
				reconfigure(strings.Replace(truthEndpointConfig, "udp/1194", "udp/1195", 1))(l)
			}),
			mend: connectsAgain(func(l *truthLab) { must(l.t, busy.Close()) }),
			code: health.ListenerFailed, dead: all,
			says: []string{"cannot connect by udp/1195", "in use"}},
		{name: "a rule that is removed while it is used",
			brk:  reconfigure(strings.Replace(truthEndpointConfig, "[endpoint]", "[10.0.0.1]", 1)),
			mend: connectsAgain(reconfigure(truthEndpointConfig)), code: health.IngressUncovered,
			dead: all, says: []string{"come by endpoint"}, headline: "no rule of the policy"},
		{name: "an egress that is renamed, and its server gone",
			brk: func(l *truthLab) {
				l.Providers[0].Kill()
				reconfigure(strings.NewReplacer("provider:", "other:", "[provider]", "[other]").
					Replace(truthEndpointConfig))(l)
			},
			mend: func(l *truthLab) { must(l.t, l.Providers[0].Restart(l.t.Context())) },
			code: health.TunnelConnecting, dead: all, headline: "No exit is connected"},
	}
}

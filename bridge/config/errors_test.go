package config

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each case is a file and every line that must be said of it, in order. ztbridge.yaml is in the
// test's directory; its path is cut off.
func TestMistakes(t *testing.T) {
	endpoint := minimal + "endpoint: {address: vm.example.org}\n"
	cases := []struct {
		name, text string
		class      error
		want       []string
	}{
		{"empty", "", ErrMissing, []string{
			"ztbridge.yaml: no source of traffic is configured yet; put your ZeroTier network's id under `zerotier:`, as `networks: [ID]`"}},
		{"not yaml", "zerotier:\n\t- x\n", ErrSyntax, []string{
			"ztbridge.yaml:2: not valid YAML: this line begins with a tab; YAML wants spaces"}},
		{"profile and profiles", "zerotier: {networks: [abcdef0123000001]}\n" +
			"egress: {p: {openvpn: {profile: a, profiles: b}}}\n", ErrValue, []string{
			"ztbridge.yaml:2: egress.p.openvpn.profiles: the egress has both profile and profiles; " +
				"remove one of them"}},
		{"a folder as a profile", "zerotier: {networks: [abcdef0123000001]}\n" +
			"egress: {p: {openvpn: {profile: /proc}}}\n", ErrFile, []string{
			"ztbridge.yaml:2: egress.p.openvpn.profile: /proc is a folder; for the profiles in it " +
				"write `profiles:`, or name one file"}},
		{"a list", "- a\n", ErrType, []string{
			"ztbridge.yaml:1: the file is not a list of keys; write `zerotier:` and so on, one key a line"}},
		{"two documents", minimal + "---\n" + minimal, ErrSyntax, []string{
			"ztbridge.yaml: there is more than one document; remove the line `---` and what follows it"}},
		{"alias", minimal + "probe: {targets: &a [1.1.1.1]}\n", ErrSyntax, []string{
			"ztbridge.yaml:3: anchors and aliases (& and *) are not supported; write the value out, or put it in quotes if it is a text"}},
		{"unknown key", minimal + "endpont: {}\n", ErrUnknownKey, []string{
			`ztbridge.yaml:3: endpont: unknown key; did you mean "endpoint"?`}},
		{"unknown key unlike any", minimal + "probe: {colour: red}\n", ErrUnknownKey, []string{
			"ztbridge.yaml:3: probe.colour: unknown key; known here: hold_down, interval, targets"}},
		{"no keys", minimal + "probe: true\n", ErrType, []string{
			"ztbridge.yaml:3: probe: expected keys with values; write them as `key: value`; " +
				"known here: hold_down, interval, targets"}},
		{"duplicate key", minimal + "egress: {}\n", ErrDuplicate, []string{
			"ztbridge.yaml:3: egress: this key is given twice, first on line 2; remove one of them"}},
		{"every mistake at once",
			"zerotier: {networks: [123], home: [a]}\negress:\n  Up: {wan: {}}\n  provider: {openvpn: {}}\nprobe:\n  interval: soon\n", ErrValue, []string{
				`ztbridge.yaml:1: zerotier.networks[0]: "123" is not a network id; write the 16 hexadecimal digits beside your network's name on https://central.zerotier.com (older accounts: https://my.zerotier.com), or ` + "`ztbridge network setup`, which can also make one",
				"ztbridge.yaml:1: zerotier.home: expected a single value",
				`ztbridge.yaml:3: egress.Up: "Up" is not a good name; use up to 31 lower-case letters, digits and hyphens, a letter first`,
				"ztbridge.yaml:4: egress.provider.openvpn: a tunnel needs the provider's profile; add `profile: provider.ovpn`",
				`ztbridge.yaml:6: probe.interval: "soon" is not a duration from 100ms to 1m0s; write it as 500ms, 30s or 5m`}},
		{"the placeholder",
			"zerotier: {networks: [your-16-digit-network-id]}\negress: {d: {wan: {}}}\npolicy: [{egress: d}]\n", ErrValue, []string{
				`ztbridge.yaml:1: zerotier.networks[0]: "your-16-digit-network-id" stands for the id of your own network; write the 16 hexadecimal digits beside your network's name on https://central.zerotier.com (older accounts: https://my.zerotier.com), or ` + "`ztbridge network setup`, which can also make one"}},
		{"the public network",
			"zerotier: {networks: [8056C2E21C000001]}\negress: {d: {wan: {}}}\npolicy: [{egress: d}]\n", ErrValue, []string{
				`ztbridge.yaml:1: zerotier.networks[0]: 8056c2e21c000001 is ZeroTier's public network, which anybody may join: strangers would reach this box and use its exits; make a private network: write the 16 hexadecimal digits beside your network's name on https://central.zerotier.com (older accounts: https://my.zerotier.com), or ` + "`ztbridge network setup`, which can also make one"}},
		{"network twice",
			"zerotier: {networks: [abcdef0123000001, ABCDEF0123000001]}\negress: {d: {wan: {}}}\npolicy: [{egress: d}]\n", ErrDuplicate, []string{
				"ztbridge.yaml:1: zerotier.networks[1]: this network is listed twice; remove one of them"}},
		{"no kind", minimal + "policy: [{egress: provider}]\ningress: [{name: lan}]\n", ErrMissing,
			[]string{
				"ztbridge.yaml:4: ingress[0]: an ingress needs its interface; add `interface:` with a name that `ip -brief link` lists"}},
		{"our own device", minimal + "ingress: [tunztb0]\n", ErrValue, []string{
			`ztbridge.yaml:3: ingress[0]: "tunztb0" belongs to the system or to ztbridge itself; name an interface that traffic of others passes`}},
		{"interface of a stranger's language", minimal + "ingress: ['wlan+', größe]\n", ErrValue,
			[]string{
				"ztbridge.yaml:3: ingress[0]: \"wlan+\" is not an interface name of letters, digits, `_`, `.` and `-`; `ip -brief link` lists the interfaces; rename one that has other characters: ip link set NAME name NEW",
				"ztbridge.yaml:3: ingress[1]: \"größe\" is not an interface name of letters, digits, `_`, `.` and `-`; `ip -brief link` lists the interfaces; rename one that has other characters: ip link set NAME name NEW"}},
		{"every address behind an interface",
			minimal + "ingress: [{interface: lan0, prefixes: [0.0.0.0/0]}]\n", ErrValue, []string{
				"ztbridge.yaml:3: ingress[0].prefixes: 0.0.0.0/0 would be every address, the Internet's too; write the networks that lie behind the interface"}},
		{"reserved name", minimal + "ingress: [{interface: eth1, name: endpoint}]\n", ErrValue,
			[]string{
				"ztbridge.yaml:3: ingress[0]: \"endpoint\" is the name of a whole kind of ingress; choose another `name:`"}},
		{"two kinds",
			"zerotier: {networks: [abcdef0123000001]}\negress: {a: {wan: {}, openvpn: {profile: provider.ovpn}}}\n", ErrValue, []string{
				"ztbridge.yaml:2: egress.a: one egress is one way out, and this has wan and openvpn; make an egress of each"}},
		{"unknown kind",
			"zerotier: {networks: [abcdef0123000001]}\negress: {a: {opnvpn: {profile: provider.ovpn}}}\n", ErrUnknownKey, []string{
				`ztbridge.yaml:2: egress.a.opnvpn: unknown kind of egress; did you mean "openvpn"?`}},
		{"two of one wan",
			"zerotier: {networks: [abcdef0123000001]}\negress: {a: {wan: {}}, b: {wan: {}}}\npolicy: [{egress: [a, b]}]\n", ErrDuplicate, []string{
				"ztbridge.yaml:2: egress.b: it leaves by the same interface as \"a\"; give each its own `interface:`"}},
		{"plain resolver with a port",
			"zerotier: {networks: [abcdef0123000001]}\negress: {d: {wan: {dns: ['10.2.0.1:5353', '10.2.0.1:53', '[2001:db8::1]:54']}}}\npolicy: [{egress: d}]\n", ErrValue, []string{
				`ztbridge.yaml:2: egress.d.wan.dns[0]: "10.2.0.1:5353" has a port of its own: a plain resolver is asked on port 53; leave the port out; only tls:// takes one`,
				`ztbridge.yaml:2: egress.d.wan.dns[2]: "[2001:db8::1]:54" has a port of its own: a plain resolver is asked on port 53; leave the port out; only tls:// takes one`}},
		{"shape",
			"egress: {d: {wan: {shape: fast}}}\npolicy: [{egress: d}]\n", ErrValue, []string{
				`ztbridge.yaml:1: egress.d.wan.shape: "fast" is not the rate of a line; write it as 50mbit (kbit, mbit, gbit), a little below what the line uploads`}},
		{"shape without a unit",
			"egress: {d: {wan: {shape: 50}}}\npolicy: [{egress: d}]\n", ErrValue, []string{
				`ztbridge.yaml:1: egress.d.wan.shape: "50" is not the rate of a line; write it as 50mbit (kbit, mbit, gbit), a little below what the line uploads`}},
		{"snat6",
			"zerotier: {networks: [abcdef0123000001]}\negress: {d: {wan: {snat: '2001:db8::1'}}}\npolicy: [{egress: d}]\n", ErrValue, []string{
				"ztbridge.yaml:2: egress.d.wan.snat: SNAT is for IPv4; use `ipv6:` to say how IPv6 leaves"}},
		{"dangling egress", minimal + "policy:\n  - {from: zerotier, egress: [provder]}\n",
			ErrDangling, []string{
				`ztbridge.yaml:4: policy[0].egress[0]: there is no egress "provder"; did you mean "provider"?`}},
		{"dangling from", minimal + "policy:\n  - {from: zerotir, egress: provider}\n", ErrDangling,
			[]string{
				`ztbridge.yaml:4: policy[0].from: "zerotir" is not a known device, client, network or interface; did you mean "zerotier"?`}},
		{"a network's id that no client has for a name", endpoint +
			"policy:\n  - {from: ABCDEF01230000FF, egress: provider}\n", ErrDangling, []string{
			`ztbridge.yaml:5: policy[0].from: "ABCDEF01230000FF" is not a known device, client, network or interface; did you mean "abcdef0123000001"?`}},
		{"an ingress in capitals", endpoint + "policy:\n  - {from: Endpoint, egress: block}\n",
			ErrDangling, []string{
				`ztbridge.yaml:5: policy[0].from: "Endpoint" is not a known device, client, network or interface; did you mean "endpoint"?`}},
		{"client without endpoint", minimal + "policy:\n  - {from: phone, egress: provider}\n",
			ErrDangling, []string{
				`ztbridge.yaml:4: policy[0].from: "phone" is not a known device, client, network or interface; known: abcdef0123000001, zerotier, or an address or a prefix`}},
		{"dangling network",
			"zerotier: {networks: [abcdef0123000001]}\negress: {home: {zerotier: {network: abcdef0123000010, via: 10.1.1.1}}}\npolicy: [{egress: home}]\n", ErrDangling, []string{
				`ztbridge.yaml:2: egress.home.zerotier.network: this box does not join a network "abcdef0123000010"; did you mean "abcdef0123000001"?`}},
		{"host bits", minimal + "policy:\n  - {from: 10.147.17.50/24, egress: provider}\n",
			ErrValue, []string{
				`ztbridge.yaml:4: policy[0].from: "10.147.17.50/24" mixes one address with a whole network; write 10.147.17.0/24 (the network) or 10.147.17.50 (this device)`}},
		{"bad address", minimal + "policy:\n  - {from: 10.147.17.500, egress: provider}\n",
			ErrValue, []string{
				`ztbridge.yaml:4: policy[0].from: "10.147.17.500" is not the address of a host; write it as 192.0.2.1 or 2001:db8::1`}},
		{"block beside others", minimal + "policy:\n  - {egress: [provider, block]}\n", ErrValue,
			[]string{
				"ztbridge.yaml:4: policy[0].egress[1]: a list ends closed by itself; remove `block` here, or the egresses beside it"}},
		{"no part of a week", minimal +
			"policy:\n  - {at: [sat, \"mon-fri 8-18\"], egress: provider}\n",
			ErrValue, []string{
				`ztbridge.yaml:4: policy[0].at[1]: "mon-fri 8-18" is no part of a week: ` +
					`it needs days, times, or both; write it as "mon-fri 08:00-18:00", "sat", ` +
					`"22:00-06:00" or "mon-fri 08:00-18:00 Europe/Berlin"`}},
		{"no time zone", minimal + "policy:\n  - {at: \"sat Mars/Olympus\", egress: provider}\n",
			ErrValue, []string{
				`ztbridge.yaml:4: policy[0].at: "sat Mars/Olympus" is no part of a ` +
					`week: there is no time zone "Mars/Olympus"; write it as "mon-fri 08:00-18:00", ` +
					`"sat", "22:00-06:00" or "mon-fri 08:00-18:00 Europe/Berlin"`}},
		{"a choice of nothing", minimal + "policy:\n  - {from: zerotier, choose: []}\n", ErrMissing,
			[]string{
				"ztbridge.yaml:4: policy[0].choose: the list is empty; name an egress, or write `egress: block`"}},
		{"a choice of block", minimal + "policy:\n  - {choose: block}\n", ErrValue, []string{
			"ztbridge.yaml:4: policy[0].choose: `block` is no exit that a device can choose; name egresses here, and write `egress: block` for devices that chose none"}},
		{"a dangling choice", minimal + "policy:\n  - {choose: [provder], egress: provider}\n",
			ErrDangling, []string{
				`ztbridge.yaml:4: policy[0].choose[0]: there is no egress "provder"; did you mean "provider"?`}},
		{"rule without egress", minimal + "policy:\n  - {from: zerotier}\n", ErrMissing, []string{
			"ztbridge.yaml:4: policy[0]: the rule does not say where traffic goes; add `egress:` with names in order of preference, or `egress: block`"}},
		{"rule for nobody, to nowhere, by nothing",
			minimal +
				"policy:\n  - {from: , to: , egress: }\n  - {to: [], egress: block}\n", ErrMissing, []string{
				"ztbridge.yaml:4: policy[0].to: the list is empty; name addresses or prefixes, or leave `to:` out for anywhere",
				"ztbridge.yaml:4: policy[0].from: the list is empty; name who, or leave `from:` out for everything that enters",
				"ztbridge.yaml:4: policy[0].egress: the list is empty; name an egress, or write `egress: block`",
				"ztbridge.yaml:5: policy[1].to: the list is empty; name addresses or prefixes, or leave `to:` out for anywhere"}},
		{"policy without a rule", minimal + "policy:\n  #- {egress: block}\n", ErrMissing, []string{
			"ztbridge.yaml:3: policy: there is no rule, which could mean that nothing may leave, or that all may; write `policy: []` to refuse everything, or remove the key to send it by the tunnels in their order"}},
		{"peering without a pair", minimal + "peering:\n", ErrMissing, []string{
			"ztbridge.yaml:3: peering: there is no pair, which could mean nothing, or what is usual; write `peering: []` to allow nothing, or remove the key to let the endpoint's clients reach the ZeroTier networks"}},
		{"prefix without a value",
			"zerotier: {networks: [abcdef0123000001]}\negress: {direct: {wan: {ipv6: {prefix: , ndp: true}}}}\npolicy: [{egress: direct}]\n", ErrMissing, []string{
				"ztbridge.yaml:2: egress.direct.wan.ipv6.prefix: nothing is written here; write a value, or remove the key"}},
		{"inbound to nobody",
			"zerotier: {networks: [abcdef0123000001]}\negress: {direct: {wan: {}}}\npolicy: [{egress: direct}]\ninbound: [{to: , tcp: [22]}]\n", ErrMissing, []string{
				"ztbridge.yaml:4: inbound[0].to: nothing is written here; write a value, or remove the key"}},
		{"endpoint and probe without values",
			minimal +
				"probe: {targets: }\nendpoint: {address: , listen: , https: {acme: }}\n", ErrMissing, []string{
				"ztbridge.yaml:3: probe.targets: without a target nothing can be probed; name hosts that answer pings, or leave `targets:` out",
				"ztbridge.yaml:4: endpoint.address: nothing is written here; write a value, or remove the key",
				"ztbridge.yaml:4: endpoint.listen: the endpoint listens nowhere; write [tcp/443, udp/1194], or leave `listen:` out for just these",
				"ztbridge.yaml:4: endpoint.https.acme: nothing is written here, which leaves open whether a certificate is wanted; write `acme: {}` to ask for one, or remove the key"}},
		{"overlap in a list", minimal +
			"policy:\n  - {from: [10.0.0.0/8, 10.1.1.1], egress: provider}\n", ErrOverlap, []string{
			"ztbridge.yaml:4: policy[0].from[1]: 10.1.1.1 is selected by 10.0.0.0/8 in the same list; remove one of them"}},
		{"overlap of ingresses", endpoint +
			"ingress: [{interface: eth1, prefixes: [10.83.64.0/24]}]\n", ErrOverlap, []string{
			"ztbridge.yaml:4: ingress[0].prefixes: 10.83.64.0/24 overlaps 10.83.64.0/20, the endpoint's pool (ztbridge.yaml:3: endpoint); choose prefixes that have no address in common"}},
		{"no rule follows", "zerotier: {networks: [abcdef0123000001]}\negress: {d: {wan: {}}}\n",
			ErrMissing, []string{
				"ztbridge.yaml: policy: no way out is configured; add your provider's profile under `egress:`, or rules under `policy:`"}},
		{"endpoint without address", minimal + "endpoint: {}\n", ErrMissing, []string{
			"ztbridge.yaml:3: endpoint: clients must know where to connect; add `address:` with this box's public name or address"}},
		{"acme for an address", minimal + "endpoint: {address: 203.0.113.7, https: {acme: {}}}\n",
			ErrValue, []string{
				"ztbridge.yaml:3: endpoint: an authority certifies names, and endpoint.address is an address; give this box a public name, or leave https.acme out"}},
		{"foreign pool", minimal + "endpoint: {address: vm.example.org, pool: 8.8.8.0/24}\n",
			ErrValue, []string{
				"ztbridge.yaml:3: endpoint.pool: 8.8.8.0/24 belongs to somebody on the Internet; take a part of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16"}},
		{"listen",
			minimal +
				"endpoint: {address: vm.example.org, listen: [sctp/1, tcp/0, tcp/443, tcp/443]}\n", ErrValue, []string{
				`ztbridge.yaml:3: endpoint.listen[0]: "sctp/1" is not a protocol with a port; write it as tcp/443 or udp/1194`,
				`ztbridge.yaml:3: endpoint.listen[1]: "0" is not a port; write a number from 1 to 65535`,
				"ztbridge.yaml:3: endpoint.listen[3]: this listener is listed twice; remove one of them"}},
		{"dns mixed",
			"zerotier: {networks: [abcdef0123000001]}\negress: {p: {openvpn: {profile: provider.ovpn, dns: [9.9.9.9, 'tls://1.1.1.1', nine]}}}\n", ErrValue, []string{
				"ztbridge.yaml:2: egress.p.openvpn.dns[1]: resolvers with TLS and without do not mix: a fall back to plain text would go unnoticed; write tls:// before all of them, or before none",
				`ztbridge.yaml:2: egress.p.openvpn.dns[2]: "nine" is not a resolver; write it as 9.9.9.9 or tls://9.9.9.9#dns.quad9.net`}},
		{"inbound", minimal + "inbound: [{to: '2001:db8::1', tcp: [443]}]\n", ErrMissing, []string{
			"ztbridge.yaml:3: inbound[0]: it is not said from where: there are 0 wan egresses; add `egress:` with the name of one"}},
		{"peering around the policy", minimal + "peering: [{from: zerotier, to: 0.0.0.0/1}]\n",
			ErrValue, []string{
				"ztbridge.yaml:3: peering[0].to: 0.0.0.0/1 is no local network; name the LAN's own prefix; the Internet is reached by `policy:`"}},
		{"leaves where it enters",
			"ingress: [eth1]\negress: {d: {wan: {interface: eth1}}}\npolicy: [{egress: d}]\n", ErrValue, []string{
				"ztbridge.yaml:2: egress.d.wan.interface: eth1 is an ingress as well: traffic may not leave where it enters; remove it under `ingress:` or here"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := folder(t)
			cfg, _, err := load(t, dir, c.text)
			if cfg != nil || !errors.Is(err, c.class) {
				t.Errorf("config %v, error not of class %v", cfg, c.class)
			}
			got := strings.Split(strings.ReplaceAll(errorText(err), dir+string(filepath.Separator),
				""), "\n")
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

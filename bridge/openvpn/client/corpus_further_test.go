package client

import (
	"strings"
	"testing"

	"ztbridge/bridge/openvpn/ovpntest"
)

// furtherShapes are after the files of further products, and after what servers push.
func furtherShapes(t *testing.T, l *lab) []shape {
	var out []shape
	for _, list := range [][]shape{exportShapes(), filterShapes(), handmadeShapes(t, l),
		spareShapes(), assignedShapes(), damagedShapes(l)} {
		out = append(out, list...)
	}
	for i := range out {
		out[i].name = "further: " + out[i].name
	}
	return out
}

// exportShapes are after the exports of products.
func exportShapes() []shape {
	auth := ovpntest.Inline("tls-auth", ovpntest.StaticKey(1))
	crypt := ovpntest.Inline("tls-crypt", ovpntest.StaticKey(1))
	server := func(cipher string, more ...string) []string {
		return append(more, "data-ciphers AES-256-GCM:AES-128-GCM:"+cipher, "cipher "+cipher)
	}
	authServer := []string{auth, "key-direction 0"}
	free := func(s string) string { return strings.Replace(s, "nobind\n", "", 1) }
	return []shape{
		{name: "Pritunl", server: server("AES-128-CBC", append(authServer, "comp-lzo no",
			"allow-compression yes")...), profile: []string{"#{", `#  "version": 1,`,
			`#  "user": "alice",`, `#  "sync_hosts": [`,
			`#    "https://vpn.example.net"`, "#  ]", "#}",
			"setenv UV_ID 5f2b8c0d9e1a", "setenv UV_NAME calm-river-1234", "dev-type tun",
			"cipher AES-128-CBC", "auth SHA1", "verb 2", "mute 3", "push-peer-info", "ping 10",
			"ping-restart 60", "hand-window 70", "server-poll-timeout 4", "reneg-sec 2592000",
			"sndbuf 393216", "rcvbuf 393216", "max-routes 1000", "comp-lzo no", "key-direction 1",
			auth}},
		{name: "Sophos", server: server("AES-256-CBC", "proto tcp-server", "auth SHA256",
			"comp-lzo no", "allow-compression yes"), profile: []string{"proto tcp",
			`verify-x509-name "CN=server.example.net"`,
			"route remote_host 255.255.255.255 net_gateway", "resolv-retry infinite",
			";can_save no", ";otp no", ";run_logon_script no", ";auto_connect ",
			"cipher AES-256-CBC", "auth SHA256", "comp-lzo no", ";route-delay 4", "verb 3",
			"reneg-sec 0", "remote 192.0.2.2 PORT", "explicit-exit-notify"},
			differs: "official ends because of the notice over TCP"},
		{name: "OPNsense", server: append(authServer, "auth SHA512"), edit: free,
			profile: []string{"persist-tun", "persist-key", "data-ciphers-fallback AES-256-GCM",
				"auth SHA512", "resolv-retry infinite", "remote 192.0.2.2 PORT udp4", "lport 0",
				`verify-x509-name "CN=server.example.net" subject`, "key-direction 1", auth}},
		{name: "Untangle", server: server("AES-128-CBC", "comp-lzo", "allow-compression yes"),
			profile: []string{"resolv-retry 20", "keepalive 10 60", "mute-replay-warnings",
				"comp-lzo", "max-routes 500", "verb 1", "persist-key", "persist-tun",
				"explicit-exit-notify 1", "proto udp", "port PORT", "cipher AES-128-CBC",
				"remote 192.0.2.2 PORT # public address"}},
		{name: "IVPN", server: append(authServer, "auth SHA1"), profile: []string{"txqueuelen 1000",
			"tls-client", "resolv-retry infinite", "verify-x509-name server name-prefix",
			"key-direction 1", "auth SHA1", "cipher AES-256-CBC", "remote-random", auth,
			"remote 192.0.2.2 PORT", "remote 192.0.2.2 PORT"}},
		{name: "Perfect Privacy", server: append(authServer, "fragment 1300", "tun-mtu 1500"),
			profile: []string{"tun-mtu 1500", "fragment 1300", "mssfix", "float", "hand-window 120",
				"inactive 604800", "mute-replay-warnings", "persist-remote-ip", "ping 5",
				"ping-restart 120", "redirect-gateway def1", "remote-random", "reneg-sec 3600",
				"resolv-retry 60", "route-delay 2", "script-security 2",
				"tls-cipher TLS_CHACHA20_POLY1305_SHA256:TLS-ECDHE-ECDSA-WITH-AES-256-GCM-SHA384",
				"tls-timeout 5", "verb 4", "key-direction 1", auth}},
		{name: "TorGuard", server: server("AES-128-CBC", append(authServer, "compress",
			"allow-compression yes", "auth SHA256")...), profile: []string{"setenv CLIENT_CERT 0",
			"tls-version-min 1.2 or-highest", "compress", "persist-key", "auth SHA256",
			"remote-random", "cipher AES-128-GCM", "data-ciphers AES-128-GCM:AES-128-CBC",
			"pull-filter ignore \"auth-token\"", "reneg-sec 0", "fast-io", "key-direction 1",
			auth}},
		{name: "Azure", server: append(authServer, "proto tcp-server", "auth SHA256"),
			profile: []string{"remote 192.0.2.2 PORT", "verify-x509-name 'server.example.net' name",
				"proto tcp", "resolv-retry infinite", "auth SHA256", "cipher AES-256-GCM",
				"persist-key", "persist-tun", "tls-timeout 30", "tls-version-min 1.2",
				"key-direction 1", "verb 3", auth}},
		{name: "WatchGuard", server: server("AES-256-CBC", "proto tcp-server", "auth SHA256"),
			profile: []string{"proto tcp-client",
				`remote-cert-eku "TLS Web Server Authentication"`, "remote 192.0.2.2 PORT",
				"persist-key", "persist-tun", "verb 3", "mute 20", "keepalive 10 60",
				"cipher AES-256-CBC", "auth SHA256", "float", "reneg-sec 28800",
				"mute-replay-warnings", ";remember_connection 1", ";auto_reconnect 1"}},
		{name: "UniFi", server: server("AES-256-CBC", crypt, "auth SHA1"), profile: []string{
			"resolv-retry infinite", "user nobody", "group nogroup", "persist-key", "persist-tun",
			"cipher AES-256-CBC", "auth SHA1", "tls-version-min 1.2", "auth-nocache", "float",
			"redirect-gateway def1", "verb 3", crypt}},
		{name: "PiVPN", server: append([]string{"auth SHA256"}, crypt), profile: []string{
			"proto udp", "resolv-retry infinite", "tls-version-min 1.2",
			"verify-x509-name server.example.net name", "cipher AES-256-CBC", "auth SHA256",
			"auth-nocache", "verb 3", crypt}},
		{name: "the road warrior's script", server: []string{crypt, "auth SHA512"},
			profile: []string{
				"auth SHA512", "ignore-unknown-option block-outside-dns block-ipv6", "verb 3",
				"setenv opt block-outside-dns # Prevent Windows 10 DNS leak",
				"tls-cipher TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256",
				"ecdh-curve prime256v1", crypt}},
		{name: "TP-Link", server: server("AES-128-CBC", "comp-lzo adaptive",
			"allow-compression yes"), profile: []string{"proto udp", "float",
			"cipher AES-128-CBC", "comp-lzo adaptive", "resolv-retry infinite", "persist-key",
			"persist-tun"}},
		{name: "NETGEAR", server: server("AES-128-CBC", "comp-lzo", "allow-compression yes"),
			profile: []string{"dev-node NETGEAR-VPN", "proto udp", "cipher AES-128-CBC", "comp-lzo",
				"verb 0", "sndbuf 393216", "rcvbuf 393216"},
			differs: "official on Linux has no device of that name"},
		{name: "Teltonika", server: server("AES-256-CBC"), profile: []string{"dev tun_c_office",
			"nobind", "route-noexec", "nice 1", "cipher AES-256-CBC",
			"data-ciphers BF-CBC:AES-256-CBC", "keepalive 10 120", "mtu-disc maybe"}},
		{name: "Amnezia", server: append([]string{"auth SHA512"}, auth, "key-direction 0"),
			profile: []string{"resolv-retry infinite", "persist-key", "persist-tun",
				"cipher AES-256-GCM", "auth SHA512", "verb 3", "tls-client",
				"tls-version-min 1.2", "key-direction 1", "redirect-gateway def1 ipv6 bypass-dhcp",
				"dhcp-option DNS 192.0.2.53", "block-ipv6", "block-outside-dns", auth},
			differs: "of Windows alone: official refuses block-outside-dns on Linux"},
		{name: "Amnezia over Cloak", profile: []string{"socks-proxy 127.0.0.1 1080",
			"remote 192.0.2.2 PORT tcp"}, refused: "this box itself",
			differs: "official starts, and waits for the other program"},
		{name: "IPFire", server: server("AES-256-CBC", "auth SHA512", "fragment 1300"),
			profile: []string{"#OpenVPN Client conf", "tls-client", "tun-mtu 1400", "fragment 1300",
				"mssfix", "cipher AES-256-CBC", "auth SHA512", "verb 3",
				"remote-cert-tls server", "verify-x509-name server.example.net name",
				"auth-nocache", "tls-version-min 1.2"}},
	}
}

// filterShapes have filters of pushed options.
func filterShapes() []shape {
	filters := func(name string, push []string, lines ...string) shape {
		s := shape{name: "pull-filter " + name}
		for _, p := range push {
			s.server = append(s.server, `push "`+p+`"`)
		}
		for _, f := range lines {
			s.profile = append(s.profile, "pull-filter "+f)
		}
		return s
	}
	six := filters("for IPv6 alone", nil, "accept ifconfig-", "ignore ifconfig")
	six.server = []string{"server-ipv6 fd00:79::/64"}
	six.peer = "fd00:79::1"
	own := filters("for an address of one's own", nil, "ignore \"ifconfig \"", "accept \"\"")
	own.profile = append(own.profile, "ifconfig SUBNET.2 255.255.255.0", "topology subnet")
	own.server = []string{"client-config-dir _DIR_"}
	own.files = map[string]string{"DEFAULT": "ifconfig-push SUBNET.2 255.255.255.0\n"}
	return []shape{six, own,
		filters("accept everything, then ignore", nil, `accept ""`, `ignore ""`),
		filters("accept one, reject the rest of a kind", []string{"tun-mtu 1400"},
			`accept "tun-mtu"`, `reject "tun-"`),
		filters("accept what is ours to refuse", []string{"redirect-gateway def1", "up /bin/true"},
			`accept "redirect-gateway"`, `reject "redirect"`),
		filters("ignore a size", []string{"tun-mtu 1300"}, `ignore "tun-mtu"`, `accept "route"`),
		filters("accept a part of a name", nil, `accept "i"`, `accept "p"`, `accept "t"`,
			`accept "c"`, `accept "k"`, `accept "route-gateway"`, `ignore ""`),
		filters("accept in quotes of one kind", nil, `accept 'route-gateway'`, `ignore 'route '`,
			`accept ''`),
	}
}

// spareShapes have options that are seldom seen.
func spareShapes() []shape {
	line := func(lines ...string) shape { return shape{name: lines[0], profile: lines} }
	both := func(name string, lines ...string) shape {
		return shape{name: name, profile: lines, server: lines}
	}
	free := func(s shape) shape {
		s.edit = func(s string) string { return strings.Replace(s, "nobind\n", "", 1) }
		return s
	}
	apart := func(s shape, why string) shape { s.differs = why; return s }
	return []shape{
		both("tun-mtu 9000", "tun-mtu 9000"), both("tun-mtu 576", "tun-mtu 576"),
		line("dev tun17"), apart(line("proto UDP"), "official reads small letters alone"),
		line("keepalive 0 0"), line("inactive 3600 1000000", "ping-exit 60"),
		line("tran-window 7200", "reneg-sec 7200", "hand-window 120", "tls-timeout 5"),
		line("single-session", "tls-exit", "resolv-retry 0", "connect-retry-max 1"),
		line("peer-id 1"), line("compat-mode 2.5.0"), line("tls-groups secp521r1"),
		both("tls-groups of finite fields", "tls-groups ffdhe3072"),
		line("tls-groups X448:X25519"), free(line("local 192.0.2.1", "lport 0")),
		free(line("multihome")), line("mark 1"), line("bind-dev wan0"), line("nice 5"),
		line("providers legacy default"), line("x509-track +CN"), line("mtu-test"),
		line("mtu-disc maybe"), line("socket-flags TCP_NODELAY"), line("auth-retry none"),
		line("txqueuelen 2000", "tun-mtu-extra 0"), line("replay-window 64"),
		line("allow-pull-fqdn", "allow-recursive-routing"),
		line("client-nat snat 10.200.0.0 255.255.0.0 10.201.0.0"),
		line("management 127.0.0.1 7505"),
		line("max-routes 10"),
		line("push-peer-info"), line("setenv opt"), line("auth-token x"), line("mssfix 600"),
		line("mssfix 9000"), line("tls-timeout 30", "connect-timeout 60"),
		line("route-ipv6 ::/0", "redirect-gateway def1 ipv6", "route-ipv6-gateway fe80::1"),
		line("ifconfig-nowarn", "route-delay 0 0"), line("cd ."),
		line("status nosuch.log 5", "status-version 3", "writepid nosuch.pid"),
		line("remote 192.0.2.2 PORT udp", "remote 192.0.2.2 PORT tcp", "port 9", "proto tcp"),
		line("data-ciphers AES-256-GCM:AES-128-GCM:?CHACHA20-POLY1305:?NOSUCH-1"),
		line("verb 11"), line("mute 0"), line("comp-noadapt", "disable-occ", "ifconfig-nowarn"),
		line("dns server 0 address 2001:db8::53", "dns search-domains example.net"),
		apart(line("dhcp-option DOMAIN-ROUTE .", "dhcp-option PROXY_HTTP 192.0.2.9 8080"),
			"official on Linux does not know these kinds; only resolvers are used"),
		line("block-ipv6"), line("route-nopull", "pull-filter ignore redirect-gateway"),
		line("auth SHA512", "auth-user-pass login"),
		line("mode p2p", "tls-client", "pull", "topology subnet"),
		line("user nobody", "group nogroup", "persist-key"),
		line("tls-version-max 1.3", "tls-version-min 1.3"), line("session-timeout 3600"),
		line("allow-compression no", "compress stub-v2"), line("preresolve"),
		line("socks-proxy-retry"), line("tmp-dir /tmp"),
	}
}

// assignedShapes are of what a server pushes and assigns.
func assignedShapes() []shape {
	push := func(name string, lines ...string) shape {
		s := shape{name: "pushed " + name}
		for _, l := range lines {
			s.server = append(s.server, `push "`+l+`"`)
		}
		return s
	}
	// own assigns an address by a file of the client's.
	own := func(name, address string, lines ...string) shape {
		return shape{name: "assigned " + name, files: map[string]string{"DEFAULT": address},
			server: append([]string{"client-config-dir _DIR_"}, lines...)}
	}
	return []shape{
		push("redirections", "redirect-gateway ipv6", "redirect-gateway def1 block-local !ipv4",
			"redirect-private"),
		push("options of DHCP", "dhcp-option DOMAIN-ROUTE .", "dhcp-option DNS6 2001:db8::53",
			"dhcp-option PROXY_HTTP 192.0.2.9 8080", "dhcp-option ADAPTER_DOMAIN_SUFFIX x.example",
			"dhcp-option DNS fe80::1", "dhcp-option DNS", "dhcp-option NBDD 192.0.2.4"),
		push("resolvers of 2.6", "dns server 1 address [2001:db8::53]:853 192.0.2.53",
			"dns server 1 transport DoT", "dns server 1 sni dns.example.net",
			"dns server 2 address 192.0.2.54", "dns server 2 resolve-domains example.net",
			"dns server 2 dnssec yes"),
		push("peer-id none", "peer-id 16777215"),
		push("sizes that are not pushed", "mssfix 1300", "fragment 1200", "link-mtu 1400"),
		push("tun-mtu 1600", "tun-mtu 1600"), push("tun-mtu 576", "tun-mtu 576"),
		push("names for a token", "auth-token-user YWxpY2U=", "auth-token abc"),
		push("nothing known", "nosuch 1", "plugin /bin/true", "up /bin/true",
			"script-security 3", "setenv LD_PRELOAD /x", "remote 198.51.100.1 1",
			"config /etc/passwd"),
		push("client-nat", "client-nat snat 10.200.0.0 255.255.0.0 10.201.0.0"),
		push("routes of IPv6", "tun-ipv6", "route-ipv6 2000::/3 2001:db8::1 5",
			"route-ipv6-gateway 2001:db8::1"),
		push("pings", "ping 1", "ping-restart 10", "inactive 100000"),
		push("the default cipher", "cipher AES-256-GCM"),
		push("a cipher of the list", "cipher AES-128-GCM"),
		push("long lines", "echo "+strings.Repeat("x", 200), "dhcp-option DOMAIN "+
			strings.Repeat("y", 60)+".example", "route 198.51.100.0 255.255.255.0 vpn_gateway 5"),
		own("a network of two", "ifconfig-push SUBNET.2 255.255.255.254\n"),
		own("one address", "ifconfig-push SUBNET.2 255.255.255.255\n"),
		own("a network of 256 networks", "ifconfig-push SUBNET.2 255.255.0.0\n"),
		own("the pair of net30", "ifconfig-push SUBNET.6 SUBNET.5\n", "topology net30"),
		own("the pair of p2p", "ifconfig-push SUBNET.2 SUBNET.1\n", "topology p2p"),
		own("one address of IPv6, too", "ifconfig-push SUBNET.2 255.255.255.0\n"+
			"ifconfig-ipv6-push fd00:78::9/128 fd00:78::1\n", "server-ipv6 fd00:78::/64"),
		own("both, seen by IPv6", "ifconfig-ipv6-push fd00:80::9/64 fd00:80::1\n",
			"server-ipv6 fd00:80::/64"),
	}
}

package client

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"ztbridge/bridge/openvpn/ovpntest"
)

// productShapes are after what products and providers export.
func productShapes() []shape {
	auth := ovpntest.Inline("tls-auth", ovpntest.StaticKey(1))
	crypt := ovpntest.Inline("tls-crypt", ovpntest.StaticKey(1))
	cbc := []string{"data-ciphers AES-256-GCM:AES-256-CBC", "cipher AES-256-CBC"}
	with := func(more ...string) []string { return append(more[:len(more):len(more)], cbc...) }
	return []shape{
		{name: "like pfSense", server: []string{auth, "key-direction 0", "auth SHA256"},
			profile: []string{"persist-tun", "persist-key",
				"data-ciphers AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305:AES-256-CBC",
				"data-ciphers-fallback AES-256-CBC", "auth SHA256", "tls-client",
				"resolv-retry infinite", "remote 192.0.2.2 PORT udp4", "setenv opt tls-version-min 1.2",
				`verify-x509-name "server.example.net" name`, "explicit-exit-notify",
				"key-direction 1", auth}},
		{name: "like Synology", server: with("auth SHA512", "comp-lzo", "allow-compression yes", auth,
			"key-direction 0"),
			profile: []string{"tls-client", "remote 192.0.2.2 PORT", "#float", "pull", "proto udp",
				"script-security 2", "comp-lzo", "reneg-sec 0", "cipher AES-256-CBC", "auth SHA512",
				"key-direction 1", auth, "verify-x509-name 'server.example.net' name"}},
		{name: "like QNAP", server: with("comp-lzo", "allow-compression yes"),
			profile: []string{"script-security 3", "resolv-retry infinite", "auth-nocache",
				"reneg-sec 0", "cipher AES-256-CBC",
				"tls-cipher TLS-SRP-SHA-RSA-WITH-3DES-EDE-CBC-SHA:TLS-ECDHE-ECDSA-WITH-AES-256-GCM-SHA384",
				"comp-lzo", "explicit-exit-notify 1", "setenv CLIENT_CERT 0"}},
		{name: "like MikroTik", server: with("proto tcp-server", "auth SHA1"),
			profile: []string{"proto tcp", "tls-client", "pull", "cipher AES-256-CBC", "auth SHA1",
				"persist-tun", "verb 3", "route-nopull", "tls-cipher DEFAULT"}},
		{name: "like ASUS", server: []string{"data-ciphers AES-128-GCM:AES-128-CBC", "cipher AES-128-CBC",
			"comp-lzo adaptive", "allow-compression yes"},
			profile: []string{"float", "sndbuf 0", "rcvbuf 0", "keepalive 10 30",
				"comp-lzo adaptive", "auth SHA1", "cipher AES-128-CBC"}},
		{name: "like Access Server", server: []string{auth, "key-direction 0"},
			profile: []string{"setenv FORWARD_COMPATIBLE 1", "setenv UV_SERVERID prod",
				"server-poll-timeout 4", "dev-type tun", "setenv opt tls-version-min 1.0 or-highest",
				"reneg-sec 604800", "sndbuf 0", "rcvbuf 0", "setenv PUSH_PEER_INFO",
				"## -----BEGIN RSA SIGNATURE-----", "## DIGEST:sha256", "key-direction 1", auth}},
		{name: "like CloudConnexa", server: []string{crypt},
			profile: []string{"setenv FRIENDLY_NAME \"Acme (Zürich)\"", "setenv PUSH_PEER_INFO",
				"push-peer-info", "tls-version-min 1.2", "connect-retry 5", "tun-mtu-max 1600",
				"data-ciphers AES-256-GCM:AES-128-GCM", crypt}},
		{name: "like Nord", server: with("auth SHA512", auth, "key-direction 0", "tun-mtu-extra 32",
			"push \"comp-lzo no\"", "comp-lzo no", "allow-compression yes"),
			profile: []string{"tun-mtu 1500", "tun-mtu-extra 32", "mssfix 1450", "persist-key",
				"ping 15", "ping-restart 0", "ping-timer-rem", "reneg-sec 0", "comp-lzo no",
				"verify-x509-name CN=server.example.net", "cipher AES-256-CBC", "auth SHA512",
				"key-direction 1", auth}},
		{name: "like PIA", server: []string{"data-ciphers AES-128-GCM:AES-128-CBC", "cipher AES-128-CBC",
			"compress", "allow-compression yes"},
			profile: []string{"tls-client", "cipher aes-128-cbc", "auth sha1", "compress",
				"disable-occ", "reneg-sec 0", "verb 1"}},
		{name: "like Proton", server: with("auth SHA512", crypt),
			profile: []string{"remote-random", "server-poll-timeout 20", "tun-mtu 1500",
				"mssfix 0", "cipher AES-256-CBC", "auth SHA512", "reneg-sec 0", "pull", "fast-io",
				"setenv CLIENT_CERT 0", crypt}},
		{name: "like ExpressVPN", server: with("auth SHA512", auth, "key-direction 0",
			"fragment 1300", "comp-lzo no", "allow-compression yes"),
			profile: []string{"fast-io", "remote-random", "pull", "comp-lzo no", "tls-client",
				"verify-x509-name server name-prefix", "key-direction 1", "route-delay 2",
				"tun-mtu 1500", "fragment 1300", "mssfix 1200", "cipher AES-256-CBC",
				"auth SHA512", "sndbuf 524288", "rcvbuf 524288", auth}},
		{name: "like Windscribe", server: []string{auth, "key-direction 0", "auth SHA512"},
			profile: []string{"ignore-unknown-option block-outside-dns register-dns",
				"block-outside-dns", "register-dns", "auth SHA512", "cipher AES-256-GCM",
				"key-direction 1", "mute-replay-warnings", auth}},
		{name: "like AirVPN", server: []string{crypt, "auth SHA512", "proto tcp-server"},
			profile: []string{"resolv-retry infinite", "auth-nocache", "route-delay 5",
				"push-peer-info", "setenv UV_IPV6 yes", "data-ciphers AES-256-GCM:AES-256-CBC",
				"data-ciphers-fallback AES-256-CBC", "proto tcp4", "auth SHA512", crypt}},
		{name: "like VPN Gate", server: []string{"proto tcp-server", "data-ciphers AES-128-GCM:AES-128-CBC",
			"cipher AES-128-CBC", "auth SHA1"},
			profile: []string{"###########", "# OpenVPN 2.0 Sample", ";http-proxy-retry",
				";http-proxy [proxy server] [proxy port]", "proto tcp", "remote 192.0.2.2 PORT",
				"cipher AES-128-CBC", "auth SHA1", "#auth-user-pass"}},
		{name: "like Mullvad", server: []string{"auth SHA512"},
			profile: []string{"tun-ipv6", "fast-io", "sndbuf 524288", "rcvbuf 524288",
				"tls-cipher TLS-ECDHE-ECDSA-WITH-AES-256-GCM-SHA384:TLS-DHE-RSA-WITH-AES-256-GCM-SHA384",
				"tls-ciphersuites TLS_AES_256_GCM_SHA384", "auth SHA512", "reneg-sec 0",
				"script-security 2", "remote-random"}},
		{name: "like OpenVPN 2.3", server: with("comp-lzo", "allow-compression yes"),
			profile: []string{"proto udp", "resolv-retry infinite", "persist-key", "persist-tun",
				"mute-replay-warnings", "comp-lzo", "verb 3", "mute 20", "cipher AES-256-CBC",
				"tls-remote server.example.net", "remote 192.0.2.2 PORT"},
			differs: "official no longer knows tls-remote; we say that it checks nothing"},
	}
}

// textShapes are further forms of the file itself.
func textShapes(t *testing.T, l *lab) []shape {
	auth := ovpntest.Inline("tls-auth", ovpntest.StaticKey(1))
	edit := func(name string, f func(string) string) shape { return shape{name: name, edit: f} }
	wide := func(little bool) func(string) string {
		return func(text string) string {
			var out []byte
			for _, u := range utf16.Encode([]rune(text)) {
				if little {
					out = append(out, byte(u), byte(u>>8))
				} else {
					out = append(out, byte(u>>8), byte(u))
				}
			}
			return string(out)
		}
	}
	lel := edit("UTF-16 little without a mark", wide(true))
	bel := edit("UTF-16 big without a mark", wide(false))
	lel.differs, bel.differs = "official reads UTF-8 only", "official reads UTF-8 only"
	indented := edit("indented blocks", func(s string) string {
		return strings.ReplaceAll(s, "\n", "\n  ")
	})
	indented.differs = "official reads certificates at the beginning of lines alone"
	return []shape{
		lel, bel,
		edit("Latin-1 comment", func(s string) string { return "# Z\xfcrich\n" + s }),
		edit("Latin-1 name", func(s string) string {
			return "setenv FRIENDLY_NAME \"Z\xfcrich\"\n" + s
		}),
		indented,
		edit("comments at tags", func(s string) string {
			return strings.NewReplacer("<ca>", "<ca> # ours", "</ca>", "</ca> # end").Replace(s)
		}),
		edit("dashes everywhere", func(s string) string {
			for _, w := range []string{"client", "nobind", "remote-cert-tls", "remote 192"} {
				s = strings.Replace(s, w, "--"+w, 1)
			}
			return s
		}),
		edit("quoted server", func(s string) string {
			return strings.Replace(s, "remote 192.0.2.2 ", "remote \"192.0.2.2\" ", 1)
		}),
		edit("tabs and trailing spaces", func(s string) string {
			return strings.Replace(s, "dev tun\n", "\tdev\ttun  \t\n", 1)
		}),
		edit("CRLF in a login", func(s string) string {
			return strings.ReplaceAll(s+"<auth-user-pass>\nalice\nhunter2\n</auth-user-pass>\n", "\n", "\r\n")
		}),
		edit("old authority, then a new one", func(s string) string {
			return ovpntest.Inline("ca", l.pki.Authority("Old CA").PEM) + "\n" + s
		}),
		{name: "file named, then inline", edit: func(s string) string {
			return "ca ca.crt\ncert client.crt\nkey client.key\n" + s
		}},
		{name: "tls-auth of a file, then inline", server: []string{auth, "key-direction 0"},
			profile: []string{"tls-auth ta.key 1", auth}},
		{name: "tls-auth [inline]", server: []string{auth, "key-direction 0"},
			profile: []string{"ca [inline]", "tls-auth [inline] 1", auth},
			differs: "official reads a file of that name; Access Server and its clients do not"},
		{name: "key-direction first", server: []string{auth, "key-direction 0"},
			profile: []string{"key-direction 1", auth}},
		{name: "key-direction in a connection, key outside", server: []string{auth, "key-direction 0"},
			profile: []string{auth, "key-direction 1",
				"<connection>\nremote 192.0.2.2 PORT\nkey-direction 0\n</connection>"}},
		{name: "direction outside, key in a connection", server: []string{auth},
			profile: []string{"key-direction 1",
				"<connection>\nremote 192.0.2.2 PORT\n" + auth + "\n</connection>"}},
		edit("parameters before the key", func(s string) string {
			out, err := exec.Command("openssl", "ecparam", "-name", "prime256v1").Output()
			if err != nil {
				t.Error(err)
			}
			return strings.Replace(s, "<key>\n", "<key>\n"+string(out), 1)
		}),
		edit("key with an old passphrase", func(s string) string {
			return withOldPassphrase(t, l, s)
		}),
		edit("certificate in the key block's place of text", func(s string) string {
			return strings.Replace(s, "<cert>\n", "<cert>\nCertificate:\n    Data:\n        Version: 3 (0x2)\n", 1)
		}),
	}
}

func withOldPassphrase(t *testing.T, l *lab, text string) string {
	t.Helper()
	text = withPassphrase(t, l, text)
	cmd := exec.Command("openssl", "ec", "-aes128", "-passout", "pass:open sesame")
	cmd.Stdin = strings.NewReader(l.pki.Client.Key)
	out, err := cmd.Output()
	if err != nil {
		t.Error(err)
	}
	from, rest, _ := strings.Cut(text, "<key>\n")
	_, rest, _ = strings.Cut(rest, "</key>")
	return from + "<key>\n" + string(out) + "</key>" + rest
}

// optionShapes are further options, alone.
func optionShapes() []shape {
	line := func(lines ...string) shape { return shape{name: lines[0], profile: lines} }
	gone := func(refused string, lines ...string) shape {
		return shape{name: lines[0], profile: lines, refused: refused}
	}
	both := func(name string, lines ...string) shape {
		return shape{name: name, profile: lines, server: lines}
	}
	apart := func(s shape, why string) shape { s.differs = why; return s }
	return []shape{
		line("compress migrate"), line("tls-groups X25519"), apart(line("tls-groups X25519:nosuchgroup"),
			"official ends; we use the group that is known"),
		apart(line("tls-groups X25519MLKEM768:X25519"),
			"official ends with OpenSSL before 3.5; we offer the usual groups, this one first if known"),
		gone("tls-groups", "tls-groups nosuchgroup"),
		gone("tls-cipher", "tls-cipher TLS-RSA-WITH-RC4-128-MD5"),
		gone("tls-cipher", "tls-cipher TLS-DHE-RSA-WITH-3DES-EDE-CBC-SHA"),
		gone("tls-ciphersuites", "tls-ciphersuites TLS_NONE_SHA256"),
		gone("tls-version", "tls-version-min 1.3", "tls-version-max 1.2"),
		gone("verify-x509-name", "verify-x509-name server.example.net nameprefix"),
		gone("verify-hash", "verify-hash 00:11"),
		gone("remote-cert-eku", "remote-cert-eku"),
		gone("tls-version", "tls-version-min 9.9"),
		line("remote-cert-eku 1.3.6.1.5.5.7.3.1"), line("remote-cert-ku a0 88 80"),
		line("mssfix"), line("mssfix 1400 fixed"), line("mssfix 0 mtu"),
		gone("fragment", "fragment 0"),
		line("ping 10", "ping-exit 60"),
		apart(line("data-ciphers DEFAULT:AES-256-CBC"), "DEFAULT is of OpenVPN 2.7"), line("ncp-ciphers AES-256-GCM"),
		both("allow-compression yes and lz4", "allow-compression yes", "compress lz4"),
		{name: "UDP with fragment, then TCP", server: []string{"proto tcp-server"},
			profile: []string{"<connection>\nremote 192.0.2.2 9 udp\nfragment 1300\nconnect-timeout 2\n</connection>",
				"<connection>\nremote 192.0.2.2 PORT tcp\n</connection>"}},
		{name: "IPv6 by udp6", server: []string{"proto udp6"},
			profile: []string{"proto udp6", "remote 2001:db8:2::2 PORT"}},
		{name: "IPv6 by an address alone", server: []string{"proto udp6"},
			profile: []string{"remote 2001:db8:2::2 PORT"}},
		{name: "IPv6 by tcp6-client", server: []string{"proto tcp6-server"},
			profile: []string{"proto tcp6-client", "remote 2001:db8:2::2 PORT"}},
		{name: "port behind the server", profile: []string{"remote 192.0.2.2", "port PORT"}},
	}
}

// pushShapes are of what a server pushes.
func pushShapes() []shape {
	push := func(name string, lines ...string) shape {
		s := shape{name: "pushed " + name}
		for _, l := range lines {
			s.server = append(s.server, `push "`+l+`"`)
		}
		return s
	}
	framed := func(name, own string) shape {
		return shape{name: "pushed " + name, server: []string{"allow-compression yes", own,
			`push "` + name + `"`}}
	}
	var many []string
	for i := range 120 {
		many = append(many, fmt.Sprintf("route 10.200.%d.0 255.255.255.0", i))
	}
	lzo := framed("comp-lzo", "comp-lzo")
	lzo.differs = "official ends the attempt; we decompress and never compress"
	adaptive := framed("comp-lzo adaptive", "comp-lzo adaptive")
	adaptive.differs = lzo.differs
	return []shape{
		framed("compress", "compress"), framed("compress stub", "compress stub"), lzo, adaptive,
		push("many routes", many...),
		push("all that is harmless", "redirect-gateway def1 ipv6 bypass-dhcp",
			"route 198.51.100.0 255.255.255.0 vpn_gateway", "route-ipv6 2000::/3",
			"dhcp-option DOMAIN example.net", "dhcp-option WINS 192.0.2.5",
			"dhcp-option DOMAIN-SEARCH example.com", "dhcp-option NTP 192.0.2.6",
			"dhcp-option DNS6 2001:db8::53", "sndbuf 393216", "rcvbuf 393216",
			"explicit-exit-notify 1", "inactive 3600", "session-timeout 3600", "route-metric 5",
			"socket-flags TCP_NODELAY", "echo hello", "setenv-safe X y"),
		push("ping-restart 0", "ping 0", "ping-restart 0"), push("ping-exit", "ping 5", "ping-exit 30"),
		push("windows options", "block-outside-dns", "register-dns", "ip-win32 dynamic"),
		push("tun-mtu 1420", "tun-mtu 1420"), push("route-gateway dhcp", "route-gateway dhcp"),
		push("auth-token", "auth-token abcdefg"),
		push("block-ipv6", "block-ipv6", "ifconfig-ipv6 2001:db8:9::2/64 2001:db8:9::1"),
		{name: "pushed topology net30", server: []string{"topology net30"}},
		{name: "pushed topology p2p", server: []string{"topology p2p"}},
		{name: "IPv4 and IPv6 assigned", server: []string{"server-ipv6 2001:db8:77::/64"}},
		{name: "token generated", profile: []string{"auth-user-pass"},
			server: []string{"auth-gen-token", "auth-user-pass-optional", "script-security 3",
				"auth-user-pass-verify /bin/true via-env"}},
		{name: "pushed cipher of the list", profile: []string{"data-ciphers AES-256-GCM:AES-192-CBC"},
			server: []string{"data-ciphers AES-192-CBC"}},
	}
}

// besideShapes are of files beside the profile, as archives of products have them.
func besideShapes(t *testing.T, l *lab) []shape {
	tlsAuth := ovpntest.StaticKey(1)
	server := []string{ovpntest.Inline("tls-auth", tlsAuth), "key-direction 0"}
	bare := func(lines ...string) func(string) string {
		return func(s string) string {
			at := strings.LastIndex(s, "remote ")
			return "client\ndev tun\nnobind\nremote-cert-tls server\n" + s[at:] +
				strings.Join(lines, "\n") + "\n"
		}
	}
	bundle := func(args ...string) string { return bundleOf(t, l, args...) }
	ca := l.pki.CA.PEM
	single := map[string]string{"ca.crt": ca, "my client.crt": l.pki.Client.PEM,
		"client.key": l.pki.Client.Key, "ta.key": tlsAuth}
	sealed := bundle("-passout", "pass:open sesame")
	return []shape{
		{name: "files beside", server: server, files: single, edit: bare("ca ca.crt",
			`cert "my client.crt"`, "key ./client.key", "tls-auth ta.key 1")},
		{name: "files beside, escaped", server: server, files: single, edit: bare("ca 'ca.crt'",
			`cert my\ client.crt`, "key client.key", "key-direction 1", "tls-auth ta.key")},
		{name: "bundle with its authority", server: server, edit: bare("pkcs12 gw.p12",
			"tls-auth ta.key 1"), files: map[string]string{"ta.key": tlsAuth,
			"gw.p12": bundle("-passout", "pass:")}},
		{name: "bundle with a passphrase", edit: bare("pkcs12 gw.p12", "askpass pass.txt"),
			files: map[string]string{"gw.p12": sealed, "pass.txt": "open sesame\n"}},
		{name: "bundle of an old program", edit: bare("pkcs12 gw.p12", "askpass pass.txt"),
			files: map[string]string{"pass.txt": "open sesame\n",
				"gw.p12": bundle("-legacy", "-passout", "pass:open sesame")}},
	}
}

// bundleOf returns a PKCS #12 bundle of the client with the provider's authority.
func bundleOf(t *testing.T, l *lab, args ...string) string {
	t.Helper()
	ca := filepath.Join(l.dir, "bundle-ca.pem")
	if err := os.WriteFile(ca, []byte(l.pki.CA.PEM), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("openssl", append([]string{"pkcs12", "-export", "-certfile", ca},
		args...)...)
	cmd.Stdin = strings.NewReader(l.pki.Client.Key + l.pki.Client.PEM)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// combinedShapes are of options that meet: twice the same, or different ones at both ends.
func combinedShapes() []shape {
	line := func(lines ...string) shape { return shape{name: lines[0] + ", again", profile: lines} }
	both := func(name string, lines ...string) shape {
		return shape{name: name, profile: lines, server: lines}
	}
	auth := ovpntest.Inline("tls-auth", ovpntest.StaticKey(1))
	meet := func(name, own string, server ...string) shape {
		s := shape{name: name, server: append([]string{"allow-compression yes"}, server...)}
		if own != "" {
			s.profile = []string{own}
		}
		return s
	}
	return []shape{
		meet("comp-lzo and a server that migrates", "comp-lzo", "compress migrate"),
		meet("comp-lzo no and a server that migrates", "comp-lzo no", "compress migrate"),
		meet("compress lz4-v2 and a server that migrates", "compress lz4-v2", "compress migrate"),
		meet("nothing and a server that migrates", "", "compress migrate"),
		meet("comp-lzo and a push of no", "comp-lzo", "comp-lzo no", `push "comp-lzo no"`),
		meet("comp-lzo yes and a push of stub-v2", "comp-lzo yes", "compress stub-v2",
			`push "compress stub-v2"`),
		{name: "auth none and tls-auth", profile: []string{"auth none", auth}, refused: "tls-auth"},
		line("auth MD5", "auth SHA1"), line("cipher AES-128-CBC", "cipher AES-256-GCM"),
		line("proto tcp", "proto udp"), line("comp-lzo", "compress", "comp-lzo no", "compress migrate"),
		{name: "verify-x509-name, twice", profile: []string{"verify-x509-name other name",
			"verify-x509-name server.example.net name"}},
		both("tun-mtu 900", "tun-mtu 900"), both("link-mtu 1400", "link-mtu 1400"),
		both("tun-mtu-extra alone", "tun-mtu-extra 64"),
		both("fragment, mssfix and tun-mtu", "tun-mtu 1450", "fragment 1250", "mssfix 1200"),
		both("fragment and comp-lzo", "fragment 1300", "comp-lzo", "data-ciphers AES-256-CBC",
			"cipher AES-256-CBC"),
		{name: "no address of IPv4", peer: "fd00:77::1", server: []string{"mode server",
			"tls-server", "topology subnet", "server-ipv6 fd00:77::/64"}},
		{name: "pushed resolvers", server: []string{`push "dhcp-option DNS 192.0.2.53"`,
			`push "dhcp-option DNS 127.0.0.1"`, `push "dhcp-option DNS no"`,
			`push "dns server 1 address 192.0.2.54"`, `push "dns search-domains example.net"`}},
		{name: "pushed route-gateway", server: []string{`push "route-gateway SUBNET.1"`}},
		{name: "two dead connections, then a good one", profile: []string{
			"<connection>\nremote 192.0.2.2 9 tcp\nconnect-timeout 2\n</connection>",
			"<connection>\nremote 192.0.2.2 9 udp\nconnect-timeout 2\n</connection>",
			"<connection>\nremote 192.0.2.2\nrport PORT\nproto udp4\nmssfix\n</connection>"}},
	}
}

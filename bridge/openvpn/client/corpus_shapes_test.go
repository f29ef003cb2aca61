package client

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"ztbridge/bridge/openvpn/ovpntest"
	"ztbridge/bridge/openvpn/profile"
)

// corpus returns the shapes. Keys are made for the run; addresses are of RFC 5737.
func corpus(t *testing.T, l *lab) []shape {
	lists := [][]shape{cipherShapes(), digestShapes(), framingShapes(), sizeShapes(),
		controlShapes(l), transportShapes(), fileShapes(t, l), tlsShapes(l), oldShapes(),
		ignoredShapes(), loginShapes(t, l), legacyShapes(t, l), refusedShapes(l),
		productShapes(), textShapes(t, l), optionShapes(), pushShapes(),
		besideShapes(t, l), combinedShapes(), habitShapes(l), againShapes(t, l),
		furtherShapes(t, l)}
	var out []shape
	for _, list := range lists {
		out = append(out, list...)
	}
	return out
}

func cipherShapes() []shape {
	var out []shape
	for _, c := range []string{"AES-128-CBC", "AES-192-CBC", "AES-256-CBC", "CAMELLIA-128-CBC",
		"CAMELLIA-256-CBC", "ARIA-256-CBC", "DES-EDE3-CBC", "SM4-CBC", "AES-256-CFB", "AES-128-OFB",
		"AES-128-GCM", "AES-192-GCM", "AES-256-GCM", "CHACHA20-POLY1305", "ARIA-128-GCM"} {
		out = append(out, shape{name: "cipher " + c,
			profile: []string{"cipher " + c, "data-ciphers AES-256-GCM:" + c},
			server:  []string{"data-ciphers " + c, "cipher " + c}})
	}
	for name, c := range map[string]string{"AES256": "AES-256-CBC", "AES128": "AES-128-CBC",
		"id-aes256-GCM": "AES-256-GCM", "aes-256-cbc": "AES-256-CBC", "camellia256": "CAMELLIA-256-CBC"} {
		out = append(out, shape{name: "cipher alias " + name, profile: []string{"cipher " + name},
			server: []string{"data-ciphers " + c + ":AES-256-GCM", "cipher " + c}})
	}
	return append(out,
		shape{name: "server without negotiation",
			profile: []string{"data-ciphers AES-256-CBC"},
			server:  []string{"data-ciphers AES-256-CBC", "cipher AES-256-CBC"}},
		shape{name: "data-ciphers", profile: []string{"data-ciphers AES-128-GCM:?FOO:AES-256-CBC"}},
		shape{name: "ncp-ciphers", profile: []string{"ncp-ciphers AES-256-GCM:AES-256-CBC"}},
		shape{name: "data-ciphers-fallback",
			profile: []string{"data-ciphers-fallback AES-192-CBC"},
			server:  []string{"data-ciphers AES-192-CBC:AES-256-GCM"}},
		shape{name: "keysize of old", profile: []string{"cipher AES-256-CBC", "keysize 256"},
			differs: "an obsolete line that 2.6 no longer reads; nothing depends on it"},
	)
}

func digestShapes() []shape {
	var out []shape
	for _, d := range []string{"SHA1", "SHA224", "SHA256", "SHA384", "SHA512", "SHA512-224",
		"SHA512-256", "SHA3-256", "SHA3-512", "RIPEMD160", "MD5", "BLAKE2b512", "BLAKE2s256", "SM3",
		"RSA-SHA256", "none"} {
		differs := ""
		if strings.HasPrefix(d, "RSA-") {
			differs = "an old name of the digest that OpenSSL 3 no longer knows"
		}
		out = append(out, shape{name: "auth " + d, differs: differs,
			profile: []string{"data-ciphers AES-256-CBC", "auth " + d},
			server: []string{"data-ciphers AES-256-CBC", "cipher AES-256-CBC",
				"auth " + strings.TrimPrefix(d, "RSA-")}})
	}
	return out
}

func framingShapes() []shape {
	var out []shape
	for _, f := range []string{"comp-lzo no", "comp-lzo", "comp-lzo yes", "comp-lzo adaptive",
		"compress", "compress stub", "compress stub-v2", "compress lz4", "compress lz4-v2",
		"compress lzo"} {
		out = append(out, shape{name: f, profile: []string{f},
			server: []string{"allow-compression yes", f}})
	}
	for _, f := range []string{"comp-lzo yes", "comp-lzo no", "compress lz4-v2", "compress lz4",
		"compress stub-v2", "compress lzo"} {
		s := shape{name: "pushed " + f,
			server: []string{"allow-compression yes", f, `push "` + f + `"`}}
		if f != "comp-lzo no" && f != "compress stub-v2" {
			s.differs = "official ends the attempt; we decompress and never compress"
		}
		out = append(out, s)
	}
	return append(out, shape{name: "allow-compression asym and lzo",
		profile: []string{"allow-compression asym", "comp-lzo"},
		server:  []string{"allow-compression yes", "comp-lzo"}})
}

func sizeShapes() []shape {
	both := func(name string, lines ...string) shape {
		return shape{name: name, profile: lines, server: lines}
	}
	return []shape{
		both("tun-mtu 1400", "tun-mtu 1400"), both("tun-mtu 1500 and extra", "tun-mtu 1500",
			"tun-mtu-extra 32"), both("mssfix 1300", "mssfix 1300"), both("mssfix mtu", "mssfix 1400 mtu"),
		both("mssfix 0", "mssfix 0"), both("link-mtu", "link-mtu 1600"),
		both("fragment 1300", "fragment 1300", "mssfix"), both("fragment 1200 mtu", "fragment 1200 mtu"),
		both("fragment 600", "fragment 600"), both("max-packet-size", "max-packet-size 1400"),
		both("tun-mtu-max", "tun-mtu-max 1700"),
		{name: "fragment in a connection", server: []string{"fragment 1300"},
			profile: []string{"<connection>\nremote 192.0.2.2 PORT\nfragment 1300\n</connection>"}},
		{name: "tun-mtu and mssfix in a connection", server: []string{"tun-mtu 1420"},
			profile: []string{
				"<connection>\nremote 192.0.2.2 PORT\ntun-mtu 1420\nmssfix 1200\n</connection>"}},
		{name: "fragment before a connection", server: []string{"fragment 1300"},
			profile: []string{"fragment 1300", "<connection>\nremote 192.0.2.2 PORT\n</connection>"}},
		{name: "fragment after a connection",
			profile: []string{"<connection>\nremote 192.0.2.2 PORT\n</connection>", "fragment 1300"}},
		{name: "connections that differ", server: []string{"fragment 1300"},
			profile: []string{"<connection>\nremote 192.0.2.2 9 udp\nconnect-timeout 2\n</connection>",
				"<connection>\nremote 192.0.2.2 PORT\nfragment 1300\n</connection>"}},
	}
}

func controlShapes(l *lab) []shape {
	one, two := ovpntest.StaticKey(1), ovpntest.StaticKey(2)
	auth, crypt := ovpntest.Inline("tls-auth", one), ovpntest.Inline("tls-crypt", one)
	v2, clientKey := l.cryptV2()
	return []shape{
		{name: "tls-auth", profile: []string{auth}, server: []string{auth}},
		{name: "tls-auth with directions", profile: []string{auth, "key-direction 1"},
			server: []string{auth, "key-direction 0"}},
		{name: "tls-auth with SHA512", profile: []string{auth, "key-direction 1", "auth SHA512"},
			server: []string{auth, "key-direction 0", "auth SHA512"}},
		{name: "tls-crypt", profile: []string{crypt}, server: []string{crypt}},
		{name: "tls-crypt-v2", profile: []string{ovpntest.Inline("tls-crypt-v2", clientKey)},
			server: []string{"tls-crypt-v2 " + v2}},
		{name: "tls-crypt-v2 in a connection", server: []string{"tls-crypt-v2 " + v2},
			profile: []string{"<connection>\nremote 192.0.2.2 PORT\n" +
				ovpntest.Inline("tls-crypt-v2", clientKey) + "\n</connection>"}},
		{name: "tls-crypt in a connection", server: []string{crypt},
			profile: []string{"<connection>\nremote 192.0.2.2 PORT\n" + crypt + "\n</connection>"}},
		{name: "tls-auth in a connection", server: []string{auth, "key-direction 0"},
			profile: []string{"<connection>\nremote 192.0.2.2 PORT\n" + auth +
				"\nkey-direction 1\n</connection>"}},
		{name: "tls-auth for all, connections apart", server: []string{auth, "key-direction 0"},
			profile: []string{"<connection>\nremote 192.0.2.2 PORT\n</connection>", auth,
				"key-direction 1"}},
		{name: "another tls-crypt in each connection", server: []string{crypt},
			profile: []string{"<connection>\nremote 192.0.2.2 9\nconnect-timeout 2\n" +
				ovpntest.Inline("tls-crypt", two) + "\n</connection>",
				"<connection>\nremote 192.0.2.2 PORT\n" + crypt + "\n</connection>"}},
		{name: "tls-crypt for all, another in one", server: []string{crypt},
			profile: []string{ovpntest.Inline("tls-crypt", two),
				"<connection>\nremote 192.0.2.2 PORT\n" + crypt + "\n</connection>"}},
	}
}

func transportShapes() []shape {
	tcp := []string{"proto tcp-server"}
	return []shape{
		{name: "proto udp", profile: []string{"proto udp"}},
		{name: "proto udp4", profile: []string{"proto udp4"}},
		{name: "proto tcp", profile: []string{"proto tcp"}, server: tcp},
		{name: "proto tcp-client", profile: []string{"proto tcp-client"}, server: tcp},
		{name: "proto tcp4", profile: []string{"proto tcp4"}, server: tcp},
		{name: "protocol on the remote", profile: []string{"remote 192.0.2.2 PORT tcp"}, server: tcp},
		{name: "port", profile: []string{"port PORT", "remote 192.0.2.2"}},
		{name: "rport", profile: []string{"rport PORT", "remote 192.0.2.2"}},
		{name: "proto-force udp", profile: []string{"remote 192.0.2.2 9 tcp",
			"remote 192.0.2.2 PORT udp", "proto-force udp"}},
		{name: "port by name", profile: []string{"remote 192.0.2.2 openvpn"},
			server: []string{"port 1194"}},
		{name: "dead server first", profile: []string{"remote 192.0.2.2 9 tcp",
			"remote 192.0.2.2 PORT udp"}},
		{name: "random order", profile: []string{"remote-random", "remote 192.0.2.2 PORT udp",
			"remote 192.0.2.2 PORT udp"}},
		{name: "proto in a connection", server: tcp, profile: []string{
			"<connection>\nremote 192.0.2.2\nport PORT\nproto tcp-client\nconnect-timeout 5\n</connection>"}},
		{name: "explicit-exit-notify", profile: []string{"explicit-exit-notify"}},
		{name: "explicit-exit-notify 30", profile: []string{"explicit-exit-notify 30"}},
		{name: "explicit-exit-notify over TCP", profile: []string{"proto tcp",
			"explicit-exit-notify 1"}, server: tcp},
		{name: "float and bind", profile: []string{"float"}},
		{name: "site to site", server: []string{"tls-server", "ifconfig SUBNET.1 SUBNET.2",
			"topology p2p"}, edit: siteToSite},
		{name: "helper program on loopback", profile: []string{"remote 127.0.0.1 1195",
			"remote 192.0.2.2 PORT"}},
	}
}

// siteToSite makes the profile one end of a tunnel with fixed addresses.
func siteToSite(text string) string {
	var port int
	at := strings.LastIndex(text, "remote ")
	if _, err := fmt.Sscanf(text[at:], "remote 192.0.2.2 %d", &port); err != nil {
		return text
	}
	n := port - 20000
	subnet := fmt.Sprintf("10.%d.%d", 100+n/200, n%200)
	return strings.Replace(text, "client\n",
		fmt.Sprintf("tls-client\nifconfig %s.2 %s.1\n", subnet, subnet), 1)
}

func fileShapes(t *testing.T, l *lab) []shape {
	edit := func(name string, f func(string) string) shape { return shape{name: name, edit: f} }
	toUTF16 := func(little bool) func(string) string {
		return func(text string) string {
			var out []byte
			for _, u := range append([]uint16{0xfeff}, utf16.Encode([]rune(text))...) {
				if little {
					out = append(out, byte(u), byte(u>>8))
				} else {
					out = append(out, byte(u>>8), byte(u))
				}
			}
			return string(out)
		}
	}
	utf := func(name string, little bool) shape {
		s := edit(name, toUTF16(little))
		s.differs = "official reads UTF-8 only"
		return s
	}
	trusted := func(text string) string {
		block, _ := pem.Decode([]byte(l.pki.CA.PEM))
		block.Type = "TRUSTED CERTIFICATE"
		return strings.Replace(text, l.pki.CA.PEM, string(pem.EncodeToMemory(block)), 1)
	}
	return []shape{
		edit("CRLF", func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }),
		edit("byte order mark", func(s string) string { return "\uFEFF" + s }),
		utf("UTF-16 little", true), utf("UTF-16 big", false),
		edit("leading dashes", func(s string) string {
			return strings.Replace(s, "dev tun\n", "--dev tun\n", 1)
		}),
		edit("comments and tabs", func(s string) string {
			return "# a comment\n; another\n\n\t" + strings.Replace(s, "nobind", "nobind\t# here", 1)
		}),
		edit("quotes", func(s string) string {
			return strings.Replace(s, "remote-cert-tls server", `remote-cert-tls "server"`, 1)
		}),
		edit("setenv opt", func(s string) string { return "setenv opt block-outside-dns\n" + s }),
		edit("text before certificates", func(s string) string {
			return strings.Replace(s, "<ca>\n", "<ca>\nsubject=CN = Example\n\n", 1)
		}),
		edit("trusted certificate", trusted),
		edit("two authorities", func(s string) string {
			return strings.Replace(s, "</ca>", l.pki.Authority("Old CA").PEM+"</ca>", 1)
		}),
		edit("chain behind the certificate", func(s string) string {
			return strings.Replace(s, "</cert>", l.pki.CA.PEM+"</cert>", 1)
		}),
		edit("extra-certs", func(s string) string {
			return s + ovpntest.Inline("extra-certs", l.pki.CA.PEM) + "\n"
		}),
		edit("no line feed at the end", func(s string) string { return strings.TrimRight(s, "\n") }),
		edit("pkcs12", func(s string) string { return withPKCS12(t, l, s) }),
		edit("key with a passphrase", func(s string) string { return withPassphrase(t, l, s) }),
	}
}

func withPKCS12(t *testing.T, l *lab, text string) string {
	t.Helper()
	both := filepath.Join(l.dir, "pkcs12.pem")
	if err := os.WriteFile(both, []byte(l.pki.Client.Key+l.pki.Client.PEM), 0o600); err != nil {
		t.Error(err)
	}
	out, err := exec.Command("openssl", "pkcs12", "-export", "-in", both, "-passout", "pass:").Output()
	if err != nil {
		t.Error(err)
	}
	for _, block := range []string{ovpntest.Inline("cert", l.pki.Client.PEM),
		ovpntest.Inline("key", l.pki.Client.Key)} {
		text = strings.Replace(text, block+"\n", "", 1)
	}
	var lines strings.Builder
	for line := range slices.Chunk([]byte(base64.StdEncoding.EncodeToString(out)), 64) {
		fmt.Fprintf(&lines, "%s\n", line)
	}
	return text + "<pkcs12>\n" + lines.String() + "</pkcs12>\n"
}

func withPassphrase(t *testing.T, l *lab, text string) string {
	t.Helper()
	cmd := exec.Command("openssl", "pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout",
		"pass:open sesame")
	cmd.Stdin = strings.NewReader(l.pki.Client.Key)
	out, err := cmd.Output()
	if err != nil {
		t.Error(err)
	}
	file := filepath.Join(l.dir, "passphrase")
	if err := os.WriteFile(file, []byte("open sesame\n"), 0o600); err != nil {
		t.Error(err)
	}
	return strings.Replace(text, l.pki.Client.Key, string(out), 1) + "askpass " + file + "\n"
}

func tlsShapes(l *lab) []shape {
	block, _ := pem.Decode([]byte(l.pki.Server.PEM))
	print := strings.ToUpper(fmt.Sprintf("% x", sha256.Sum256(block.Bytes)))
	print = strings.ReplaceAll(print, " ", ":")
	caBlock, _ := pem.Decode([]byte(l.pki.CA.PEM))
	caPrint := strings.ReplaceAll(strings.ToUpper(fmt.Sprintf("% x", sha256.Sum256(caBlock.Bytes))),
		" ", ":")
	line := func(lines ...string) shape {
		return shape{name: strings.SplitN(lines[0], "\n", 2)[0], profile: lines}
	}
	return []shape{
		line("tls-version-min 1.2"), line("tls-version-min 1.3"), line("tls-version-max 1.2"),
		line("tls-version-min 1.0"),
		line("tls-cipher TLS-ECDHE-ECDSA-WITH-AES-256-GCM-SHA384:!aNULL", "tls-version-max 1.2"),
		line("tls-cipher DEFAULT:!MD5:!RC4"), line("tls-ciphersuites TLS_CHACHA20_POLY1305_SHA256"),
		line("tls-groups prime256v1:secp384r1"), line("ecdh-curve prime256v1"),
		line("tls-cert-profile legacy"), line("tls-cert-profile preferred"),
		line("verify-x509-name server.example.net name"),
		line("verify-x509-name server name-prefix"),
		line(`verify-x509-name "CN=server.example.net" subject`),
		line("verify-x509-name CN=server.example.net"),
		line("remote-cert-ku 0x0080"), line("remote-cert-ku 80"),
		line(`remote-cert-eku "TLS Web Server Authentication"`),
		line("verify-hash " + caPrint + " SHA256"),
		{name: "peer-fingerprint with comments", edit: func(s string) string {
			s = strings.Replace(s, ovpntest.Inline("ca", l.pki.CA.PEM)+"\n", "", 1)
			return s + "<peer-fingerprint>\n# the server\n" + print + "\n</peer-fingerprint>\n"
		}},
		line("reneg-sec 0"), line("reneg-sec 3600"), line("hand-window 60", "tran-window 3600"),
		line("replay-window 128 30"), line("push-peer-info", "setenv UV_TEST yes"),
		line("auth-nocache"), line("tls-timeout 3"),
	}
}

func ignoredShapes() []shape {
	line := func(lines ...string) shape { return shape{name: lines[0], profile: lines} }
	return []shape{
		line("script-security 2", "up /bin/true", "down /bin/true"),
		line("route 198.51.100.0 255.255.255.0", "route-metric 5", "route-delay 1"),
		line("redirect-gateway def1 bypass-dhcp"), line("dhcp-option DNS 192.0.2.53"),
		line("resolv-retry infinite", "persist-key", "persist-tun", "verb 3", "mute 10"),
		line("keepalive 10 60", "ping-timer-rem"), line("sndbuf 393216", "rcvbuf 393216"),
		{name: "block-outside-dns", profile: []string{"block-outside-dns", "register-dns",
			"route-method exe"}, differs: "of Windows alone: official refuses it on Linux"},
		line("ignore-unknown-option frobnicate", "frobnicate 1"),
		line("setenv opt frobnicate 1"), line("setenv CLIENT_CERT 0"),
		line("pull-filter ignore redirect-gateway"), line("route-nopull"),
		line("mode p2p"), line("server-poll-timeout 4"), line("connect-retry 2 10"),
		line("tls-client", "pull"), line("comp-noadapt"), line("disable-occ"),
		line("mute-replay-warnings", "fast-io"), line("machine-readable-output"),
		line("status /dev/null 10"),
	}
}

// oldShapes are of directives that are easily dropped, and of those that OpenVPN no longer has.
func oldShapes() []shape {
	line := func(lines ...string) shape { return shape{name: lines[0], profile: lines} }
	gone := func(refused string, lines ...string) shape {
		return shape{name: lines[0], profile: lines, refused: refused}
	}
	// The server assigns addresses and does not say by which topology.
	silent := []string{"mode server", "tls-server", "topology subnet",
		"ifconfig SUBNET.1 255.255.255.0", "ifconfig-pool SUBNET.2 SUBNET.9 255.255.255.0"}
	return []shape{
		line("pull-filter ignore dhcp-option"), line("pull-filter ignore \"route-ipv6\""),
		line("topology subnet"), line("topology net30"),
		line("x509-username-field CN", "verify-x509-name server.example.net name"),
		line("dns server 1 address 192.0.2.53"), line("key-direction 1"),
		line("udp-mtu 1600"), line("compat-mode 2.4.0"), line("allow-compression no"),
		line("tls-version-min 1.3 or-highest"), line("mtu-disc yes"), line("tls-exit"),
		line("remote-cert-tls server", "remote-cert-ku"), line("auth-token-user YWxpY2U="),
		{name: "compat-mode 2.3.0", profile: []string{"compat-mode 2.3.0"},
			server: []string{"cipher BF-CBC", "data-ciphers BF-CBC", "providers legacy default"}},
		{name: "topology of the profile alone", profile: []string{"topology subnet"},
			server: silent},
		{name: "ncp-disable", profile: []string{"ncp-disable", "cipher AES-256-CBC"},
			server:  []string{"data-ciphers AES-256-CBC", "cipher AES-256-CBC"},
			differs: "an obsolete line that 2.6 no longer reads; nothing depends on it"},
		{name: "key-method 2", profile: []string{"key-method 2"},
			differs: "an obsolete line that 2.6 no longer reads; nothing depends on it"},
		gone("only method 2", "key-method 1"), gone("both ends", "no-iv"),
		gone("both ends", "mtu-dynamic 1400"),
		gone("128 bits only", "cipher BF-CBC", "keysize 256"),
		gone("both tun-mtu and link-mtu", "tun-mtu 1400", "link-mtu 1450"),
	}
}

func loginShapes(t *testing.T, l *lab) []shape {
	script := filepath.Join(l.dir, "login.sh")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n[ \"$username\" = alice ] && "+
		"[ \"$password\" = hunter2 ]\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	server := []string{"script-security 3", "auth-user-pass-verify " + script + " via-env"}
	noCert := func(s string) string {
		for _, block := range []string{ovpntest.Inline("cert", l.pki.Client.PEM),
			ovpntest.Inline("key", l.pki.Client.Key)} {
			s = strings.Replace(s, block+"\n", "", 1)
		}
		return s
	}
	return []shape{
		{name: "auth-user-pass", profile: []string{"auth-user-pass"}, server: server},
		{name: "auth-user-pass of a file", profile: []string{"auth-user-pass login"},
			server: server},
		{name: "auth-user-pass inside", server: server,
			profile: []string{"<auth-user-pass>\nalice\nhunter2\n</auth-user-pass>"}},
		{name: "password without a certificate", profile: []string{"auth-user-pass"},
			edit: noCert, server: append([]string{"verify-client-cert none"}, server...)},
		{name: "auth-retry nointeract", profile: []string{"auth-user-pass", "auth-retry nointeract"},
			server: server},
	}
}

func legacyShapes(t *testing.T, l *lab) []shape {
	weak := sha1Certificate(t, l)
	withWeak := func(s string) string {
		return strings.Replace(s, l.pki.Client.PEM, weak, 1)
	}
	legacy := profile.Options{LegacyCrypto: true}
	loose := []string{`tls-cipher "DEFAULT:@SECLEVEL=0"`}
	return []shape{
		{name: "SHA-1 certificate", edit: withWeak, refused: "legacy_crypto: true", server: loose},
		{name: "SHA-1 certificate and SECLEVEL 0", edit: withWeak, profile: loose, server: loose,
			refused: "legacy_crypto: true", differs: "refused unless the person allows it"},
		{name: "SHA-1 certificate, allowed", edit: withWeak, profile: loose, server: loose,
			options: legacy},
		{name: "SHA-1 certificate and insecure, allowed", edit: withWeak, server: loose,
			profile: []string{"tls-cert-profile insecure"}, options: legacy},
		{name: "insecure", profile: []string{"tls-cert-profile insecure"},
			refused: "legacy_crypto: true", differs: "refused unless the person allows it"},
		{name: "auth whirlpool", profile: []string{"auth whirlpool"}, refused: "legacy_crypto: true",
			differs: "official here loads the legacy provider for other shapes"},
		{name: "cipher BF-CBC", profile: []string{"cipher BF-CBC", "data-ciphers AES-256-GCM:BF-CBC"},
			server: []string{"cipher BF-CBC", "data-ciphers BF-CBC", "providers legacy default"}},
	}
}

// sha1Certificate makes a client's certificate for the lab's key that is signed with SHA-1.
func sha1Certificate(t *testing.T, l *lab) string {
	t.Helper()
	write := func(name, text string) string {
		path := filepath.Join(l.dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ca, caKey := write("weak-ca.pem", l.pki.CA.PEM), write("weak-ca.key", l.pki.CA.Key)
	key := write("weak.key", l.pki.Client.Key)
	script := fmt.Sprintf(`openssl req -new -key %[1]s -subj /CN=customer-1 |
		openssl x509 -req -CA %[2]s -CAkey %[3]s -sha1 -days 30 -set_serial 7`, key, ca, caKey)
	out, err := exec.Command("sh", "-c", script).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func refusedShapes(l *lab) []shape {
	line := func(refused string, lines ...string) shape {
		return shape{name: lines[0], profile: lines, refused: refused}
	}
	apart := func(s shape, why string) shape { s.differs = why; return s }
	whole := func(name, refused, text string) shape {
		return shape{name: name, raw: text, refused: refused}
	}
	return []shape{
		line("patched OpenVPN", "scramble obfuscate secret"),
		line("Amazon's own", "auth-federate"),
		line("not a cipher", "cipher FOO-128"), line("not a digest", "auth FOO"),
		line("not a form", "comp-lzo maybe"), line("not a number", "fragment many"),
		line("no private key", "<cert>\n"+l.pki.Client.PEM+"</cert>\n<key>\n</key>"),
		line("more than one of tls-auth", ovpntest.Inline("tls-auth", ovpntest.StaticKey(1)),
			ovpntest.Inline("tls-crypt", ovpntest.StaticKey(1))),
		line("not a port", "remote 192.0.2.2 99999"),
		line("neither a port number", "remote 192.0.2.2 nosuchservice"),
		line("not a protocol", "proto sctp"),
		line("carries TCP only", "proto udp", "http-proxy 192.0.2.2 3128"),
		line("a placeholder", "remote YOUR_SERVER_IP 1194"),
		line("a server's configuration", "server 10.9.0.0 255.255.255.0"),
		line("not closed", "<tls-crypt>"), line("a quotation", `verify-x509-name "open`),
		apart(line("static key mode", "secret ta.key"), "unsafe: no TLS"),
		apart(line("typed at each", `static-challenge "Code" 1`), "no one is there to type"),
		apart(line("encryption off", "cipher none"), "unsafe: clients' traffic in the clear"),
		apart(line("only routed tunnels", "dev tap"), "a bridge of Ethernet is no way out"),
		apart(line("this box itself", "remote 127.0.0.1 1195"), "official waits forever"),
		whole("empty file", "an empty file", "\n"),
		whole("web page", "a web page", "<!DOCTYPE html>\n<html><body>Login</body></html>\n"),
		whole("WireGuard file", "a WireGuard file",
			"[Interface]\nPrivateKey = x\n[Peer]\nEndpoint = 192.0.2.2:51820\n"),
		whole("ZIP", "a ZIP archive", "PK\x03\x04\x14\x00"),
		whole("no server", "names no server", "client\ndev tun\n"),
		whole("no authority", "it has no ca", "client\ndev tun\nremote 192.0.2.2 PORT\n"),
	}
}

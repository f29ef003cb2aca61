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

	"ztbridge/bridge/openvpn/ovpntest"
)

// againShapes name a directive more than once, in other orders, or where it has no meaning.
func againShapes(t *testing.T, l *lab) []shape {
	edit := func(name string, f func(string) string) shape { return shape{name: name, edit: f} }
	apart := func(s shape, why string) shape { s.differs = why; return s }
	no := func(s shape, refused string) shape { s.refused = refused; return s }
	line := func(name string, lines ...string) shape { return shape{name: name, profile: lines} }
	both := func(name string, server []string, lines ...string) shape {
		return shape{name: name, profile: lines, server: server}
	}
	sum := func(text string) string {
		block, _ := pem.Decode([]byte(text))
		hex := fmt.Sprintf("% x", sha256.Sum256(block.Bytes))
		return strings.ReplaceAll(strings.ToUpper(hex), " ", ":")
	}
	auth, auth2 := ovpntest.Inline("tls-auth", ovpntest.StaticKey(1)), ovpntest.Inline("tls-auth",
		ovpntest.StaticKey(2))
	crypt, crypt2 := ovpntest.Inline("tls-crypt", ovpntest.StaticKey(1)),
		ovpntest.Inline("tls-crypt", ovpntest.StaticKey(2))
	cbc := func(c string) []string { return []string{"data-ciphers " + c, "cipher " + c} }
	tcp := []string{"proto tcp-server"}
	openssl := func(args ...string) string {
		out, err := exec.Command("openssl", args...).Output()
		if err != nil {
			t.Error(err)
		}
		return string(out)
	}
	otherKey := openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout")
	var remotes []string
	for i := range 1000 {
		remotes = append(remotes, fmt.Sprintf("remote 192.0.2.2 PORT #%d", i))
	}
	var distinct []string
	distinct = append(distinct, "remote 192.0.2.2 PORT")
	for i := range 999 {
		distinct = append(distinct, fmt.Sprintf("remote 198.51.100.%d %d", i%250+1, 1000+i))
	}
	s := []shape{
		both("cipher twice", cbc("AES-128-CBC"), "data-ciphers AES-128-CBC:AES-256-CBC",
			"cipher AES-256-CBC", "cipher AES-128-CBC"),
		both("auth twice", append(cbc("AES-256-CBC"), "auth SHA512"), "data-ciphers AES-256-CBC",
			"auth SHA256", "auth SHA512"),
		both("auth none, then one", append(cbc("AES-256-CBC"), "auth SHA512"),
			"data-ciphers AES-256-CBC", "auth none", "auth SHA512"),
		both("auth, then none", append(cbc("AES-256-CBC"), "auth none"), "data-ciphers AES-256-CBC",
			"auth SHA512", "auth none"),
		both("data-ciphers twice", cbc("AES-128-CBC"), "data-ciphers AES-256-CBC",
			"data-ciphers AES-128-CBC"),
		both("data-ciphers, then ncp", cbc("AES-128-CBC"), "data-ciphers AES-256-CBC",
			"ncp-ciphers AES-128-CBC"),
		both("cipher, then fallback", cbc("AES-128-CBC"), "data-ciphers AES-128-CBC",
			"cipher AES-256-CBC", "data-ciphers-fallback AES-128-CBC"),
		both("proto twice", tcp, "proto udp", "proto tcp"),
		both("proto before and after", tcp, "proto udp", "remote 192.0.2.2 PORT", "proto tcp"),
		both("proto behind a connection", nil, "<connection>\nremote 192.0.2.2 PORT\n</connection>",
			"proto tcp"),
		both("port behind a connection", nil, "port PORT",
			"<connection>\nremote 192.0.2.2\n</connection>", "port 9"),
		both("proto before a connection", tcp, "proto tcp",
			"<connection>\nremote 192.0.2.2 PORT\n</connection>", "proto udp"),
		both("two remotes in a connection", nil,
			"<connection>\nremote 198.51.100.1 9\nremote 192.0.2.2 PORT\n</connection>"),
		both("proto in a connection, then a remote", tcp,
			"<connection>\nproto tcp\nremote 192.0.2.2 PORT\n</connection>"),
		both("remote with proto, then proto", nil,
			"<connection>\nremote 192.0.2.2 PORT tcp\nproto udp\n</connection>"),
		both("remote with port, then port", nil,
			"<connection>\nremote 192.0.2.2 9\nport PORT\n</connection>"),
		both("port, then remote with one", nil, "port 9", "remote 192.0.2.2 PORT"),
		both("rport twice", nil, "rport 9", "remote 192.0.2.2", "rport PORT"),
		both("fragment twice", []string{"fragment 1300"}, "fragment 1200", "fragment 1300"),
		both("fragment behind a connection", nil,
			"<connection>\nremote 192.0.2.2 PORT\n</connection>", "fragment 1300"),
		both("fragment before a connection", []string{"fragment 1300"}, "fragment 1300",
			"<connection>\nremote 192.0.2.2 PORT\n</connection>"),
		both("tun-mtu twice", []string{"tun-mtu 1400"}, "tun-mtu 1300", "tun-mtu 1400"),
		both("comp twice", []string{"compress lz4-v2", "allow-compression yes"}, "comp-lzo",
			"compress lz4-v2", "allow-compression yes"),
		both("comp no, then compress", []string{"compress", "allow-compression yes"}, "comp-lzo no",
			"compress"),
		both("compress, then comp no", []string{"comp-lzo no", "allow-compression yes"}, "compress",
			"comp-lzo no"),
		both("tls-auth twice", []string{auth2, "key-direction 0"}, auth, "key-direction 1", auth2),
		both("tls-crypt twice", []string{crypt2}, crypt, crypt2),
		both("key-direction twice", []string{auth, "key-direction 0"}, "key-direction 0", auth,
			"key-direction 1"),
		line("tls-version-min twice", "tls-version-min 1.0", "tls-version-min 1.2"),
		both("tls-version-max twice", []string{"tls-version-min 1.3"}, "tls-version-max 1.2",
			"tls-version-max 1.3"),
		line("verify-x509-name twice", "verify-x509-name other.example.net name",
			"verify-x509-name server.example.net name"),
		line("remote-cert-tls twice", "remote-cert-tls client", "remote-cert-tls server"),
		no(line("remote-cert-tls other", "remote-cert-tls other"), "not of the expected form"),
		line("remote-cert-ku twice", "remote-cert-ku 04", "remote-cert-ku 80"),
		line("remote-cert-eku twice", `remote-cert-eku "TLS Web Client Authentication"`,
			`remote-cert-eku "TLS Web Server Authentication"`),
		line("peer-fingerprint wrong, then right", "peer-fingerprint "+sum(l.pki.CA.PEM),
			"peer-fingerprint "+sum(l.pki.Server.PEM)),
		line("verify-hash of several",
			"<verify-hash>\n"+sum(l.pki.Client.PEM)+"\n"+sum(l.pki.CA.PEM)+"\n</verify-hash>"),
		line("verify-hash of several with comments",
			"<verify-hash>\n# old\n"+sum(l.pki.Client.PEM)+
				"\n\n"+sum(l.pki.CA.PEM)+"\n</verify-hash>"),
		line("verify-hash block, then line",
			"<verify-hash>\n"+sum(l.pki.Client.PEM)+"\n</verify-hash>",
			"verify-hash "+sum(l.pki.CA.PEM)+" SHA256"),
		line("verify-hash line, then block", "verify-hash "+sum(l.pki.Client.PEM)+" SHA256",
			"<verify-hash>\n"+sum(l.pki.CA.PEM)+"\n</verify-hash>"),
		line("client twice", "tls-client", "client", "pull", "client"),
		line("dev twice", "dev tap0", "dev tun"),
		line("dev of another name", "dev vpn0", "dev-type tun"),
		line("dev null", "dev null"),
		line("reneg-sec of two", "reneg-sec 3600 7200"),
		line("reneg-bytes", "reneg-bytes 1000"),
		apart(line("nobind and lport", "lport 5000"),
			"official takes them for a contradiction; a client binds to no port"),
		no(line("auth-user-pass in a connection",
			"<connection>\nremote 192.0.2.2 PORT\nauth-user-pass\n</connection>"), "cannot differ"),
		line("thousand same remotes", remotes...),
		line("thousand remotes", distinct...),
		apart(edit("CR alone", func(s string) string { return strings.ReplaceAll(s, "\n", "\r") }),
			"official reads no line ends of old Macs"),
		edit("mixed line ends", func(s string) string {
			out := strings.Split(s, "\n")
			for i := range out {
				out[i] += []string{"\n", "\r\n"}[i%2]
			}
			return strings.Join(out, "")
		}),
		edit("zero bytes at the end", func(s string) string { return s + "\x00\x00\x00\x00" }),
		apart(edit("control Z at the end", func(s string) string { return s + "\x1a" }),
			"official takes DOS's end of a file for an option"),
		edit("1 MB", func(s string) string {
			return s + strings.Repeat("# "+strings.Repeat("x", 97)+"\n", (1<<20-len(s))/100)
		}),
		apart(edit("long comment", func(s string) string {
			return s + "# " + strings.Repeat("x",
				400) + "\n"
		}), "official reads no long lines; a comment has no effect"),
		no(edit("key of another certificate", func(s string) string {
			return strings.Replace(s, l.pki.Client.Key, otherKey, 1)
		}), "do not belong together"),
		no(edit("pkcs12 damaged", func(s string) string {
			s = withPKCS12(t, l, s)
			at := strings.Index(s, "</pkcs12>")
			return s[:at-65] + s[at-1:]
		}), "PKCS #12"),
		no(line("tls-crypt-v2 of a static key", ovpntest.Inline("tls-crypt-v2",
			ovpntest.StaticKey(1))), "tls-crypt-v2 client key"),
		apart(line("pkcs11", "pkcs11-id x", "pkcs11-providers /usr/lib/x.so"),
			"official wants the other program; the profile has a key of its own"),
		apart(line("cryptoapicert", "cryptoapicert \"THUMB:f6 49\""),
			"official wants the other program; the profile has a key of its own"),
		apart(line("management-external-key", "management-external-key"),
			"official wants the other program; the profile has a key of its own"),
		apart(line("management-external-cert", "management-external-cert x"),
			"official wants the other program; the profile has a key of its own"),
	}
	noKey := func(s string) string {
		return strings.Replace(s, ovpntest.Inline("key", l.pki.Client.Key)+"\n", "", 1)
	}
	noPair := func(s string) string {
		return strings.Replace(noKey(s), ovpntest.Inline("cert", l.pki.Client.PEM)+"\n", "", 1)
	}
	for _, lines := range [][]string{{"pkcs11-id x", "pkcs11-providers /usr/lib/x.so"},
		{"cryptoapicert \"THUMB:f6 49\""}, {"management-external-key"}} {
		for _, cut := range []func(string) string{noKey, noPair} {
			s = append(s, shape{name: "key elsewhere " + lines[0], edit: cut, refused: "smart card",
				profile: append(lines, "auth-user-pass")})
		}
	}
	filters := func(name string, lines ...string) shape {
		return shape{name: "pull-filter " + name, profile: lines, server: []string{
			`push "route 198.51.100.0 255.255.255.0"`, `push "dhcp-option DNS 192.0.2.53"`,
			`push "redirect-gateway def1"`}}
	}
	gen := func(args ...string) string { return openssl(append([]string{"genpkey"}, args...)...) }
	withKey := func(name string, key func() string) shape {
		return edit("key of "+name, func(s string) string {
			k := key()
			return strings.NewReplacer(l.pki.Client.Key, k, l.pki.Client.PEM, signed(t, l, name,
				k)).Replace(s)
		})
	}
	for _, c := range []string{"AES-256-CFB8", "AES-256-CFB1", "SEED-CBC", "CAST5-CBC", "RC2-CBC",
		"DES-CBC", "ARIA-192-OFB"} {
		s = append(s, both("cipher "+c, append(cbc(c), "providers legacy default"),
			"data-ciphers "+c, "cipher "+c))
	}
	for _, a := range []string{"sha-256", "SHA3-512", "BLAKE2b512", "RIPEMD160", "SHA2-384",
		"ssl3-md5"} {
		s = append(s, both("auth "+a, append(cbc("AES-256-CBC"), "auth "+a),
			"data-ciphers AES-256-CBC", "auth "+a))
	}
	s = append(s,
		both("auth unknown, then one", append(cbc("AES-256-CBC"), "auth SHA512"),
			"data-ciphers AES-256-CBC", "auth FOO", "auth SHA512"),
		both("cipher none, then one", cbc("AES-256-CBC"), "cipher none", "data-ciphers AES-256-CBC",
			"cipher AES-256-CBC"),
		line("tls-cipher of old, then one", "tls-cipher TLS-RSA-WITH-RC4-128-MD5",
			"tls-cipher DEFAULT"),
		line("insecure, then preferred", "tls-cert-profile insecure", "tls-cert-profile preferred"),
		edit("ca damaged, then a good one", func(s string) string {
			return "<ca>\nnothing\n</ca>\n<key>\nnothing\n</key>\n" + s
		}),
		apart(edit("ca, then [inline]", func(s string) string { return s + "ca [inline]\n" }),
			"official reads a file of that name; Access Server and its clients do not"),
		no(line("cipher in a connection",
			"<connection>\nremote 192.0.2.2 PORT\ncipher AES-256-CBC\nauth SHA512\n</connection>"),
			"cannot differ"),
		line("lines of a connection",
			"<connection>\nremote 192.0.2.2 PORT\nnobind\nconnect-timeout 5\nfloat\n"+
				"mssfix 1300\n</connection>"),
		filters("accept all, ignore the rest", "pull-filter accept \"ifconfig\"",
			"pull-filter accept \"peer-id\"",
			"pull-filter accept \"cipher\"", "pull-filter accept \"topology\"",
			"pull-filter accept \"route-gateway\"",
			"pull-filter accept \"protocol-flags\"", "pull-filter accept \"tun-mtu\"",
			"pull-filter accept \"key-deriv\"", "pull-filter ignore \"\""),
		filters("ignore, accept, reject", "pull-filter ignore \"route \"",
			"pull-filter accept \"route\"", "pull-filter reject \"redirect-private\""),
		filters("accept before reject", "pull-filter accept \"redirect-gateway\"",
			"pull-filter reject \"redirect\""),
		filters("ignore before reject", "pull-filter ignore \"redirect\"",
			"pull-filter reject \"redirect\""),
		filters("of one word", "pull-filter ignore dhcp-option", "pull-filter ignore route"),
		both("site to site over TCP", []string{"tls-server", "proto tcp-server",
			"ifconfig SUBNET.1 SUBNET.2", "topology p2p"}, "proto tcp-client"),
		both("site to site with ports", []string{"tls-server", "ifconfig SUBNET.1 SUBNET.2",
			"topology p2p"}, "remote 192.0.2.2 PORT", "lport 5001"),
		withKey("Ed25519", func() string { return gen("-algorithm", "ed25519") }),
		withKey("RSA", func() string {
			return gen("-algorithm", "rsa", "-pkeyopt",
				"rsa_keygen_bits:2048")
		}),
		withKey("RSA of old form", func() string {
			return openssl("genrsa", "-traditional",
				"2048")
		}),
		withKey("P-521", func() string {
			return gen("-algorithm", "EC", "-pkeyopt",
				"ec_paramgen_curve:P-521")
		}),
		withKey("Ed448", func() string { return gen("-algorithm", "ed448") }),
		line("of Access Server, user-locked",
			"# Automatically generated OpenVPN client config file",
			"# Note: this config file contains inline private keys",
			"# OVPN_ACCESS_SERVER_USERNAME=alice",
			"# OVPN_ACCESS_SERVER_PROFILE=alice@vpn.example.net",
			"# OVPN_ACCESS_SERVER_CLI_PREF_ALLOW_WEB_IMPORT=True",
			"# OVPN_ACCESS_SERVER_CLI_PREF_BASIC_CLIENT=False",
			"# OVPN_ACCESS_SERVER_WSHOST=vpn.example.net:443",
			"# OVPN_ACCESS_SERVER_WEB_CA_BUNDLE_START", "# -----BEGIN CERTIFICATE-----", "# MIIB",
			"# -----END CERTIFICATE-----",
			"# OVPN_ACCESS_SERVER_WEB_CA_BUNDLE_STOP", "# OVPN_ACCESS_SERVER_IS_OPENVPN_WEB_CA=0",
			"# OVPN_ACCESS_SERVER_ORGANIZATION=Example", "setenv FORWARD_COMPATIBLE 1",
			"server-poll-timeout 4",
			"setenv opt tls-version-min 1.2 or-highest", "auth-user-pass", "dev-type tun",
			"sndbuf 100000", "rcvbuf 100000",
			"auth-retry interact", "setenv-safe X y"),
		line("windows of 2.6", "setenv opt block-outside-dns", "setenv UV_X y", "disable-dco",
			"explicit-exit-notify 2"),
		line("redirect-gateway of all flags",
			"redirect-gateway def1 local autolocal bypass-dhcp bypass-dns block-local ipv6 !ipv4"),
		line("ifconfig-ipv6 of a client", "ifconfig-ipv6 2001:db8:9::2/64 2001:db8:9::1"),
		line("dns over TLS", "dns server 1 address 192.0.2.53", "dns server 1 transport DoT",
			"dns server 1 sni dns.example.net"),
	)
	bundle := func(name, pass string, more ...string) shape {
		return edit(name, func(s string) string {
			file := filepath.Join(l.dir, strings.ReplaceAll(name, " ", "-"))
			if err := os.WriteFile(file, []byte(l.pki.Client.Key+l.pki.Client.PEM),
				0o600); err != nil {
				t.Error(err)
			}
			der := openssl(append([]string{"pkcs12", "-export", "-in", file, "-passout",
				"pass:" + pass},
				more...)...)
			if pass != "" {
				if err := os.WriteFile(file, []byte(pass+"\n"), 0o600); err != nil {
					t.Error(err)
				}
				s += "askpass " + file + "\n"
			}
			var lines strings.Builder
			text := []byte(base64.StdEncoding.EncodeToString([]byte(der)))
			for line := range slices.Chunk(text, 64) {
				fmt.Fprintf(&lines, "%s\n", line)
			}
			return noPair(s) + "<pkcs12>\n" + lines.String() + "</pkcs12>\n"
		})
	}
	s = append(s, bundle("PKCS 12 with a password", "open sesame"),
		bundle("PKCS 12 of old", "open sesame", "-legacy"),
		bundle("PKCS 12 of triple DES", "open sesame", "-keypbe", "PBE-SHA1-3DES", "-certpbe",
			"PBE-SHA1-3DES", "-macalg", "sha1"),
		shape{name: "IPv6 alone, site to site", server: []string{"tls-server",
			"ifconfig-ipv6 2001:db8:66::1/64 2001:db8:66::2"}, peer: "2001:db8:66::1",
			profile: []string{"ifconfig-ipv6 2001:db8:66::2/64 2001:db8:66::1"},
			edit: func(s string) string {
				return strings.Replace(s, "client\n", "tls-client\n",
					1)
			}},
		no(line("remote with its port", "remote 192.0.2.2:1194"), "a word of its own"))
	for i := range s {
		if strings.HasPrefix(s[i].name, "site to site") {
			s[i].edit = func(s string) string {
				if strings.Contains(s, "lport") {
					s = strings.Replace(s, "nobind\n", "", 1)
				}
				return siteToSite(s)
			}
		}
	}
	for i := range s {
		s[i].name = "again: " + s[i].name
	}
	return s
}

// signed returns a client's certificate for a key.
func signed(t *testing.T, l *lab, name, key string) string {
	t.Helper()
	dir := filepath.Join(l.dir, strings.ReplaceAll("key of "+name, " ", "-"))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{"ca": l.pki.CA.PEM, "ca.key": l.pki.CA.Key,
		"key": key} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("sh", "-c", "openssl req -new -key key -subj /CN=customer-1 | "+
		"openssl x509 -req -CA ca -CAkey ca.key -days 30 -set_serial 8")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		t.Error(err)
	}
	return string(out)
}

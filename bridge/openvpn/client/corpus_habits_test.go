package client

import (
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"path/filepath"
	"strings"

	"ztbridge/bridge/openvpn/ovpntest"
)

// habitShapes are of what people, mail programs and password managers make of a profile, and of
// what apps write into those that they export.
func habitShapes(l *lab) []shape {
	edit := func(name string, f func(string) string) shape { return shape{name: name, edit: f} }
	line := func(name string, lines ...string) shape { return shape{name: name, profile: lines} }
	apart := func(s shape, why string) shape { s.differs = why; return s }
	crypt := ovpntest.Inline("tls-crypt", ovpntest.StaticKey(1))
	sum := func(text string) string {
		block, _ := pem.Decode([]byte(text))
		hex := fmt.Sprintf("% x", sha256.Sum256(block.Bytes))
		return strings.ReplaceAll(strings.ToUpper(hex), " ", ":")
	}
	noCA := func(s string) string {
		return strings.Replace(s, ovpntest.Inline("ca", l.pki.CA.PEM)+"\n", "", 1)
	}
	fingerprints := func(name string, lines ...string) shape {
		s := line(name, lines...)
		s.edit = noCA
		return s
	}
	own, other := sum(l.pki.Server.PEM), sum(l.pki.Authority("other").PEM)
	script := filepath.Join(l.dir, "login.sh") // of loginShapes
	login := []string{"script-security 3", "auth-user-pass-verify " + script + " via-env"}
	included := func(refused string, files map[string]string, lines ...string) shape {
		return shape{name: "config " + fmt.Sprint(len(files), len(lines), refused), files: files,
			profile: lines, refused: refused}
	}
	typographic := "official reads ASCII spaces, hyphens and quotes alone"
	s := []shape{
		apart(edit("no-break spaces", func(s string) string {
			return strings.NewReplacer("remote ", "remote\u00a0", "dev tun", "dev\u202ftun",
				"nobind", "\u200bnobind\u00a0", "-----END CERTIFICATE-----",
				"-----END CERTIFICATE-----\u00a0").Replace(s)
		}), typographic),
		apart(line("curly quotes", "verify-x509-name \u201cserver.example.net\u201d \u2018name\u2019"),
			typographic),
		apart(line("curly quotes of Windows-1252",
			"verify-x509-name \x93server.example.net\x94 \x91name\x92"), typographic),
		apart(edit("typographic dashes", func(s string) string {
			return strings.NewReplacer("-----", "\u2014\u2014-", "client\n", "\u2014client\n",
				"nobind", "\u2013\u2013nobind").Replace(s)
		}), typographic),
		apart(edit("a mark inside the file", func(s string) string {
			return strings.Replace(s, "<ca>", "\uFEFF<ca>", 1)
		}), "official takes the mark for a part of the tag"),
		line("quotes of a name", "setenv FRIENDLY_NAME \"L\u2019atelier de \u201cJos\u00e9\u201d\""),
		apart(edit("line separators", func(s string) string {
			return strings.Replace(s, "nobind\n", "nobind\u2028persist-tun\u2029", 1)
		}), "official reads no separators of Unicode"),
		edit("comments in a connection", func(s string) string {
			at := strings.LastIndex(s, "remote ")
			return s[:at] + "<connection> # first\n# the server\n\n\t" + strings.TrimSpace(s[at:]) +
				" ; here\n;proto tcp\n  nobind\n</connection>\n"
		}),
		edit("every block twice", func(s string) string {
			first, _, _ := strings.Cut(s, "remote 192")
			at := strings.Index(first, "<ca>")
			return first[:at] + ovpntest.Inline("ca", l.pki.Authority("Old").PEM) + "\n" + s[at:] +
				first[at:]
		}),
		edit("two keys in a block", func(s string) string {
			return strings.Replace(s, "</key>", l.pki.Server.Key+"</key>", 1)
		}),
		{name: "an authority cut off", refused: "damaged or cut off", edit: func(s string) string {
			text := l.pki.Authority("Old").PEM
			return strings.Replace(s, "</ca>", text[:len(text)/2]+"\n</ca>", 1)
		}},
		{name: "an authority damaged", refused: "damaged or cut off", edit: func(s string) string {
			text := l.pki.Authority("Old").PEM
			return strings.Replace(s, "</ca>", text[:100]+"!"+text[101:]+"</ca>", 1)
		}},
		{name: "a chain cut off", refused: "damaged or cut off", edit: func(s string) string {
			text := l.pki.Authority("Old").PEM
			return strings.Replace(s, "</cert>", text[:len(text)/2]+"\n</cert>", 1)
		}},
		edit("two revocation lists", func(s string) string {
			list := l.pki.Revocations()
			return s + ovpntest.Inline("crl-verify", list+list) + "\n"
		}),
		apart(edit("bracketed address", func(s string) string {
			return strings.Replace(s, "remote 192.0.2.2", "remote [::ffff:192.0.2.2]", 1)
		}), "official resolves no brackets"),
		{name: "zone", profile: []string{"remote fe80::1%wan0 PORT"}, refused: "zone"},
		{name: "mixed protocols", profile: []string{"remote 192.0.2.2 9 tcp4-client",
			"connect-timeout 2",
			"<connection>\nremote 192.0.2.2 9 tcp4-client\nconnect-timeout 2\n</connection>",
			"<connection>\nremote 2001:db8:2::2 9 tcp6\nconnect-timeout 2\n</connection>",
			"<connection>\nremote 192.0.2.2 PORT udp4\n</connection>"}},
		apart(line("random names", "remote-random-hostname", "remote vpn.example.net PORT"),
			"official asks DNS, which the laboratory has not"),
		{name: "login with blank lines", server: login, profile: []string{
			"<auth-user-pass>\n\nalice\n\nhunter2\n\n</auth-user-pass>"},
			differs: "official takes the first line for an empty name"},
		{name: "login with spaces in it", server: login, profile: []string{
			"<auth-user-pass>\nalice\nhunter2\n</auth-user-pass>", "auth-nocache"}},
		line("kinds of dhcp-option", "dhcp-option DNS6 2001:db8::53", "dhcp-option DOMAIN example.net",
			"dhcp-option DOMAIN-SEARCH example.com", "dhcp-option ADAPTER_DOMAIN_SUFFIX example.org",
			"dhcp-option DISABLE-NBT"),
		line("dns of 2.6", "dns search-domains example.net example.com",
			"dns server 1 address 192.0.2.53:53 [2001:db8::53]:53 2001:db8::54",
			"dns server 1 resolve-domains example.net", "dns server -2 address 192.0.2.54:853",
			"dns server -2 transport DoT", "dns server -2 sni dns.example.net", "dns server 1 dnssec no"),
		fingerprints("two lines of peer-fingerprint", "peer-fingerprint "+own,
			"peer-fingerprint "+other),
		fingerprints("a line and a block of peer-fingerprint", "peer-fingerprint "+own,
			"<peer-fingerprint>\n"+other+"\n</peer-fingerprint>"),
		line("peer-fingerprint beside an authority", "peer-fingerprint "+strings.ToLower(own)),
		line("verify-hash in a block", "<verify-hash>\n"+sum(l.pki.CA.PEM)+"\n</verify-hash>"),
		line("verify-hash, twice", "verify-hash "+sum(l.pki.Client.PEM)+" SHA256",
			"verify-hash "+sum(l.pki.CA.PEM)+" SHA256"),
		line("routes of all kinds", "route-nopull", "route 198.51.100.0 255.255.255.0 net_gateway",
			"route remote_host 255.255.255.255 net_gateway", "route-ipv6 2001:db8:5::/48",
			"redirect-gateway def1 bypass-dns ipv6 !ipv4", "route-gateway 10.9.9.1",
			"redirect-private def1"),
		apart(line("of Windows", "block-outside-dns", "register-dns", "ip-win32 dynamic 0 3600",
			"tap-sleep 1", "show-net-up", "dhcp-renew", "route-method exe", "win-sys env"),
			"of Windows alone: official refuses it on Linux"),
		line("setenv opt of Windows", "setenv opt block-outside-dns", "setenv opt register-dns",
			"setenv opt tls-version-min 1.2", "setenv opt nosuch thing"),
		line("setenv opt of a patched program", "setenv opt scramble obfuscate secret"),
		line("ignored of a patched program", "ignore-unknown-option scramble auth-federate",
			"scramble obfuscate secret", "auth-federate"),
		{name: "ignored too late", profile: []string{"scramble obfuscate secret",
			"ignore-unknown-option scramble"}, refused: "patched"},
		apart(line("management", "management /nowhere/sock unix", "management-client",
			"management-query-proxy", "management-forget-disconnect"),
			"official ends without the app's socket"),
		line("exported by Android", "# Config for OpenVPN 3 C++",
			`setenv IV_GUI_VER "de.blinkt.openvpn 0.7.51"`,
			`setenv IV_PLAT_VER "33 13 arm64-v8a Google raven Pixel 6 Pro"`,
			`setenv IV_SSO openurl,webauth,crtext`, "machine-readable-output",
			"allow-recursive-routing", "ifconfig-nowarn", "verb 4", "connect-retry 2 300",
			"resolv-retry 60", "persist-tun", "preresolve", "# Use system proxy setting",
			"# Custom configuration options",
			"# You are on your on own here :)", "tls-version-min 1.2",
			`verify-x509-name "server.example.net" name`, "route 0.0.0.0 0.0.0.0 vpn_gateway",
			"dhcp-option DOMAIN example.net"),
		included("", map[string]string{"common.conf": "# all\r\ntls-cipher DEFAULT\r\n" + crypt},
			"config common.conf"),
		included("", map[string]string{"a.conf": "config b.conf\n", "b.conf": crypt + "\n"},
			"config a.conf"),
		included("includes itself", map[string]string{"a.conf": "config a.conf\n"}, "config a.conf"),
		included("\"missing.conf\" is not read", nil, "config missing.conf"),
		included("a.conf:2", map[string]string{"a.conf": "persist-tun\ncipher FOO\n"}, "verb 3",
			"config a.conf"),
	}
	for i := range s {
		if strings.HasPrefix(s[i].name, "config") && s[i].refused == "" {
			s[i].server = []string{crypt}
		}
		s[i].name = "habit: " + s[i].name
	}
	return s
}

package profile

import (
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	"ztbridge/bridge/openvpn/ovpntest"
)

// TestWhichCounts: of several lines, and of those before, in and behind a <connection> block, the
// same counts as in OpenVPN.
func TestWhichCounts(t *testing.T) {
	without := strings.Replace(base(t), "auth SHA512\n", "", 1)
	at := strings.Index(without, "remote ")
	line, _, _ := strings.Cut(without[at:], "\n")
	noServer := strings.Replace(without, line+"\n", "", 1)
	hash := func(n int) string { return fmt.Sprintf("%02X", n) + strings.Repeat(":00", 31) }
	for _, tc := range []struct{ text, want, not string }{
		{text: "auth FOO\nauth SHA512", want: "auth SHA512\n"},
		{text: "cipher none\ncipher AES-128-CBC", want: "fallback AES-128-CBC\n"},
		{text: "tls-cert-profile insecure\ntls-cert-profile preferred", want: "preferred\n"},
		{text: "<ca>\nnothing\n</ca>\n" + noServer[strings.Index(noServer, "<ca>"):]},
		{text: "dev tap\ndev tun"},
		{text: "remote-cert-eku x\nremote-cert-tls server", not: "remote-cert-eku"},
		{text: "remote-cert-tls client", want: "remote-cert-tls client\n"},
		{text: "verify-hash " + hash(1) + " SHA256\n<verify-hash>\n# old\n" +
			hash(2) + "\n" + hash(3) +
			"\n</verify-hash>", want: "<verify-hash>\n" + hash(2) + "\n" + hash(3) + "\n</",
			not: hash(1)},
		{text: "<verify-hash>\n" + hash(2) + "\n</verify-hash>\nverify-hash " + hash(1) + " SHA256",
			want: "verify-hash " + hash(1) + " SHA256\n", not: hash(2)},
		{text: "proto tcp\n<connection>\nremote a.example 1\n</connection>\nproto udp\nport 2",
			want: "remote a.example 1 tcp-client\n"},
		{text: "port 5\n<connection>\nremote a.example\n</connection>\nport 6",
			want: "remote a.example 5 udp\n"},
		{text: "<connection>\nremote a.example 1 tcp\nproto udp\nport 7\n</connection>",
			want: "remote a.example 7 udp\n"},
		{text: "<connection>\nremote a.example 1\nremote b.example\n</connection>",
			want: "remote b.example 1 udp\n", not: "a.example"},
		{text: strings.Repeat("remote a.example 1\n", 1000), want: "remote a.example 1 udp\n"},
		{text: "remote a.example 1\n\x00\x00", want: "remote a.example 1 udp\n"},
		{text: "dns server 1 transport DoT\ndns server 1 address 192.0.2.53\n" +
			"dhcp-option DNS 192.0.2.1\ndns server 2 address 192.0.2.54",
			want: "dhcp-option DNS 192.0.2.54\ndhcp-option DNS 192.0.2.1\n", not: "192.0.2.53"},
	} {
		text := noServer + tc.text
		if !strings.Contains(tc.text, "remote ") {
			text = without + tc.text
		}
		p, _, err := Parse([]byte(text), "p", Options{})
		if err != nil {
			t.Errorf("%.60q: %v", tc.text, err)
			continue
		}
		if got := p.Text(); !strings.Contains(got, tc.want) ||
			tc.not != "" && strings.Contains(got, tc.not) {
			t.Errorf("%.60q: want %q and not %q in\n%.600s", tc.text, tc.want, tc.not, got)
		}
		assertFixpoint(t, p)
		assertOpenVPNReads(t, p)
	}
}

// TestManyServers: more than are used are said to be left out.
func TestManyServers(t *testing.T) {
	var lines strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&lines, "remote a.example %d\n", i+1)
	}
	p, report, err := Parse([]byte(base(t)+lines.String()), "p", Options{})
	if err != nil || len(p.Remotes) != maxRemotes ||
		!strings.Contains(report.String(), "the first 512 are used") {
		t.Errorf("%v, %d servers: %s", err, len(p.Remotes), report)
	}
}

// TestKeysAreWhole: what OpenVPN ends with is said at the check.
func TestKeysAreWhole(t *testing.T) {
	cert, key := ownCertificate(t)
	_, other := ownCertificate(t)
	cut := func(block, kind string) string {
		b, _ := pem.Decode([]byte(block[strings.Index(block, "-----"):]))
		b.Bytes = b.Bytes[:len(b.Bytes)-9]
		return ovpntest.Inline(kind, string(pem.EncodeToMemory(b))) + "\n"
	}
	for _, tc := range []struct{ text, want string }{
		{cert + other, "do not belong together"},
		{cut(cert, "cert") + key, "damaged inside"},
		{cert + cut(key, "key"), "damaged inside"},
		{cut(cert, "ca"), "damaged inside"}, {cut(cert, "extra-certs"), "damaged inside"},
		{ovpntest.Inline("cert", "$CLIENTCERTIFICATE\n"), "a placeholder"},
		{"<cert>\n-----BEGIN CERTIFICATE REQUEST-----\n</cert>\n", "a request"},
		{cert + "<key>\n-----BEGIN PUBLIC KEY-----\n</key>\n", "a public one"},
		{"<pkcs12>\nMIIC\n</pkcs12>\n", "no PKCS #12 bundle"},
		{"pkcs11-id x\n", "smart card"}, {"cryptoapicert SUBJ:x\n", "smart card"},
		{cert + "management-external-key\n", "smart card"},
		{"<connection>\nremote a.example\ncipher AES-256-CBC\n</connection>\n", "cannot differ"},
	} {
		if _, _, err := Parse([]byte(base(t)+tc.text), "p", Options{}); err == nil ||
			!strings.Contains(err.Error(), tc.want) {
			t.Errorf("%.60q: %v, want %q in it", tc.text, err, tc.want)
		}
	}
	if _, _, err := Parse([]byte(base(t)+cert+key+"pkcs11-id x\n"), "p", Options{}); err != nil {
		t.Errorf("a profile with a key of its own: %v", err)
	}
}

// TestFiltersOfPushedOptions: an option is taken where the profile's filters and ours admit it.
func TestFiltersOfPushedOptions(t *testing.T) {
	ours := []string{"ifconfig ", "ifconfig-ipv6 ", "tun-mtu "}
	for _, tc := range []struct {
		lines, option, want string
	}{
		{"", "ifconfig 1", "accept"}, {"", "route 1", "ignore"},
		{`accept ""`, "tun-mtu 1", "accept"}, {`accept ""`, "route 1", "ignore"},
		{"accept ifconfig-\nignore ifconfig", "ifconfig-ipv6 1", "accept"},
		{"accept ifconfig-\nignore ifconfig", "ifconfig 1", "ignore"},
		{"accept \"tun-mtu 14\"\nreject tun-", "tun-mtu 1400", "accept"},
		{"accept \"tun-mtu 14\"\nreject tun-", "tun-mtu 1500", "reject"},
		{"accept up\nreject u", "up /bin/true", "ignore"},
		{"reject route", "route 1", "reject"},
	} {
		text := base(t)
		for line := range strings.Lines(tc.lines) {
			text += "pull-filter " + line
		}
		p, _, err := Parse([]byte(text+"\n"), "p", Options{})
		if err != nil {
			t.Errorf("%q: %v", tc.lines, err)
			continue
		}
		given, got := p.TextFor(Attempt{Remote: p.Remotes[0], Accepted: ours}), ""
		for line := range strings.Lines(given) {
			words, err := splitWords(line)
			if err == nil && len(words) == 3 && words[0] == "pull-filter" && got == "" &&
				strings.HasPrefix(tc.option, words[2]) {
				got = words[1] // the first that fits
			}
		}
		if got != tc.want {
			t.Errorf("%q: %q is met by %q, want %q in\n%.900s", tc.lines, tc.option, got, tc.want,
				given)
		}
	}
}

// TestFilesOfACollection: profiles refer to files by their places below the folder or archive, as
// Tunnelblick and Viscosity keep them. A login among them is used, and a key is none.
func TestFilesOfACollection(t *testing.T) {
	text := base(t)
	at := strings.Index(text, "<ca>")
	end := strings.Index(text, "</ca>")
	ca := text[at+len("<ca>\n") : end]
	outside := strings.Replace(text[:at]+text[end+len("</ca>\n"):], "auth-user-pass\n", "", 1)
	profile := func(lines string) string { return outside + lines }
	from := writeZip(t, [][2]string{
		{"a/nl.ovpn", profile("ca ../keys/ca.crt\nauth-user-pass login.txt\n")},
		{"a/login.txt", "alice\r\nhunter2\r\n"},
		{"b.tblk/Contents/Resources/config.ovpn",
			profile("ca \"./ca.crt\"\nauth-user-pass ca.crt\n")},
		{"b.tblk/Contents/Resources/ca.crt", ca}, {"b.tblk/Contents/Info.plist", "<plist>"},
		{"c.visc/config.conf", profile("config common.conf\nauth-user-pass\n")},
		{"c.visc/common.conf", "ca \"C:\\\\Program Files\\\\ca.crt\"\n"}, {"c.visc/ca.crt", ca},
		{"keys/ca.crt", ca},
		{"d.ovpn", profile("ca ../ca.crt\n")}, {"e.ovpn", profile("ca /etc/passwd\n")},
	}...)
	p, report, err := LoadAll(from, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(p.Members(), " "); got != "nl b.tblk/Contents/Resources/config "+
		"c.visc/config" && got != "nl config.ovpn config.conf" {
		t.Errorf("members %s", got)
	}
	said := report.String()
	for _, want := range []string{"d.ovpn", "e.ovpn"} {
		if !strings.Contains(said, "left out: "+want) {
			t.Errorf("no word of %s in\n%s", want, said)
		}
	}
	if strings.Contains(said, "common.conf") {
		t.Errorf("a part of a profile is told of as one:\n%s", said)
	}
	for _, r := range p.Remotes {
		c := p.For(r).CredentialsOr(nil)
		if want := map[bool]string{true: "alice hunter2", false: " "}[r.Member == "nl"]; c.Username+
			" "+c.Password != want {
			t.Errorf("%s: the login is %q", r.Member, c.Username+" "+c.Password)
		}
	}
}

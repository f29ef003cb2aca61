package profile

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ztbridge/bridge/openvpn/ovpntest"
)

// TestEveryDirectiveIsJudged: a directive that OpenVPN has and the table has not would be dropped
// without anybody having thought about it.
func TestEveryDirectiveIsJudged(t *testing.T) {
	table := directives()
	for _, version := range []string{"2.6", "2.7"} {
		data, err := os.ReadFile("testdata/directives/openvpn-" + version + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		names := strings.Fields(string(data))
		if len(names) < 200 {
			t.Errorf("OpenVPN %s has only %d directives", version, len(names))
		}
		for _, name := range names {
			if _, known := table[name]; !known {
				t.Errorf("OpenVPN %s has %q, which the table does not judge", version, name)
			}
		}
	}
	for name, r := range table {
		if r.class == "" || r.take == nil {
			t.Errorf("%s has no class", name)
		}
		if (r.class == perserver) != perServer[name] &&
			!slices.Contains([]string{"remote", "proto", "port", "rport", "udp-mtu"}, name) {
			t.Errorf("%s is %q, and in <connection> blocks: %v", name, r.class, perServer[name])
		}
	}
	for name := range perServer {
		if !slices.Contains(optionOrder, name) && !slices.Contains(blockOrder, name) {
			t.Errorf("%s is never written", name)
		}
	}
}

// TestInstalledOpenVPN compares the table with the program that is installed, so that a new release
// cannot add a directive unseen.
func TestInstalledOpenVPN(t *testing.T) {
	out, err := exec.Command("openvpn", "--help").Output()
	if len(out) == 0 {
		t.Skipf("SKIPPED: openvpn is not installed: %v", err)
	}
	table := directives()
	names := regexp.MustCompile(`(?m)^ *--([a-z0-9-]+[a-z0-9])`).FindAllStringSubmatch(string(out),
		-1)
	if len(names) < 200 {
		t.Fatalf("openvpn lists %d directives", len(names))
	}
	for _, m := range names {
		if _, known := table[m[1]]; !known && m[1] != "reneg" {
			t.Errorf("openvpn has %q, which the table does not judge", m[1])
		}
	}
}

// TestInstalledOpenSSL compares the lists of ciphers and digests with what the installed OpenSSL
// knows.
func TestInstalledOpenSSL(t *testing.T) {
	list := func(args ...string) []string {
		out, err := exec.Command("openvpn", args...).Output()
		if len(out) == 0 {
			t.Skipf("SKIPPED: openvpn is not installed: %v", err)
		}
		var names []string
		for _, m := range regexp.MustCompile(`(?m)^([A-Z][A-Za-z0-9-]+) +\(?\d+ bit`).
			FindAllStringSubmatch(string(out), -1) {
			names = append(names, m[1])
		}
		if len(names) < 10 {
			t.Fatalf("openvpn %v lists %v", args, names)
		}
		return names
	}
	for _, name := range list("--show-ciphers") {
		if KnownCipher(name) != name {
			t.Errorf("openvpn knows the cipher %s, which a profile may not name", name)
		}
	}
	for _, name := range list("--show-digests") {
		if regexp.MustCompile(`^(SHAKE|KECCAK|NULL)`).MatchString(name) {
			continue // no packet can be signed with these
		}
		if !slices.Contains(digests, strings.ToUpper(name)) {
			t.Errorf("openvpn knows the digest %s, which a profile may not name", name)
		}
	}
}

func TestCloseNames(t *testing.T) {
	for line, want := range map[string]string{
		"tls-crpyt ta.key":    `serious: line 1: tls-crpyt: unknown; did you mean "tls-crypt"?`,
		"remot vpn 1194":      `serious: line 1: remot: unknown; did you mean "remote"?`,
		"frobnicate-all-of 1": "warning: line 1: frobnicate-all-of: unknown; ignored",
		"x509-track CN":       "info: 10 lines",
	} {
		_, report, err := Parse([]byte(line+"\n"+base(t)), "p", Options{})
		if err != nil || !strings.HasPrefix(report.String(), want) {
			t.Errorf("%s: %v\n%s", line, err, report)
		}
	}
}

// TestReportIsRanked: what can break the connection comes first, what is harmless is one line.
func TestReportIsRanked(t *testing.T) {
	text := "verb 3\nroute 10.0.0.0\nplugin x\nkeepalive 10 60\ntls-autth ta.key\n" + base(t)
	_, report, err := Parse([]byte(text), "p", Options{})
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(report.String()), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "serious: line 5: tls-autth") ||
		!strings.HasPrefix(lines[1], "warning: line 3: plugin") ||
		!strings.HasPrefix(lines[2], "info: 12 lines without effect on the tunnel: verb, route") {
		t.Errorf("the report is\n%s", report)
	}
}

// parse reads a profile that connects, with more lines.
func parse(t *testing.T, lines string, options Options) *Profile {
	t.Helper()
	p, _, err := Parse([]byte(lines+"\n"+base(t)), "p", options)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestConnectionBlocks(t *testing.T) {
	key := func(b string) string {
		return "<tls-crypt>\n" + staticKeyBegin + "\n" + strings.Repeat(strings.Repeat(b, 32)+"\n",
			16) +
			staticKeyEnd + "\n</tls-crypt>\n"
	}
	ca := strings.SplitAfterN(base(t), "<ca>", 2)[1]
	ca, _, _ = strings.Cut(ca, "</ca>")
	text := "client\nmssfix 1400\n<connection>\nremote a.example.net\nfragment 1300\n" + key("1") +
		"</connection>\n<connection>\nremote b.example.net 443 tcp\ntun-mtu 1400\n</connection>\n" +
		"mssfix 1200\nremote ignored.example.net\nauth-user-pass\n" + key("2") +
		"<ca>" + ca + "</ca>\n"
	p, report, err := Parse([]byte(text), "p", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Remotes) != 2 || !strings.Contains(fmt.Sprint(report.Findings), "<connection>") {
		t.Fatalf("servers %v\n%s", p.Remotes, report)
	}
	addr := netip.MustParseAddr("192.0.2.1")
	a := p.TextFor(Attempt{Remote: p.Remotes[0], Addr: addr})
	b := p.TextFor(Attempt{Remote: p.Remotes[1], Addr: addr})
	for _, tc := range []struct {
		text, has, not string
	}{
		{a, "fragment 1300\n", "tun-mtu"}, {a, "mssfix 1400\n", "mssfix 1200"},
		{a, strings.Repeat("1", 32), strings.Repeat("2", 32)},
		{b, "tun-mtu 1400\n", "fragment"}, {b, strings.Repeat("2", 32), strings.Repeat("1", 32)},
	} {
		if !strings.Contains(tc.text, tc.has) || strings.Contains(tc.text, tc.not) {
			t.Errorf("it should have %q and not %q:\n%s", tc.has, tc.not, tc.text)
		}
	}
	assertHarmless(t, p.Text())
	assertHarmless(t, a)
	assertFixpoint(t, p)
	assertOpenVPNReads(t, p)
}

func TestFragmentIsForUDP(t *testing.T) {
	p := parse(t, "fragment 1300\nremote other.example.net 443 tcp", Options{})
	for _, r := range p.Remotes {
		got := strings.Contains(p.TextFor(Attempt{Remote: r}), "fragment")
		if got != (r.Proto == UDP) {
			t.Errorf("%v: fragment %v", r, got)
		}
	}
	assertFixpoint(t, p)
	assertOpenVPNReads(t, p)
}

func TestLegacyCrypto(t *testing.T) {
	for line, want := range map[string]string{
		"tls-cert-profile insecure":        "tls-cert-profile insecure\n",
		"tls-cipher DEFAULT:@SECLEVEL=0":   "tls-cipher DEFAULT:@SECLEVEL=0\n",
		`tls-cipher "DEFAULT:@SECLEVEL=0"`: "tls-cipher DEFAULT:@SECLEVEL=0\n",
		"auth whirlpool":                   "auth WHIRLPOOL\n",
		"no-replay":                        "no-replay\n",
		"tls-version-max 1.1":              "tls-version-max 1.1\n",
	} {
		_, _, err := Parse([]byte(base(t)+line+"\n"), "p", Options{})
		if err == nil || !strings.Contains(err.Error(), "legacy_crypto: true") {
			t.Errorf("%s: %v", line, err)
		}
		// auth is in the base profile too, and the last one counts.
		text := strings.Replace(base(t), "auth SHA512\n", "", 1) + line + "\n"
		p, report, err := Parse([]byte(text), "p", Options{LegacyCrypto: true})
		if err != nil || !strings.Contains(p.Text(), want) || len(report.Warnings()) == 0 {
			t.Errorf("%s with legacy_crypto: %v\n%s", line, err, report)
			continue
		}
		assertFixpointWith(t, p, Options{LegacyCrypto: true})
	}
}

func TestKept(t *testing.T) {
	for line, want := range map[string]string{
		"remote gw.example.net https":            "remote gw.example.net 443 udp\n",
		"cipher AES256":                          "data-ciphers-fallback AES-256-CBC\n",
		"cipher id-aes256-GCM":                   "data-ciphers-fallback AES-256-GCM\n",
		"auth RSA-SHA256":                        "auth SHA256\n",
		"auth sha3-384":                          "auth SHA3-384\n",
		"remote-cert-ku 0x00e0":                  "remote-cert-ku 0x00e0\n",
		"explicit-exit-notify 30":                "explicit-exit-notify 5\n",
		"tun-mtu-max 1700":                       "tun-mtu-max 1700\n",
		"max-packet-size 1400":                   "max-packet-size 1400\n",
		"mode p2p":                               "client\n",
		"topology subnet":                        "topology subnet\n",
		"compat-mode 2.4.0":                      "client\n",
		"compat-mode 2.3.0":                      "data-ciphers-fallback BF-CBC\n",
		"x509-username-field ext:subjectAltName": "x509-username-field ext:subjectAltName\n",
		`pull-filter ignore "dhcp-option DNS"`:   "pull-filter ignore \"dhcp-option DNS\"\n",
		"dns server 1 address 192.0.2.53 [2001:db8::53]:53": "dhcp-option DNS 192.0.2.53\n" +
			"dhcp-option DNS 2001:db8::53\n",
		"key-method 2":                           "client\n",
		"keysize 256":                            "client\n",
		"lport 1200":                             "nobind\n",
		"ncp-disable":                            "client\n",
		"tls-cipher " + strings.Repeat("A", 243): "tls-cipher " + strings.Repeat("A", 243) + "\n",
		"<peer-fingerprint>\n# one\n" + strings.Repeat("AB:", 31) +
			"AB\n</peer-fingerprint>": strings.Repeat("AB:", 31) + "AB\n",
	} {
		text := strings.NewReplacer("auth SHA512\n", "", "cipher AES-256-CBC\n", "",
			"explicit-exit-notify\n", "").
			Replace(base(t)) + line + "\n"
		p, _, err := Parse([]byte(text), "p", Options{})
		if err != nil || !strings.Contains(p.Text(), want) {
			t.Errorf("%.60s: %v", line, err)
			continue
		}
		assertHarmless(t, p.Text())
		assertFixpoint(t, p)
		assertOpenVPNReads(t, p)
	}
}

// TestNoLongerPossible: what both ends must share, and OpenVPN no longer has, is refused.
func TestNoLongerPossible(t *testing.T) {
	for line, want := range map[string]string{
		"udp-mtu 1450":                 "it has both tun-mtu and link-mtu",
		"no-iv":                        "both ends must have it alike",
		"mtu-dynamic":                  "both ends must have it alike",
		"key-method 1":                 "only method 2 exists",
		"cipher BF-CBC\nkeysize 256":   "BF-CBC with 128 bits only",
		"cipher CAST5-CBC\nkeysize 64": "CAST5-CBC with 128 bits only",
		"compat-mode old":              "expected a version",
		"pull-filter drop x":           "none of accept, ignore and reject",
	} {
		_, _, err := Parse([]byte(base(t)+line+"\n"), "p", Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q in it", line, err, want)
		}
	}
}

func TestUTF16(t *testing.T) {
	want := parse(t, "", Options{}).Text()
	for name, order := range map[string]bool{"little": false, "big": true} {
		data := []byte{0xff, 0xfe}
		if order {
			data = []byte{0xfe, 0xff}
		}
		for _, c := range []byte(base(t)) {
			if order {
				data = append(data, 0, c)
			} else {
				data = append(data, c, 0)
			}
		}
		p, _, err := Parse(data, "p", Options{})
		if err != nil || p.Text() != want {
			t.Errorf("%s endian: %v", name, err)
		}
	}
}

func TestPointToPoint(t *testing.T) {
	text := strings.NewReplacer("client\n", "tls-client\n", "pull\n", "", "auth-user-pass\n",
		"").Replace(base(t))
	cert, key := ownCertificate(t)
	p, _, err := Parse([]byte(text+"ifconfig 10.8.0.2 10.8.0.1\n"+cert+key), "p", Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := p.Text()
	if !p.PointToPoint || !strings.Contains(got, "ifconfig 10.8.0.2 10.8.0.1\n") ||
		strings.Contains("\n"+got, "\nclient\n") {
		t.Errorf("%s", got)
	}
	assertHarmless(t, got)
	assertFixpoint(t, p)
	assertOpenVPNReads(t, p)
	// A client's own ifconfig counts where the server assigns nothing.
	if q := parse(t, "ifconfig 10.8.0.2 10.8.0.1", Options{}); q.PointToPoint ||
		!strings.Contains(q.Text(), "\nclient\n") && !strings.HasPrefix(q.Text(), "client\n") ||
		!strings.Contains(q.Text(), "ifconfig 10.8.0.2 10.8.0.1\n") {
		t.Errorf("%s", q.Text())
	}
}

func TestEmbeddedCredentials(t *testing.T) {
	text := strings.Replace(base(t), "auth-user-pass\n",
		"<auth-user-pass>\nalice\nhunter2\n</auth-user-pass>\n", 1)
	p, _, err := Parse([]byte(text), "p", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.CheckCredentials(nil); err != nil {
		t.Error(err)
	}
	if c := p.CredentialsOr(nil); c.Username != "alice" || c.Password != "hunter2" {
		t.Error("other credentials are used than those of the profile")
	}
	own := &Credentials{Username: "bob", Password: "x"}
	if p.CredentialsOr(own) != own || strings.Contains(p.Text(), "hunter2") {
		t.Error("the credentials file does not count first")
	}
}

func TestProxies(t *testing.T) {
	text := strings.Replace(base(t), "proto udp\n", "proto tcp\n", 1) +
		"http-proxy proxy.example.net 3128 auto basic\n" +
		"<http-proxy-user-pass>\nalice\nhunter2\n</http-proxy-user-pass>\n"
	p, _, err := Parse([]byte(text), "p", Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range p.Remotes {
		if r.Proxy != (Proxy{"proxy.example.net", 3128}) {
			t.Errorf("%v: proxy %v", r, r.Proxy)
		}
	}
	if p.ProxyLogin(p.Remotes[0]) == nil || strings.Contains(p.Text(), "hunter2") {
		t.Error("the proxy's password is lost, or written")
	}
	assertHarmless(t, p.Text())
	assertOpenVPNReads(t, p)
}

// TestLoginOfEachProxy: each proxy is told its own login, and none is told another's.
func TestLoginOfEachProxy(t *testing.T) {
	text := "client\nauth-user-pass\n" +
		"<connection>\nremote 192.0.2.1 443 tcp\nhttp-proxy a.example.net 1 a.auth\n</connection>\n" +
		"<connection>\nremote 192.0.2.1 443 tcp\nsocks-proxy b.example.net 2 b.auth\n</connection>\n" +
		"<connection>\nremote 192.0.2.1 443 tcp\nhttp-proxy c.example.net 3\n</connection>\n" +
		"<connection>\nremote 192.0.2.1 443 tcp\ncompat-mode 2.4.0\nhttp-proxy d.example.net 4\n" +
		"<http-proxy-user-pass>\nd.auth\nsecret\n</http-proxy-user-pass>\n</connection>\n" +
		"<connection>\nremote 192.0.2.1 443 tcp\n</connection>\n"
	ca, _, _ := strings.Cut(base(t)[strings.Index(base(t), "<ca>"):], "</ca>")
	options := Options{Files: func(name string) ([]byte, error) {
		return []byte(name + "\nsecret\n"), nil
	}}
	all := "<http-proxy-user-pass>\nall\nsecret\n</http-proxy-user-pass>\n"
	for more, want := range map[string]string{"": "a.auth b.auth - d.auth -",
		all: "a.auth b.auth all d.auth all"} {
		p, _, err := Parse([]byte(text+ca+"</ca>\n"+more), "p", options)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range p.Remotes {
			name := "-"
			if c := p.ProxyLogin(r); c != nil {
				name = c.Username
			}
			got = append(got, name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("logins %v, want %s", got, want)
		}
		asks := strings.Contains(p.TextFor(Attempt{Remote: p.Remotes[2]}), "3 auto")
		if asks != (more != "") {
			t.Errorf("the third proxy is told a login: %v", asks)
		}
		if !strings.Contains(p.Secrets(), "a.auth\x00secret") {
			t.Error("a change of a login goes unnoticed")
		}
	}
}

func TestDirectiveNamesAreUnique(t *testing.T) {
	seen := map[string]class{}
	for name, r := range keptDirectives() {
		seen[name] = r.class
	}
	for _, g := range droppedDirectives {
		for _, name := range g.names {
			if before, twice := seen[name]; twice {
				t.Errorf("%s is %s and %s", name, before, g.class)
			}
			seen[name] = g.class
		}
	}
	if len(seen) != len(slices.Collect(maps.Keys(directives()))) {
		t.Error("the table is not complete")
	}
}

// ownCertificate returns blocks with a client's certificate and its key.
func ownCertificate(t *testing.T) (cert, key string) {
	t.Helper()
	pki := ovpntest.NewPKI(t)
	return ovpntest.Inline("cert", pki.Client.PEM) + "\n",
		ovpntest.Inline("key", pki.Client.Key) + "\n"
}

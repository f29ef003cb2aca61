package profile

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/openvpn/ovpntest"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files again")

// TestProviders reads profiles in the style of well-known providers. The golden files hold the
// report and what openvpn would be given.
func TestProviders(t *testing.T) {
	paths, err := filepath.Glob("testdata/profiles/*.ovpn")
	if err != nil || len(paths) < 7 {
		t.Fatalf("profiles: %v, %v", paths, err)
	}
	for _, path := range append(paths, "testdata/profiles/legacy/legacy-style.ovpn") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			options := Options{LegacyCrypto: strings.Contains(path, "connections-")}
			p, report, err := Load(path, options)
			if err != nil {
				t.Fatal(err)
			}
			got := report.String() + "----\n" + p.Text()
			golden := strings.TrimSuffix(path, ".ovpn") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("(-golden +now)\n%s", diff)
			}
			assertHarmless(t, p.Text())
			assertFixpointWith(t, p, options)
			assertOpenVPNReads(t, p)
		})
	}
}

// assertFixpoint checks that the canonical text means to us what the profile meant.
func assertFixpoint(t *testing.T, p *Profile) {
	t.Helper()
	assertFixpointWith(t, p, Options{})
}

func assertFixpointWith(t *testing.T, p *Profile, options Options) {
	t.Helper()
	again, report, err := Parse([]byte(p.Text()), p.Name, options)
	if err != nil {
		t.Fatalf("the canonical text is refused: %v\n%s", err, p.Text())
	}
	if diff := cmp.Diff(p.Text(), again.Text()); diff != "" {
		t.Fatalf("the canonical text is not a fixpoint (-first +second)\n%s", diff)
	}
	if !reflect.DeepEqual(p, again) {
		t.Errorf("the canonical text means something else:\n%+v\n%+v", p, again)
	}
	for _, f := range report.Findings {
		if strings.Contains(f.Reason, "ignored") && f.Line != 0 {
			t.Errorf("something of the canonical text was dropped: %s", f)
		}
	}
}

// assertOpenVPNReads lets the real openvpn read the canonical text. "--show-gateway"-like modes
// skip the file, so it is started with a management socket that does not exist: it stops there,
// after all options and keys were checked.
func assertOpenVPNReads(t *testing.T, p *Profile) {
	t.Helper()
	openvpn, err := exec.LookPath("openvpn")
	if err != nil || p.NeedsPassphrase {
		return
	}
	cmd := exec.Command(openvpn, "--config", "stdin", "--dev", "tunztb9", "--dev-type", "tun",
		"--tmp-dir", t.TempDir(),
		"--management", filepath.Join(t.TempDir(),
			"nobody"), "unix", "--management-client", "--management-query-passwords",
		"--suppress-timestamps")
	if p.legacy {
		cmd.Args = append(cmd.Args, "--providers", "legacy", "default")
	}
	cmd.Stdin = strings.NewReader(p.Text())
	out, _ := cmd.CombinedOutput()
	if strings.Contains(string(out), "Options error") ||
		!strings.Contains(string(out), "MANAGEMENT: connect to unix socket") {
		t.Errorf("openvpn does not take the canonical text:\n%s", out)
	}
}

// assertHarmless is a strict reader of canonical text that shares no code with what writes it: each
// line is one of a few forms, none of which can name a file or run a program.
func assertHarmless(t *testing.T, text string) {
	t.Helper()
	lines := strings.Split(text, "\n")
	if lines[len(lines)-1] != "" {
		t.Fatalf("the text does not end with a line feed")
	}
	depth := 0
	for i := 0; i < len(lines)-1; i++ {
		line := lines[i]
		if len(line) > 254 {
			t.Fatalf("line %d is too long for OpenVPN: %q", i+1, line)
		}
		if line == "<connection>" && depth == 0 || line == "</connection>" && depth == 1 {
			depth = 1 - depth
			continue
		}
		if m := blockForm.FindStringSubmatch(line); m != nil {
			for i++; lines[i] != "</"+m[1]+">"; i++ {
				if !contentForm.MatchString(lines[i]) || len(lines[i]) > 254 {
					t.Fatalf("line %d in block %s: %q", i+1, m[1], lines[i])
				}
			}
			continue
		}
		if !optionForm.MatchString(line) {
			t.Fatalf("line %d is of no harmless form: %q", i+1, line)
		}
	}
}

var (
	blockForm = regexp.MustCompile(
		`^<(ca|cert|key|extra-certs|pkcs12|peer-fingerprint|verify-hash|crl-verify|tls-auth|tls-crypt|tls-crypt-v2)>$`)
	contentForm = regexp.MustCompile(
		`^(-----(BEGIN|END) [A-Za-z0-9 .-]+-----|[A-Za-z0-9+/=:]+|Proc-Type: 4,ENCRYPTED|DEK-Info: [A-Z0-9-]+,[0-9A-Fa-f]+|)$`)
	optionForm = regexp.MustCompile(`^(` + strings.Join([]string{
		`client`, `nobind`, `remote-random`, `remote-random-hostname`, `auth-user-pass`, `float`,
		`push-peer-info`,
		`remote [A-Za-z0-9.:_-]+ \d{1,5} (udp|tcp)[46]?(-client)?`,
		`allow-compression asym`, `tls-client`, `topology (net30|p2p|subnet)`,
		`ifconfig [0-9.]+ [0-9.]+`, `ifconfig-ipv6 [0-9a-f:/]+ [0-9a-f:]+`,
		`http-proxy [A-Za-z0-9.:_-]+ \d{1,5}( (stdin|auto|auto-nct)( (none|basic|ntlm2?))?)?`,
		`http-proxy-option (VERSION|AGENT) "?[A-Za-z0-9./ ();_-]+"?`,
		`socks-proxy [A-Za-z0-9.:_-]+ \d{1,5}( stdin)?`, `no-replay`,
		`compress( (stub|stub-v2|migrate|lzo|lz4|lz4-v2))?`,
		`comp-lzo( (no|yes|adaptive))?`,
		`explicit-exit-notify( \d)?`, `setenv UV_[A-Z0-9_]+ [A-Za-z0-9_.-]+`,
		`data-ciphers [A-Z0-9:-]+`, `data-ciphers-fallback [A-Z0-9-]+`, `auth ([A-Z0-9-]+|none)`,
		`tls-version-(min|max) 1\.[0-3]`, `tls-cert-profile (legacy|preferred|suiteb|insecure)`,
		`tls-(cipher|ciphersuites|groups) "?[A-Za-z0-9_:+!.@=-]+"?`,
		`(remote-cert-tls|ns-cert-type) server`, `remote-cert-ku( (0[xX])?[0-9a-fA-F]+)*`,
		`remote-cert-eku "?[A-Za-z0-9 .,()/_-]+"?`,
		`verify-x509-name ("([^"\\]|\\["\\])*"|[^ "'\\#;]+)( (subject|name|name-prefix))?`,
		`x509-username-field( (ext:)?[A-Za-z0-9]+)+`, `pull-filter (accept|ignore|reject) .+`, `lport \d+`,
		`http-proxy-option CUSTOM-HEADER .+`,
		`verify-hash [0-9A-Fa-f:]+( SHA(1|256))?`, `key-direction [01]`,
		`tun-mtu \d+ \d+`,
		`(tun-mtu|tun-mtu-max|max-packet-size|tun-mtu-extra|link-mtu|reneg-bytes|reneg-pkts|tran-window) \d+`,
		`(reneg-sec|replay-window) \d+( \d+)?`,
		`mssfix( \d+( mtu| fixed)?)?`, `fragment \d+( mtu)?`, `dhcp-option DNS6? [0-9a-f.:]+`,
	}, "|") + `)$`)
)

// base is a profile that connects; tests add to it.
func base(t testing.TB) string {
	data, err := os.ReadFile("testdata/profiles/nord-style.ovpn")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestDangerous shows that nothing that ran a program, wrote a file or sent one survives. The
// canonical text is the same as without it, and the report names the line.
func TestDangerous(t *testing.T) {
	clean, _, err := Parse([]byte(base(t)), "p", Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"up /bin/sh", "down /bin/sh", "route-up /bin/sh", "route-pre-down x", "ipchange /bin/sh",
		"tls-verify /bin/sh",
		"client-connect x", "learn-address x", "auth-user-pass-verify x via-env", "up-restart",
		"down-pre",
		"plugin /tmp/x.so", "providers /tmp/x", "pkcs11-providers /tmp/x.so", "engine /tmp/x.so",
		"--plugin /tmp/x.so", "setenv opt plugin /tmp/x.so", "\tplugin\t/tmp/x.so",
		`"plugin" /tmp/x.so`, `plug\in x`,
		`'--plugin' /tmp/x.so`, "plugin /tmp/x.so # comment",
		"status /etc/passwd", "log /etc/passwd", "log-append x", "replay-persist x", "writepid x",
		"capath /etc", "askpass /etc/shadow",
		"cd /", "chroot /", "tmp-dir /", "management 127.0.0.1 7505",
		"management-client",
		"user root", "group root", "daemon", "dev-node /dev/sda", "mark 1", "bind-dev lo",
		"compat-mode 2.3.0",
		"script-security 3", "setenv PATH /tmp", "tls-export-cert /tmp",
		"<plugin>\n/tmp/x.so\n</plugin>",
		"data-ciphers none", "inactive 1", "ping-exit 1",
		"allow-compression yes", "frobnicate 1", "iproute /tmp/x",
		"dhcp-option DNS evil",
	} {
		t.Run(line, func(t *testing.T) {
			p, report, err := Parse([]byte(line+"\n"+base(t)), "p", Options{})
			if strings.HasPrefix(line, `plug\`) {
				if err == nil || !strings.Contains(err.Error(), "p:1:") {
					t.Errorf("a bad escape is no error at its line: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := p.Text()
			if diff := cmp.Diff(clean.Text(), got); diff != "" {
				t.Errorf("it changed what openvpn is given:\n%s", diff)
			}
			if line == "allow-compression yes" {
				return // decided by us without a word
			}
			if len(report.Findings) == 0 || report.Findings[0].Line > 3 {
				t.Errorf("it is not reported: %s", report)
			}
		})
	}
}

// What is dropped weighs as much as is lost by it.
func TestSeverities(t *testing.T) {
	for line, want := range map[string]string{
		"tls-remote server.example.net": "warning: line 1: tls-remote: obsolete: the server's name is no longer checked; use verify-x509-name",
		"keysize 256":                   "info: 10 lines without effect on the tunnel: keysize",
	} {
		_, report, err := Parse([]byte(line+"\n"+base(t)), "p", Options{})
		if err != nil || !strings.HasPrefix(report.String(), want) {
			t.Errorf("%s: %v\n%s", line, err, report)
		}
	}
}

// TestAuthUserPassFile is the one that sends any readable file to the provider.
func TestAuthUserPassFile(t *testing.T) {
	p, report, err := Parse([]byte(base(t)+"auth-user-pass /etc/shadow\n"), "p", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(p.Text(), "shadow") || !p.NeedsCredentials {
		t.Errorf("the file survives:\n%s", p.Text())
	}
	if !strings.Contains(fmt.Sprint(report.Findings), `the file "/etc/shadow" is not read`) {
		t.Errorf("it is not reported: %s", report)
	}
}

func TestErrorsNameThePlace(t *testing.T) {
	for _, tc := range []struct{ profile, want string }{
		{"client\nremote a b c d\n", "p:2: remote: expected: remote host"},
		{"client\nremote vpn.example.net 70000\n", `p:2: remote: "70000" is not a port`},
		{"\nremote ../../etc\n", `p:2: remote: "../../etc" is neither a host name nor an address`},
		{"remote vpn.example.net\n<ca>\nx\n", "p:2: <ca>: the block is not closed by </ca>"},
		{"dev tap0\n", "p:1: dev: it wants an Ethernet bridge"},
		{"\n\nsecret static.key\n", "p:3: secret: OpenVPN's static key mode"},
		{"http-proxy 127.0.0.1 3128\n", "p:1: http-proxy: the proxy 127.0.0.1 is this box itself"},
		{"remote \"vpn.example.net\n", "p:1: a quotation is not closed"},
		{"remote 'vpn.example.net\n", "p:1: a quotation is not closed"},
		{"remote vpn\\q\n", "p:1: a backslash is followed by"},
		{"remote vpn.example.net\n", "p: it has no ca"},
		{"ca ca.crt\n", "between <ca> and </ca>"},
		{"<ca>\nhello\n</ca>\n", "p:1: ca: it holds no certificate"},
		{"<tls-crypt>\nabc\n</tls-crypt>\n", "p:1: tls-crypt: it holds no OpenVPN static key"},
		{"client\x00\n", "not a plain text file; save it as UTF-8"},
		{"remote vpn\x1b[31m.example.net\n", "holds a control character"},
		{"config /etc/other.conf\n", "p:1: config: the file \"/etc/other.conf\" is not read"},
		{"&lt;ca&gt;\n-----BEGIN CERTIFICATE-----\n", "it is the source of a web page"},
		{"remote [YOUR_SERVER] 1194\n", "is a placeholder"},
		{"<ca>\n-----BEGIN CERTIFICATE----- MIIB\n</ca>\n", "has lost its line breaks"},
		{"static-challenge \"code\" 1\n", "p:1: static-challenge: a code would have to be typed"},
		{strings.Repeat("# comment\n", 120000), "larger than"},
		{"server 10.0.0.0 255.0.0.0\n", "p:1: server: a server's configuration"},
		{"<connection>\nremote vpn.example.net\nhttp-proxy x 1\n</connection>\n",
			"an http-proxy carries TCP only"},
		{"", "not an OpenVPN profile: it is an empty file"},
		{" \n\n", "it is an empty file"},
		{"PK\x03\x04zip", "it is a ZIP archive"},
		{"\n<!DOCTYPE html>\n<html>", "it is a web page"},
		{"[Interface]\nPrivateKey = x\n[Peer]\n", "it is a WireGuard file"},
		{"\xff\xfec\x00l\x00i", "damaged UTF-16"},
		{"remote YOUR_SERVER_IP 1194\n", "p:1: remote: \"YOUR_SERVER_IP\" is a placeholder"},
		{"remote <server> 1194\n", "is a placeholder"},
		{"remote xxx.xxx.xxx.xxx 1194\n", "is a placeholder"},
		{"remote my-server-1 1194\n", "is a placeholder"},
		{"remote 127.0.0.1 1195\n", "none of its servers can be used: 127.0.0.1 is this box"},
		{"remote fe80::1 1195\n", "link-local"},
		{"scramble obfuscate x\n", "p:1: scramble: needs a patched OpenVPN"},
		{"auth-federate\n", "p:1: auth-federate: needs Amazon's own VPN client"},
		{"cipher none\n", "p:1: cipher: it switches encryption off"},
		{"cipher FOO-128\n", "p:1: cipher: \"FOO-128\" is not a cipher"},
		{"auth FOO\n", "p:1: auth: \"FOO\" is not a digest"},
		{"fragment x\n", "p:1: fragment: \"x\" is not a number"},
		{"comp-lzo maybe\n", "p:1: comp-lzo: \"maybe\" is not a form of it"},
		{"remote vpn.example.net\nproto-force tcp\n", "proto-force leaves no server"},
		{"remote vpn.example.net nosuchservice\n", "nor a known service"},
		{"ca C:\\Users\\ca.crt\n", "p:1: a backslash is followed by neither"},
		{"tls-groups none\n", `p:1: tls-groups: OpenSSL here knows none of "none"`},
		{"tls-ciphersuites FOO\n", "p:1: tls-ciphersuites: OpenSSL here knows none"},
		{"tls-cipher TLS-RSA-WITH-RC4-128-MD5:!AES\n", "p:1: tls-cipher: OpenSSL here has none"},
		{"tls-version-max 1.2\ntls-version-min 1.3\n", "p:2: tls-version-min: tls-version-min 1.3"},
		{"verify-x509-name a b\n", `p:1: verify-x509-name: "b" is not of the expected form`},
		{"verify-hash 00:11\n", "p:1: verify-hash: "},
		{"verify-hash 00" + strings.Repeat(":00", 31) + "\n", "p:1: verify-hash: "},
		{"verify-hash 00" + strings.Repeat(":00", 19) + " SHA256\n", "p:1: verify-hash: "},
		{"tls-cipher TLS-FOO\n", "p:1: tls-cipher: OpenSSL here has none"},
		{base(t) + "auth none\n", "p: it has tls-auth and \"auth none\""},
		{"link-mtu 50\n", "p:1: link-mtu: \"50\" is not a number"},
		{"<cipher>\nx\n</cipher>\n", "p:1: cipher: cannot be given as a block"},
		{"\x1f\x8b", "it is a gzip archive"}, {"\xfd7zXZ\x00", "it is an xz archive"},
		{"BZh9", "it is a bzip2 archive"}, {"\x28\xb5\x2f\xfd", "it is a Zstandard archive"},
		{"a.ovpn" + strings.Repeat("\x00", 251) + "ustar\x0000", "it is a tar archive"},
		{`{\rtf1\ansi client}`, "it is a formatted document"},
		{"GIF89a\x00", "it is a picture"},
		{"\x30\x80\x02\x01\x03\x00", "it is a certificate or PKCS #12 bundle"},
		{"\x30\x82\x10\x00\x06<plist>", "it is a signed Apple profile"},
		{"<!-- saved -->\n<html>", "it is a web page"},
		{`[{"remote": "x"}]`, "it is a JSON file"},
		{"\x30\x83\x01\x00\x00\x06<plist>", "it is a signed Apple profile"},
		{"-----BEGIN PKCS7-----\nAAAA\n", "it is a signed Apple profile"},
		{"bplist00\x00", "it is an Apple profile"}, {"Salted__\x00", "it is an encrypted file"},
		{"\xd0\xcf\x11\xe0\x00", "it is an Office document"},
		{"\x00\x05\x16\x07Mac OS X", "what macOS keeps beside a file"},
		{"\nconfig openvpn 'x'\n\toption client 1\n", "it is an OpenWrt configuration"},
		{"# by RouterOS\n/interface ovpn-client\nadd\n", "it is a script of a MikroTik router"},
		{"# VPN Client\ndeclare root\n{\n", "it is a SoftEther file"},
		{"[main]\nDescription=x\nHost=h\n", "it is a file of another VPN client"},
		{"https://vpn.example.net/a.ovpn\n", "it is a link"},
		{"Subject: your profile\n\nclient\n", "it is a whole e-mail"},
		{"version https://git-lfs.github.com/spec/v1\n", "it is a pointer of Git LFS"},
		{"Y2xpZW50CmRldiB0dW4KcmVtb3RlIDE5Mi4wLjIuMSAxMTk0\nCg==\n", "it is text in base64"},
		{"[connection]\nid=x\n[vpn]\n", "it is a NetworkManager file"},
		{"vpn://AAAA", "it is a link for another kind of VPN"},
		{"-----BEGIN CERTIFICATE-----\nAAAA\n", "it is a key or certificate alone"},
		{"alice\nhunter2\n", "nothing in it is a directive of OpenVPN"},
	} {
		_, _, err := Parse([]byte(tc.profile), "p", Options{})
		var place *Error
		if !errors.As(err, &place) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%.60q: error %v, want %q in it", tc.profile, err, tc.want)
		}
	}
}

func TestFilesBesideTheProfile(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "secret")
	ca, err := os.ReadFile("testdata/profiles/legacy/ca.crt")
	if err != nil {
		t.Fatal(err)
	}
	for path, data := range map[string][]byte{
		outside: ca, filepath.Join(dir, "ca.crt"): ca, filepath.Join(dir, "big.crt"): make([]byte,
			maxInlined+1),
	} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink(outside, filepath.Join(dir, "link.crt")),
		os.Mkdir(filepath.Join(dir, "dir.crt"), 0o700)); err != nil {
		t.Fatal(err)
	}
	read, err := DirFiles(dir, []string{"other.auth"})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"ca.crt": "", "./ca.crt": "",
		"other.auth": "other secrets", "./other.auth": "other secrets",
		outside: "own directory", "../x": "own directory", "..": "own directory",
		"":         "own directory",
		"link.crt": "not a regular file", "dir.crt": "not a regular file", "big.crt": "larger than",
		"none.crt": "no such file",
	} {
		_, err := read(name)
		if want == "" && err != nil || want != "" &&
			(err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", name, err, want)
		}
	}
}

// TestForms: what old editors and people make of a file means the same.
func TestForms(t *testing.T) {
	text := base(t)
	clean, _, err := Parse([]byte(text), "p", Options{})
	if err != nil {
		t.Fatal(err)
	}
	wide := func(little int) string {
		out := make([]byte, 2*len(text))
		for i := range len(text) {
			out[2*i+1-little] = text[i]
		}
		return string(out)
	}
	for name, form := range map[string]string{
		"UTF-16 little": wide(1), "UTF-16 big": wide(0),
		"Latin-1":         "setenv FRIENDLY_NAME \"Z\xfcrich \x93x\x94\"\n" + text,
		"emoji":           "setenv FRIENDLY_NAME \"\U0001F468\u200d\U0001F469 a\u00a0b\"\n" + text,
		"no-break spaces": strings.NewReplacer(" ", "\u00a0", "\nremote", "\n\u200bremote").Replace(text),
		"long dashes": strings.NewReplacer("-----", "\u2014\u2014-", "\nremote-cert",
			"\n\u2014remote-cert").Replace(text),
		"separators":      strings.ReplaceAll(text, "\nremote", "\u2028remote"),
		"ignored":         "ignore-unknown-option scramble\nscramble x\n" + text,
		"setenv opt":      "setenv opt auth-federate\n" + text,
		"indented":        strings.ReplaceAll(text, "\n", "\n\t  "),
		"file, then here": "ca ca.crt\n" + text,
		"groups":          text + "tls-groups nosuch:x25519\n",
		"hybrid groups":   text + "tls-groups x25519mlkem768:X25519\n",
		"sets of groups":  text + "tls-groups ?*X25519MLKEM768/?*X25519:?secp256r1\n",
		"default groups":  text + "tls-groups DEFAULT\n",
	} {
		p, _, err := Parse([]byte(form), "p", Options{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(clean.Text(),
			strings.Replace(p.Text(), "tls-groups X25519\n", "", 1)); diff != "" {
			t.Errorf("%s changes what openvpn is given:\n%s", name, diff)
		}
	}
}

// TestIncluded: lines of a file that a profile includes are its own, also for errors; files that
// include each other end.
func TestIncluded(t *testing.T) {
	files := map[string]string{
		"all.conf":  "\uFEFFtun-mtu 1400\r\nconfig deep.conf\r\n",
		"deep.conf": "remote 203.0.113.21\n", "own.conf": "config own.conf\n",
		"many.conf": strings.Repeat("config deep.conf\n", 20),
		"bad.conf":  "verb 3\ncipher FOO\n",
	}
	options := Options{Files: func(name string) ([]byte, error) {
		text, ok := files[name]
		if !ok {
			return nil, os.ErrNotExist
		}
		return []byte(text), nil
	}}
	p, _, err := Parse([]byte(base(t)+"config all.conf\n"), "p", options)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Remotes) != 2 || p.first("tun-mtu") != "1400" {
		t.Errorf("the profile is:\n%s", p.Text())
	}
	for name, want := range map[string]string{"own.conf": "perhaps one includes itself", "many.conf": "more than 10 files",
		"bad.conf": "bad.conf:2: cipher: ", "none.conf": `reading "none.conf"`} {
		_, _, err := Parse([]byte("config "+name+"\n"+base(t)), "p", options)
		if err == nil || !strings.Contains(err.Error(), "p:1: config: ") ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

// TestEveryFingerprintCounts, in lines and blocks.
func TestEveryFingerprintCounts(t *testing.T) {
	one, two := strings.Repeat("11:", 31)+"11", strings.Repeat("22:", 31)+"22"
	for _, text := range []string{"peer-fingerprint " + one + "\npeer-fingerprint " + two,
		"peer-fingerprint " + two + "\n<peer-fingerprint>\n" + one + "\n</peer-fingerprint>"} {
		p, _, err := Parse([]byte(base(t)+text+"\n"), "p", Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := p.blocks["peer-fingerprint"]; got != one+"\n"+two+"\n" {
			t.Errorf("kept of %s:\n%s", text, got)
		}
	}
}

// TestLoginAsTyped: blank lines around a login are no part of it, and its letters stay.
func TestLoginAsTyped(t *testing.T) {
	p, _, err := Parse([]byte(base(t)+"<auth-user-pass>\n\n\u201calice\n\n\u2014\u00a0x\n\n"+
		"</auth-user-pass>\nnobind\u00a0\n"), "p", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if c := p.CredentialsOr(nil); c.Username != "\u201calice" || c.Password != "\u2014\u00a0x" {
		t.Errorf("the login is %q, %q", c.Username, c.Password)
	}
}

// TestRandomNames: a wildcard in the provider's DNS is asked below labels of our own, as OpenVPN
// does, in either spelling of the option; openvpn itself is given addresses.
func TestRandomNames(t *testing.T) {
	for _, line := range []string{"remote-random-hostname", "setenv opt remote-random-hostname",
		"setenv REMOTE_RANDOM_HOSTNAME"} {
		p, report, err := Parse([]byte(line+"\n"+base(t)), "p", Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range report.Findings {
			if f.Line == 1 {
				t.Errorf("%s: %s", line, f)
			}
		}
		assertHarmless(t, p.Text())
		assertFixpoint(t, p)
		assertOpenVPNReads(t, p)
		if given := p.TextFor(Attempt{Remote: p.Remotes[0],
			Addr: netip.MustParseAddr("192.0.2.1")}); strings.Contains(given, "random") {
			t.Errorf("%s: openvpn is given\n%s", line, given)
		}
		labelled := regexp.MustCompile(`^[0-9a-f]{12}\.vpn\.example\.net$`)
		a, b := p.Question("vpn.example.net"), p.Question("vpn.example.net")
		if !labelled.MatchString(a) || !labelled.MatchString(b) || a == b {
			t.Errorf("%s: DNS is asked for %s, then for %s", line, a, b)
		}
	}
}

func TestExpiry(t *testing.T) {
	pki := ovpntest.NewPKI(t)
	profile := func(ca, cert, key string) *Profile {
		p, _, err := Parse([]byte("client\nremote 192.0.2.1\n"+ovpntest.Inline("ca", ca)+"\n"+
			ovpntest.Inline("cert", cert)+"\n"+ovpntest.Inline("key", key)+"\n"), "p", Options{})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	now := time.Now()
	p := profile(pki.CA.PEM, pki.Client.PEM, pki.Client.Key)
	for _, tc := range []struct {
		at   time.Time
		want string
	}{
		{now, ""},
		{now.Add(241 * 24 * time.Hour), "our certificate (CN=customer-1) expired on"},
		{now.Add(-100 * 24 * time.Hour), "our certificate (CN=customer-1) is not valid before"},
	} {
		if got := p.Expired(tc.at); (tc.want == "") != (got == "") ||
			!strings.HasPrefix(got, tc.want) {
			t.Errorf("at %v: %q, want %q", tc.at, got, tc.want)
		}
	}
	// One authority of two may have expired: providers ship the old one beside the new one.
	old := pki.Authority("Old CA")
	both := profile(pki.CA.PEM+old.PEM, pki.Client.PEM, pki.Client.Key)
	if got := both.Expired(now); got != "" {
		t.Errorf("two authorities: %q", got)
	}
}

// FuzzProfile: no input makes a text that could name a file or run a program, and what is written
// is read back as the same.
func FuzzProfile(f *testing.F) {
	paths, _ := filepath.Glob("testdata/profiles/*.ovpn")
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	ca, _ := os.ReadFile("testdata/profiles/legacy/ca.crt")
	cert, _ := os.ReadFile("testdata/profiles/legacy/client.crt")
	key, _ := os.ReadFile("testdata/profiles/legacy/client.key")
	ta, _ := os.ReadFile("testdata/profiles/legacy/ta.key")
	files := map[string][]byte{"ca.crt": ca, "client.crt": cert, "client.key": key, "ta.key": ta}
	read := func(name string) ([]byte, error) {
		if d, ok := files[name]; ok {
			return d, nil
		}
		return nil, os.ErrNotExist
	}
	prefix := "remote 192.0.2.1\nca ca.crt\ncert client.crt\nkey client.key\n"
	for _, line := range []string{
		`verify-x509-name "a\"b\\" subject`, "setenv opt --plugin x", "tls-auth ta.key 1",
		"<connection>\nremote a\n</connection>",
		"setenv UV_X y", "compress lz4", "--<ca>", "verify-x509-name \"#\"",
		"verify-x509-name 'a b'", "remote-cert-ku a0 88",
		"dhcp-option DNS 192.0.2.1", "peer-fingerprint 00", "verify-x509-name </ca>",
		"remote-random-hostname", "setenv REMOTE_RANDOM_HOSTNAME",
	} {
		f.Add([]byte(prefix + line + "\n"))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, _, err := Parse(data, "fuzz", Options{Files: read})
		if err != nil {
			return
		}
		assertHarmless(t, p.Text())
		assertFixpoint(t, p)
	})
}

func FuzzWords(f *testing.F) {
	f.Add(`remote "a b" 'c\d' e\ f "g\"h" # comment`)
	f.Fuzz(func(t *testing.T, line string) {
		words, err := splitWords(line)
		if err != nil {
			return
		}
		var b []string
		for _, w := range words {
			if strings.ContainsAny(w, "\n\r\x00") {
				return
			}
			b = append(b, quoteWord(w))
		}
		again, err := splitWords(strings.Join(b, " "))
		if err != nil || !reflect.DeepEqual(words, again) && len(words)+len(again) > 0 {
			t.Errorf("%q became %q, %v", words, again, err)
		}
	})
}

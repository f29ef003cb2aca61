package support

import (
	"strings"
	"testing"
)

func redactor() *Redactor {
	r := NewRedactor()
	r.Secret("hunter2hunter2")
	r.Secret(`with "quotes" & more`)
	r.Secret("abc")
	r.Name("egress", "provider")
	r.Name("egress", "nl-ams")
	r.Name("client", "Alice's phone")
	r.Name("egress", "wan")
	return r
}

func TestRedact(t *testing.T) {
	r := redactor()
	for _, c := range []struct{ text, want string }{
		{"password=hunter2hunter2", "password=(secret)"},
		{`{"p":"with \"quotes\" \u0026 more"}`, `{"p":"(secret)"}`},
		{"?p=with+%22quotes%22+%26+more", "?p=(secret)"},
		{"abc is abcd", "secret-1 is abcd"},
		{"provider: up; providers and nl-ams-2, Provider.", "egress-1: up; providers and nl-ams-2, egress-1."},
		{"nl-ams (Alice's Phone) by wan", "egress-2 (client-1) by wan"},
		{"to 203.0.113.5:1194 and 203.0.113.5/32", "to address-1:1194 and address-1/32"},
		{"10.147.17.1/24 100.64.0.1 127.0.0.1 169.254.1.1 0.0.0.0/0",
			"10.147.17.1/24 100.64.0.1 127.0.0.1 169.254.1.1 0.0.0.0/0"},
		{"[2001:db8::1]:443 ::1 ::/0 ff02::1", "[address-2]:443 ::1 ::/0 ff02::1"},
		{"::ffff:203.0.113.5", "address-1"},
		{"fd80:56c2:e21c:0:199:9399:93a1:b2c3", "address-3"},
		{"at 12:34:56 it took 00:01", "at 12:34:56 it took 00:01"},
		{"link/ether 02:00:5e:10:00:01", "link/ether mac-1"},
		{"hardware 02-00-5E-10-00-02 by 10-wan", "hardware mac-2 by 10-wan"},
		{"key /Ab3dEfGh1jKlMn0pQrStUvWxYz0123456789abcde+=", "key key-1"},
		{"in /var/lib/ztbridge/profiles/2026/provider-1", "in /var/lib/ztbridge/profiles/2026/provider-1"},
		{"network abcdef0123000001 of a1b2c3d4e5", "network network-1 of node-1"},
		{"time 1764453000", "time 1764453000"},
		{"nl1.vpn.example.net, NL1.vpn.example.net", "host-1, host-1"},
		{"ztbridge.service reads provider.ovpn; net.ipv4.ip_forward; v1.14.1",
			"ztbridge.service reads egress-1.ovpn; net.ipv4.ip_forward; v1.14.1"},
		{"annas-laptop.local, ztbridge.local, nl.vpn.network, 10-wan.network, install.sh",
			"host-2, ztbridge.local, host-3, 10-wan.network, install.sh"},
		{"nl_203.0.113.5_tcp v203.0.113.5x", "nl_address-1_tcp vaddress-1x"},
		{"customer-203-0-113-5 at 2026-11-30", "customer-address-1 at 2026-11-30"},
		{"customer-192-168-1-5", "customer-192-168-1-5"},
		{"https://user:pw@hooks.example.org/services/T0/B1?x=y", "https://url-1"},
		{"see https://www.zerotier.com/download/", "see https://www.zerotier.com/download/"},
		{"mail to alice@example.org", "mail to mail-1"},
		{"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\nafter", "(removed: PRIVATE KEY)\nafter"},
		{"-----BEGIN PRIVATE KEY-----\nMIIB", "(removed: PRIVATE KEY)"},
		{"token 9a0364b9e99bb480dd25e1f0284c8555", "token key-2"},
	} {
		got := r.Redact(c.text)
		if got != c.want {
			t.Errorf("%q becomes %q, want %q", c.text, got, c.want)
		}
		if again := r.Redact(got); again != got {
			t.Errorf("%q becomes %q the second time", got, again)
		}
	}
}

// FuzzRedact: no secret and no public address is left, whatever is around it.
func FuzzRedact(f *testing.F) {
	f.Add("a ", " b")
	f.Add("x", "y")
	f.Add("://", "@")
	f.Fuzz(func(t *testing.T, before, after string) {
		r := redactor()
		for _, secret := range []string{"hunter2hunter2", `with "quotes" & more`} {
			if strings.Contains(r.Redact(before+secret+after), secret) {
				t.Errorf("%q is left", secret)
			}
		}
		if strings.ContainsAny(before+after, "0123456789.") { // it would be another address
			return
		}
		if strings.Contains(r.Redact(before+"198.51.100.77"+after), "198.51.100.77") {
			t.Error("the address is left")
		}
	})
}

package config

import (
	"strings"
	"testing"
)

func TestMetrics(t *testing.T) {
	dir := folder(t)
	write(t, dir+"/metrics.password", "secret words\n", 0o600)
	write(t, dir+"/marked.password", "\ufeffsecret words\r\n", 0o600) // as Windows writes it
	write(t, dir+"/open.password", "secret words\n", 0o644)
	base := "zerotier: {networks: [abcdef0123000001]}\negress: {a: {openvpn: {profile: provider.ovpn}}}\n"
	for text, want := range map[string]string{
		"metrics: {listen: 10.147.17.1:9790}":                                               "",
		"metrics: {listen: ['127.0.0.1:9790', '[fd00::1]:9790']}":                           "",
		"metrics: {listen: 10.147.17.1:9790, username: p, password_file: metrics.password}": "",
		"metrics: {listen: 10.147.17.1:9790, username: p, password_file: marked.password}":  "",
		"metrics: {listen: 203.0.113.7:9790}":                                               "public address",
		"metrics: {listen: '[2001:db8::1]:9790'}":                                           "public address",
		"metrics: {listen: 0.0.0.0:9790}":                                                   "every interface",
		"metrics: {listen: '[::]:9790'}":                                                    "every interface",
		"metrics: {listen: '[::ffff:203.0.113.7]:9790'}":                                    "public address",
		"metrics: {listen: 10.147.17.1}":                                                    "not an address with a port",
		"metrics: {listen: 10.147.17.1:0}":                                                  "not an address with a port",
		"metrics: {username: p}":                                                            "go together",
		"metrics: {listen: 10.147.17.1:9790, username: p}":                                  "go together",
		"metrics: {listen: 10.147.17.1:9790, username: p, password_file: open.password}":    "mode",
		"metrics: {listen: 10.147.17.1:9790, username: p, password_file: gone}":             "does not exist",
	} {
		cfg, _, err := load(t, dir, base+text+"\n")
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want == "" && len(cfg.Metrics.Listen) == 0:
			t.Errorf("%s: served nowhere", text)
		case want == "" && cfg.Metrics.PasswordFile != "" &&
			cfg.Metrics.Password.Reveal() != "secret words":
			t.Errorf("%s: the password is %q", text, cfg.Metrics.Password.Reveal())
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

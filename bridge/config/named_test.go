package config

import (
	"path/filepath"
	"slices"
	"testing"
)

// Also of a configuration whose files are missing, which is when it is asked.
func TestNamedFiles(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "ztbridge.yaml")
	write(t, file, "egress: {provider: {openvpn: {profile: a.ovpn, credentials: login.txt}}}\n"+
		"endpoint: {address: vpn.example.org, listen: [udp/1194], https: {certificate: chain, key: web}}\n"+
		"notify: {ntfy: {url: https://ntfy.example.org/box, token_file: ntfy.token}, "+
		"telegram: {token_file: bot, chat: 1}, webhook: {url_file: hook}}\nmistake: 1\n", 0o600)
	got := NamedFiles(file)
	for _, name := range []string{"a.ovpn", "login.txt", "chain", "web", "ntfy.token", "bot",
		"hook"} {
		if !slices.Contains(got, filepath.Join(dir, name)) {
			t.Errorf("%s is not among %q", name, got)
		}
	}
}

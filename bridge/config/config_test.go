package config

import (
	"os"
	"path/filepath"
	"testing"
)

// folder makes a directory with the files that configurations of the tests name.
func folder(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"provider.ovpn": "client\n",
		"backup.ovpn":   "client\n",
		"provider.zip":  "PK",
		"provider.auth": "user\nhunter2\n",

		"webhook.url":    "https://hooks.example.org/services/T0/B0/webhook5ecret\n",
		"webhook.token":  "bearer5ecret\n",
		"ntfy.token":     "tk_ntfy5ecret\n",
		"telegram.token": "123456:telegram5ecret\n",
		"mail.password":  "mail5ecret\n",
	} {
		write(t, filepath.Join(dir, name), text, 0o600)
	}
	return dir
}

func write(t testing.TB, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
}

func load(t testing.TB, dir, text string) (*Config, []Warning, error) {
	t.Helper()
	path := filepath.Join(dir, "ztbridge.yaml")
	write(t, path, text, 0o644)
	return Load(path, nil)
}

func mustLoad(t testing.TB, text string) *Config {
	t.Helper()
	cfg, _, err := load(t, folder(t), text)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// minimal is the least that is enough; tests append to it.
const minimal = `zerotier: {networks: [abcdef0123000001]}
egress: {provider: {openvpn: {profile: provider.ovpn}}}
`

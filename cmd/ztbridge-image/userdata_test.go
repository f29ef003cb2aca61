package main

import (
	"os"
	"path/filepath"
	"testing"

	"ztbridge/bridge/config"
)

// What is packed has to be enough on a machine that has nothing else.
func TestPackedConfigurationLoads(t *testing.T) {
	here := t.TempDir()
	for name, text := range map[string]string{
		"box.yaml": `zerotier: {networks: [8056c2e21c000001]}
egress: {provider: {openvpn: {profile: provider.ovpn, credentials: login.txt}}}
endpoint: {address: vpn.example.org, listen: [udp/1194], https: {certificate: chain.pem, key: web.key}}
`,
		"provider.ovpn": "client\n", "login.txt": "user\nhunter2\n", "chain.pem": "chain", "web.key": "key", "other.ovpn": "client\n",
	} {
		write(t, filepath.Join(here, name), []byte(text))
	}
	files, err := configurationFiles(filepath.Join(here, "box.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	there := t.TempDir()
	for name, text := range files {
		write(t, filepath.Join(there, name), text)
	}
	if _, _, err := config.Load(filepath.Join(there, "ztbridge.yaml"), nil); err != nil {
		t.Errorf("with %d files: %v", len(files), err)
	}
	if _, ok := files["other.ovpn"]; ok {
		t.Error("a file went with it that the configuration does not name")
	}
}

func write(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

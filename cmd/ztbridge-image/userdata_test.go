package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ztbridge/bridge/config"
)

// What is packed has to be enough on a machine that has nothing else.
func TestPackedConfigurationLoads(t *testing.T) {
	here := t.TempDir()
	profile, err := os.ReadFile("../../bridge/openvpn/profile/testdata/profiles/pia-style.ovpn")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"box.yaml": `zerotier: {networks: [abcdef0123000001]}
egress: {provider: {openvpn: {profile: provider.ovpn, credentials: login.txt}}}
endpoint: {address: vpn.example.org, listen: [udp/1194], https: {certificate: chain.pem, key: web.key}}
`,
		"provider.ovpn": string(
			profile), "login.txt": "user\nhunter2\n", "chain.pem": "chain", "web.key": "key",
		"other.ovpn": "client\n",
	} {
		write(t, filepath.Join(here, name), []byte(text))
	}
	files, _, err := configurationFiles(filepath.Join(here, "box.yaml"))
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

// All files of a configuration come into one folder: two that are called the same cannot.
func TestFilesOfTwoFoldersAreNotPacked(t *testing.T) {
	here := t.TempDir()
	there := filepath.Join(here, "there")
	if err := os.Mkdir(there, 0o700); err != nil {
		t.Fatal(err)
	}
	profile, err := os.ReadFile("../../bridge/openvpn/profile/testdata/profiles/pia-style.ovpn")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"p.ovpn": string(profile),
		"there/p.ovpn": string(profile), "login": "user\nhunter2\n",
		"box.yaml": `zerotier: {networks: [abcdef0123000001]}
egress:
  a: {openvpn: {profile: there/p.ovpn, credentials: login}}
  b: {openvpn: {profile: p.ovpn, credentials: login}}
`} {
		write(t, filepath.Join(here, name), []byte(text))
	}
	files, _, err := configurationFiles(filepath.Join(here, "box.yaml"))
	if !errors.Is(err, errNotBeside) {
		t.Errorf("%d files, %v", len(files), err)
	}
}

// A profile with which no tunnel could ever be is found out here and not on a machine far away.
func TestUnusableProfileIsNotPacked(t *testing.T) {
	here := t.TempDir()
	write(t, filepath.Join(here, "ztbridge.yaml"),
		[]byte(
			"zerotier: {networks: [abcdef0123000001]}\negress: {provider: {openvpn: {profile: p.ovpn}}}\n"))
	write(t, filepath.Join(here, "p.ovpn"),
		[]byte("client\ndev tun\nremote 192.0.2.1 1194 udp\nca ca.crt\n"))
	out := filepath.Join(here, "user-data")
	var said bytes.Buffer
	code := run(t.Context(), []string{"user-data", "--config", filepath.Join(here, "ztbridge.yaml"),
		"--package-url", "https://example.org/a.deb",
		"--package-sha256", strings.Repeat("0", 64), "--without-zerotier", "-o", out}, io.Discard,
		&said)
	if _, err := os.Stat(out); code == 0 || !strings.Contains(said.String(), "p.ovpn") ||
		!errors.Is(err, os.ErrNotExist) {
		t.Errorf("exit code %d, %v: %s", code, err, &said)
	}
}

func write(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

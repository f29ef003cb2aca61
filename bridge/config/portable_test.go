package config

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What lies outside the configuration's directory gets a name beside it, and the text says so; all
// else of the text stays, comments included. The result is a configuration that loads.
func TestPortable(t *testing.T) {
	dir, elsewhere, other := folder(t), folder(t), folder(t)
	many := filepath.Join(elsewhere, "many")
	if err := os.MkdirAll(filepath.Join(many, "eu"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(many, "eu", "nl.ovpn"), "remote nl.example.org\n", 0o644)
	text := "# é: mine\nzerotier: {networks: [abcdef0123000001]}\negress:\n" +
		"  near: {openvpn: {profile: provider.ovpn, credentials: ./provider.auth}} # near\n" +
		"  far: {openvpn: {profile: \"" + elsewhere + "/provider.ovpn\", credentials: '" +
		elsewhere + "/provider.auth'}} # far\n" +
		"  again: {openvpn: {profile: " + other + "/provider.ovpn}}\n" +
		"  twice: {openvpn: {profile: " + other + "/provider.ovpn}}\n" +
		"  many: {openvpn: {profiles: " + many + "}}\n"
	path := filepath.Join(dir, "ztbridge.yaml")
	write(t, path, text, 0o600)
	p, err := LoadPortable(path)
	if err != nil {
		t.Fatal(err)
	}
	got := slices.Sorted(maps.Keys(p.Files))
	want := []string{"files/2-provider.ovpn", "files/many/eu/nl.ovpn", "files/provider.auth",
		"files/provider.ovpn", "provider.auth", "provider.ovpn"}
	if !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
	if strings.Contains(string(p.Text), elsewhere) || strings.Contains(string(p.Text), other) ||
		!strings.Contains(string(p.Text), "# é: mine\n") ||
		!strings.Contains(string(p.Text), "credentials: ./provider.auth}} # near\n") ||
		!strings.Contains(string(p.Text), "credentials: 'files/provider.auth'}} # far\n") {
		t.Errorf("the text became\n%s", p.Text)
	}
	moved := t.TempDir()
	for name, from := range p.Files {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(moved, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(moved, name), string(data), 0o600)
	}
	write(t, filepath.Join(moved, "ztbridge.yaml"), string(p.Text), 0o600)
	cfg, _, err := Load(filepath.Join(moved, "ztbridge.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range cfg.Files() {
		if !strings.HasPrefix(file, moved) {
			t.Errorf("%s is still named", file)
		}
	}
	if again, err := LoadPortable(filepath.Join(moved, "ztbridge.yaml")); err != nil ||
		string(again.Text) != string(p.Text) {
		t.Errorf("a portable one was changed again: %v\n%s", err, again.Text)
	}
}

// Names on one line are replaced wherever they stand, whatever the order in which they are read.
func TestPortableOnOneLine(t *testing.T) {
	dir, elsewhere := folder(t), folder(t)
	write(t, filepath.Join(elsewhere, "pw"), "secret\n", 0o600)
	path := filepath.Join(dir, "ztbridge.yaml")
	write(t, path, "{zerotier: {networks: [abcdef0123000001]}, egress: {a: {openvpn: {profile: "+
		elsewhere+"/provider.ovpn}}}, metrics: {listen: 127.0.0.1:9790, username: u, "+
		"password_file: "+elsewhere+"/pw}}\n", 0o600)
	p, err := LoadPortable(path)
	if err != nil || strings.Contains(string(p.Text), elsewhere) || len(p.Files) != 2 {
		t.Errorf("%v; files %q, the text became\n%s", err, p.Files, p.Text)
	}
}

// A configuration that would not come back is not taken.
func TestPortableRefuses(t *testing.T) {
	dir := folder(t)
	for name, text := range map[string]string{
		"missing file": "zerotier: {networks: [abcdef0123000001]}\negress: {a: {openvpn: {profile: gone.ovpn}}}\n",
		"mistake":      "zerotier: {networks: [abcdef0123000001]}\negres: {}\n",
	} {
		path := filepath.Join(dir, "ztbridge.yaml")
		write(t, path, text, 0o600)
		if _, err := LoadPortable(path); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := LoadPortable(filepath.Join(dir, "absent.yaml")); err == nil {
		t.Error("without a configuration")
	}
}

package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What the service does not see is warned of, unless it is beside the configuration; the list is
// that of the unit.
func TestUnseenPlaces(t *testing.T) {
	unit, err := os.ReadFile("../../configs/systemd/ztbridge.service")
	if err != nil || !strings.Contains(string(unit), "\nProtectHome=yes\n") ||
		!strings.Contains(string(unit), "\nPrivateTmp=yes\n") {
		t.Fatalf("the unit has another sandbox: %v", err)
	}
	for path, want := range map[string]string{
		"/home/1/p.ovpn": "/home", "/root/p.ovpn": "/root", "/run/user/1000/p.ovpn": "/run/user",
		"/tmp/p.ovpn":       "/tmp",
		"/var/tmp/x/p.ovpn": "/var/tmp", "/etc/ztbridge/p.ovpn": "", "/homes/p.ovpn": "",
		"/srv/home/1.ovpn": "", "": "",
	} {
		if got := unseenPlace(path, DefaultPath); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if got := unseenPlace("/home/1/vpn/p.ovpn", "/home/1/ztbridge.yaml"); got != "" {
		t.Errorf("beside a draft: %q", got)
	}
}

func TestCheckPlaces(t *testing.T) {
	dir, elsewhere := folder(t), folder(t)
	place := unseenPlace(elsewhere+"/x", DefaultPath)
	if place == "" {
		t.Skipf("%s is in no place that the service does not see", elsewhere)
	}
	if err := os.Symlink(filepath.Join(elsewhere, "backup.ovpn"),
		filepath.Join(dir, "link.ovpn")); err != nil {
		t.Fatal(err)
	}
	text := "zerotier: {networks: [abcdef0123000001]}\negress:\n  near: {openvpn: {profile: provider.ovpn, credentials: provider.auth}}\n" +
		"  far:\n    openvpn:\n      profile: " + elsewhere +
		"/provider.ovpn\n      credentials: " + elsewhere + "/provider.auth\n" +
		"  linked: {openvpn: {profile: link.ovpn}}\n"
	cfg, _, err := load(t, dir, text)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range cfg.CheckPlaces() {
		got = append(got, w.Key)
		if !strings.Contains(w.Text, "ztbridge.service sees nothing below "+place+"; move ") ||
			!strings.HasSuffix(w.Text, " to /etc/ztbridge") {
			t.Error(w)
		}
	}
	if want := "egress.far.openvpn.profile egress.far.openvpn.credentials egress.linked.openvpn.profile"; strings.Join(got, " ") != want {
		t.Errorf("warned of %q, want %s", got, want)
	}
	// To the service it is as if the file were not there.
	_, _, err = load(t, dir,
		"zerotier: {networks: [abcdef0123000001]}\negress: {far: {openvpn: {profile: "+elsewhere+
			"/gone.ovpn}}}\n")
	if err == nil || !strings.Contains(err.Error(),
		"gone.ovpn does not exist; if it is there: ztbridge.service sees nothing below "+place+
			", so move it to /etc/ztbridge") {
		t.Error(err)
	}
	_, _, err = load(t, dir,
		"zerotier: {networks: [abcdef0123000001]}\negress: {near: {openvpn: {profile: gone.ovpn}}}\n")
	if err == nil || !strings.Contains(err.Error(),
		"gone.ovpn does not exist; put the file there, or correct its name") {
		t.Error(err)
	}
}

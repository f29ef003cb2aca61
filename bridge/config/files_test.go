package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.yaml.in/yaml/v3"
)

const withCredentials = `zerotier: {networks: [abcdef0123000001]}
egress: {provider: {openvpn: {profile: provider.ovpn, credentials: provider.auth}}}
`

func TestCredentials(t *testing.T) {
	cfg := mustLoad(t, withCredentials)
	c := cfg.Egresses[0].OpenVPN.Credentials
	if c.Username.Reveal() != "user" || c.Password.Reveal() != "hunter2" {
		t.Errorf("got %q, %q", c.Username.Reveal(), c.Password.Reveal())
	}
}

func TestKeyPassphrase(t *testing.T) {
	for text, want := range map[string][3]string{
		"open sesame\n":                {"", "", "open sesame"},
		"user\nhunter2\nopen sesame\n": {"user", "hunter2", "open sesame"},
	} {
		dir := folder(t)
		write(t, filepath.Join(dir, "provider.auth"), text, 0o600)
		cfg, _, err := load(t, dir, withCredentials)
		if err != nil {
			t.Fatal(err)
		}
		c := cfg.Egresses[0].OpenVPN.Credentials
		if got := [3]string{c.Username.Reveal(), c.Password.Reveal(),
			c.KeyPassphrase.Reveal()}; got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestCredentialsMustBePrivate(t *testing.T) {
	for _, mode := range []os.FileMode{0o644, 0o640, 0o604, 0o660, 0o601} {
		dir := folder(t)
		write(t, filepath.Join(dir, "provider.auth"), "user\nhunter2\n", mode)
		_, _, err := load(t, dir, withCredentials)
		if !errors.Is(err, ErrInsecureMode) ||
			!strings.Contains(errorText(err), "run: chmod 600 "+dir) ||
			!strings.Contains(errorText(err),
				"ztbridge.yaml:2: egress.provider.openvpn.credentials: ") {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
}

func TestCredentialsContent(t *testing.T) {
	for text, good := range map[string]bool{
		"user\nhunter2":              true,
		"\ufeffuser\r\nhunter2\r\n":  true,
		"user\nhunter2\npassphrase":  true,
		"passphrase\n":               true,
		"user\n\npassphrase\n":       false,
		"user\nhunter2\nkey\nmore\n": false,
		"":                           false,
		"us\x00er\nhunter2\n":        false,
		"your-user-name\nhunter2\n":  false,
		"user\nyour-password\n":      false,
	} {
		dir := folder(t)
		write(t, filepath.Join(dir, "provider.auth"), text, 0o600)
		_, _, err := load(t, dir, withCredentials)
		if (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
		if strings.Contains(errorText(err), "hunter2") {
			t.Errorf("the password is in the message: %v", err)
		}
	}
}

// Whatever a path names, looking at it ends.
func TestReferencedFiles(t *testing.T) {
	dir := folder(t)
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"fifo", ".", "missing.ovpn", "/dev/zero"} {
		for _, key := range []string{"profile: provider.ovpn, credentials", "profile"} {
			_, _, err := load(t, dir,
				"zerotier: {networks: [abcdef0123000001]}\negress: {p: {openvpn: {"+key+": "+name+
					"}}}\n")
			if !errors.Is(err, ErrFile) && !errors.Is(err, ErrInsecureMode) {
				t.Errorf("%s: %s: %v", key, name, err)
			}
		}
	}
	if _, _, err := Load(fifo, nil); !errors.Is(err, ErrFile) {
		t.Errorf("configuration is a FIFO: %v", err)
	}
}

func TestSecretNeverPrints(t *testing.T) {
	type holder struct {
		Password Secret
		Deep     *Credentials
	}
	h := holder{NewSecret("hunter2"), &Credentials{Password: NewSecret("hunter2")}}
	var log strings.Builder
	logger := slog.New(slog.NewJSONHandler(&log, nil))
	logger.Info("x", "secret", h.Password, "holder", h, "deep", h.Deep)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", h.Password, "holder", h, "deep",
		h.Deep)
	inJSON, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	inYAML, err := yaml.Marshal(map[string]any{"a": h.Password, "b": h.Deep.Password})
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{log.String(), string(inJSON), string(inYAML), h.Password.String(),
		fmt.Sprint(h.Deep.Password)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10s"} {
		texts = append(texts, fmt.Sprintf(verb, h.Password), fmt.Sprintf(verb, h),
			fmt.Sprintf(verb, *h.Deep))
	}
	for _, text := range texts {
		for _, leak := range []string{"hunter2", "68756e746572", "104 117"} {
			if strings.Contains(strings.ToLower(text), leak) {
				t.Errorf("the secret shows in %s", text)
			}
		}
	}
	if !strings.Contains(string(inJSON), redacted) {
		t.Errorf("JSON does not say that something is left out: %s", inJSON)
	}
}

// What is shown of a configuration with credentials names their file and not their content.
func TestShowKeepsSecrets(t *testing.T) {
	shown, err := mustLoad(t, withCredentials).Show()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(shown), "hunter2") ||
		!strings.Contains(string(shown), "provider.auth") {
		t.Errorf("shown:\n%s", shown)
	}
}

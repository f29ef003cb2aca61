package userdata

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"ztbridge/bridge/config"
	"ztbridge/bridge/openvpn/profile"
	"ztbridge/image/device/cloudconfig"
)

const example = "../../../configs/examples/user-data.yaml"

// The example is what cloud-init takes, fits every cloud, and its script has no mistake.
func TestExample(t *testing.T) {
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > EC2Limit {
		t.Errorf("the example has %d bytes", len(text))
	}
	var c cloudconfig.Config
	if err := yaml.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	if c.RunCmd[0][0] != installer {
		t.Errorf("it runs %v", c.RunCmd)
	}
	for _, f := range c.Files {
		if f.Path != installer {
			if f.Permissions != "0600" {
				t.Errorf("%s has mode %s", f.Path, f.Permissions)
			}
			continue
		}
		script := filepath.Join(t.TempDir(), "script")
		if err := os.WriteFile(script, []byte(f.Content), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, judge := range [][]string{{"sh", "-n"}, {"shellcheck", "-e", "SC1091"}} {
			if _, err := exec.LookPath(judge[0]); err != nil {
				continue
			}
			out, err := exec.Command(judge[0], append(judge[1:], script)...).CombinedOutput()
			if err != nil {
				t.Errorf("%s: %s", judge[0], out)
			}
		}
	}
	if _, err := exec.LookPath("cloud-init"); err != nil {
		t.Skip("SKIPPED: cloud-init is not installed")
	}
	out, err := exec.Command("cloud-init", "schema", "--config-file", example).CombinedOutput()
	if err != nil {
		t.Errorf("cloud-init schema: %s", out)
	}
}

// Our own image takes the configuration out of the same text.
func TestExampleOnImage(t *testing.T) {
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	files, err := cloudconfig.Configuration(text)
	if err != nil || len(files) != 3 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	if !strings.Contains(string(files["ztbridge.yaml"]), "your-16-digit-network-id") {
		t.Errorf("the configuration is %s", files["ztbridge.yaml"])
	}
}

// Each of the example's three edits that was forgotten is an error of the configuration, which
// names it: the installer shows it on the console, and `ztbridge status` as well.
func TestForgottenEdits(t *testing.T) {
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	edits := map[string]func(files map[string][]byte){
		"your-16-digit-network-id": func(files map[string][]byte) {
			files["ztbridge.yaml"] = bytes.ReplaceAll(files["ztbridge.yaml"],
				[]byte("your-16-digit-network-id"), []byte("abcdef0123000001"))
		},
		"provider.ovpn": func(files map[string][]byte) {
			files["provider.ovpn"] = []byte(testProfile(t))
		},
		"stand for your credentials": func(files map[string][]byte) {
			files["provider.auth"] = []byte("user\npassword\n")
		},
	}
	for _, forgotten := range append(slices.Collect(maps.Keys(edits)), "") {
		files, err := cloudconfig.Configuration(text)
		if err != nil {
			t.Fatal(err)
		}
		for words, edit := range edits {
			if words != forgotten {
				edit(files)
			}
		}
		dir := t.TempDir()
		for name, content := range files {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, _, err = config.Load(filepath.Join(dir, "ztbridge.yaml"), nil)
		if _, _, wrong := profile.Load(filepath.Join(dir, "provider.ovpn"),
			profile.Options{}); wrong != nil {
			err = fmt.Errorf("provider.ovpn: %w", wrong)
		}
		if forgotten == "" && err != nil {
			t.Errorf("with all edits: %v", err)
		}
		if forgotten != "" && (err == nil || !strings.Contains(err.Error(), forgotten)) {
			t.Errorf("without the edit of %q: %v", forgotten, err)
		}
	}
}

// testProfile is a provider's profile with an authority of its own.
func testProfile(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true,
		BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(1000 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return "client\ndev tun\nproto udp\nremote 192.0.2.1 1194\nremote-cert-tls server\n" +
		"auth-user-pass\n<ca>\n" + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE",
		Bytes: der})) + "</ca>\n"
}

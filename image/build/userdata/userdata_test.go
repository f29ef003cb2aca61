package userdata

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"ztbridge/image/device/cloudconfig"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const sum = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func options() Options {
	return Options{
		Files: map[string][]byte{"ztbridge.yaml": []byte("egress: {}\n"),
			"provider.ovpn": []byte("remote a 1\n<ca>\n  indented: \"x\"\n</ca>\n"),
			"provider.auth": []byte("user\n: p#'\"w \n")},
		Package:  Download{"https://example.org/ztbridge_1.0.0_amd64.deb", sum},
		ZeroTier: &Download{"https://example.org/zerotier-one_1.deb", sum},
	}
}

func repository(t *testing.T) *Repository {
	t.Helper()
	entity, err := openpgp.NewEntity("test", "", "test@example.org", nil)
	if err != nil {
		t.Fatal(err)
	}
	var key bytes.Buffer
	w, err := armor.Encode(&key, openpgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(entity.Serialize(w), w.Close()); err != nil {
		t.Fatal(err)
	}
	return &Repository{"https://download.example.org/debian", "trixie", key.Bytes(),
		hex.EncodeToString(entity.PrimaryKey.Fingerprint)}
}

func TestGolden(t *testing.T) {
	got, err := Generate(options())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", "user-data")
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The files must arrive byte for byte, whatever YAML thinks of them, and nobody but root may read
// them.
func TestFilesArriveUnchanged(t *testing.T) {
	o := options()
	out, err := Generate(o)
	if err != nil {
		t.Fatal(err)
	}
	var back cloudconfig.Config
	if err := yaml.Unmarshal(out, &back); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, f := range back.Files {
		if want, ok := o.Files[filepath.Base(f.Path)]; ok {
			seen++
			if f.Content != string(want) || f.Permissions != "0600" || f.Owner != "root:root" {
				t.Errorf("%s arrives as %q with %s of %s", f.Path, f.Content, f.Permissions,
					f.Owner)
			}
		}
	}
	if seen != len(o.Files) {
		t.Errorf("%d of %d files arrive", seen, len(o.Files))
	}
}

func TestCloudInitAcceptsIt(t *testing.T) {
	if _, err := exec.LookPath("cloud-init"); err != nil {
		t.Skip("SKIPPED: cloud-init is not installed")
	}
	withRepository := options()
	withRepository.ZeroTier, withRepository.Repository = nil, repository(t)
	for name, o := range map[string]Options{"packages": options(), "repository": withRepository} {
		t.Run(name, func(t *testing.T) {
			out, err := Generate(o)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "user-data")
			if err := os.WriteFile(file, out, 0o600); err != nil {
				t.Fatal(err)
			}
			if said, err := exec.Command("cloud-init", "schema", "--config-file",
				file).CombinedOutput(); err != nil {
				t.Errorf("cloud-init schema: %v: %s", err, said)
			}
		})
	}
}

func TestInstallerIsShell(t *testing.T) {
	out, err := Generate(options())
	if err != nil {
		t.Fatal(err)
	}
	var back cloudconfig.Config
	if err := yaml.Unmarshal(out, &back); err != nil {
		t.Fatal(err)
	}
	script := back.Files[len(back.Files)-1].Content
	cmd := exec.Command("sh", "-n")
	cmd.Stdin = strings.NewReader(script)
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("sh: %s", said)
	}
	if _, err := exec.LookPath("shellcheck"); err != nil {
		t.Skip("SKIPPED: shellcheck is not installed")
	}
	cmd = exec.Command("shellcheck", "-")
	cmd.Stdin = strings.NewReader(script)
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("shellcheck: %s", said)
	}
}

func TestRefusals(t *testing.T) {
	tests := map[string]func(o *Options){
		"no configuration": func(o *Options) { delete(o.Files, "ztbridge.yaml") },
		"no encryption":    func(o *Options) { o.Package.URL = "http://example.org/a.deb" },
		"a command in the name": func(o *Options) {
			o.Package.URL = "https://example.org/';reboot;'"
		},
		"a short sum":          func(o *Options) { o.Package.SHA256 = "0123" },
		"a command in the sum": func(o *Options) { o.ZeroTier.SHA256 = sum + ";reboot" },
		"another key than meant": func(o *Options) {
			o.ZeroTier, o.Repository.Fingerprint = nil,
				strings.Repeat("0", 40)
		},
		"no key": func(o *Options) {
			o.ZeroTier, o.Repository.Key = nil,
				[]byte("x")
		},
		"options in the suite": func(o *Options) {
			o.ZeroTier, o.Repository.Suite = nil,
				"trixie main\ndeb"
		},
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			o := options()
			o.Repository = repository(t)
			spoil(&o)
			if out, err := Generate(o); err == nil {
				t.Errorf("accepted:\n%s", out)
			}
		})
	}
	o := options()
	o.Files["large.ovpn"] = bytes.Repeat([]byte("x\n"), Limit/2)
	if _, err := Generate(o); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
}

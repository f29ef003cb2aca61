package userdata

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

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

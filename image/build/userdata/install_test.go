package userdata

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// At the first start others work on packages too, and mirrors are away for moments.
func TestInstallerWaits(t *testing.T) {
	for _, tt := range []struct {
		fail string // how many attempts do
		good bool
	}{{"0", true}, {"2", true}, {"9", false}} {
		dir := t.TempDir()
		for name, text := range map[string]string{
			"sleep": "#!/bin/sh\n",
			"apt-get": `#!/bin/sh
[ "$1" = install ] || exit 0
case "$*" in *DPkg::Lock::Timeout=*) ;; *) exit 100 ;; esac
echo x >>"$COUNT"
[ "$(wc -l <"$COUNT")" -gt "$FAIL" ]
`,
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		console := filepath.Join(dir, "console")
		cmd := exec.Command("sh", "-c", strings.ReplaceAll(installHead, "/dev/console", console)+
			"install_debs package.deb\n")
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "FAIL="+tt.fail,
			"COUNT="+filepath.Join(dir, "count"))
		out, err := cmd.CombinedOutput()
		if (err == nil) != tt.good {
			t.Errorf("%s failures: %v: %s", tt.fail, err, out)
		}
		if told, _ := os.ReadFile(console); strings.Contains(string(told),
			"not installed") == tt.good {
			t.Errorf("%s failures: the console shows %q", tt.fail, told)
		}
	}
}

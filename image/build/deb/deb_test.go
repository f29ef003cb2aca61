package deb

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const topHelp = `What it does.

Usage:
  ztbridge [flags]
  ztbridge [command]

Available Commands:
  help        Help about any command
  status      Say what is going on

Flags:
  -h, --help   help for ztbridge

Use "ztbridge [command] --help" for more information about a command.
`

func TestParseHelp(t *testing.T) {
	got := parseHelp("ztbridge", topHelp)
	want := help{name: "ztbridge", text: "What it does.\n\n",
		usage: "  ztbridge [flags]\n  ztbridge [command]\n\n",
		flags: "  -h, --help   help for ztbridge\n\n", commands: []string{"status"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(help{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// groff must find nothing to warn about, and nothing of the text may be taken for a request.
func TestManPageIsCleanRoff(t *testing.T) {
	page := manPage([]help{parseHelp("ztbridge", topHelp), {name: "ztbridge status",
		text: ".hidden request\n'another\na\\b --flag\n"}}, time.Unix(0, 0).UTC())
	for _, want := range []string{`.TH ZTBRIDGE 1 "1970-01-01"`, `\&.hidden request`, `\&'another`,
		`a\eb \-\-flag`} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in the page:\n%s", want, page)
		}
	}
	if _, err := exec.LookPath("groff"); err != nil {
		t.Skip("SKIPPED: groff is not installed")
	}
	cmd := exec.Command("groff", "-man", "-Tascii", "-ww")
	cmd.Stdin = strings.NewReader(page)
	var problem strings.Builder
	cmd.Stderr = &problem
	if out, err := cmd.Output(); err != nil || problem.Len() > 0 ||
		!strings.Contains(string(out), ".hidden request") {
		t.Errorf("groff: %v, %s", err, problem.String())
	}
}

// The package must not act on the example's values.
func TestPackagedConfigurationIsCommentedOut(t *testing.T) {
	reference, err := os.ReadFile("../../../configs/ztbridge.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(string(commentedOut(reference)), "\n") {
		if trimmed := strings.TrimSpace(line); trimmed != "" && trimmed[0] != '#' {
			t.Errorf("line %d is in force: %s", i+1, line)
		}
	}
}

func TestMaintainerScripts(t *testing.T) {
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		file := filepath.Join("files", script)
		if out, err := exec.Command("sh", "-n", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %s", script, out)
		}
		if _, err := exec.LookPath("shellcheck"); err == nil {
			if out, err := exec.Command("shellcheck", file).CombinedOutput(); err != nil {
				t.Errorf("%s: %s", script, out)
			}
		}
	}
}

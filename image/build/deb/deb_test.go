package deb

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// groff must find nothing to warn about, and nothing of the text may be taken for a request.
func TestManualOfConfigurationIsCleanRoff(t *testing.T) {
	page := configPage([]byte(".hidden request\n'another\na\\b --flag\n"), time.Unix(0, 0).UTC())
	for _, want := range []string{`.TH ZTBRIDGE.YAML 5 "1970-01-01"`, `\&.hidden request`,
		`\&'another`, `a\eb \-\-flag`} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in the page:\n%s", want, page)
		}
	}
	if shown := formatted(t, page); !strings.Contains(shown, ".hidden request") {
		t.Errorf("groff shows\n%s", shown)
	}
}

// formatted is what groff makes of a page. It must not warn.
func formatted(t *testing.T, page string) string {
	t.Helper()
	if _, err := exec.LookPath("groff"); err != nil {
		t.Skip("SKIPPED: groff is not installed")
	}
	cmd := exec.Command("groff", "-man", "-Tascii", "-ww", "-P", "-cbou")
	cmd.Stdin = strings.NewReader(page)
	var problem strings.Builder
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if err != nil || problem.Len() > 0 {
		t.Errorf("groff: %v, %s", err, problem.String())
	}
	return string(out)
}

// Each command has a page, which is what the program itself says about it.
func TestManualOfCommands(t *testing.T) {
	folder := t.TempDir()
	err := Manual(t.Context(), "../../..", time.Unix(1767225600, 0).UTC(), folder)
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob(filepath.Join(folder, "*.1"))
	if err != nil || len(pages) < 10 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		if shown := formatted(t, string(text)); !strings.Contains(shown, "SYNOPSIS") ||
			!strings.Contains(string(text), `"Jan 2026"`) {
			t.Errorf("%s:\n%s", filepath.Base(page), shown)
		}
	}
}

// What the configuration's comments lead to is in the package.
func TestPackagedDocuments(t *testing.T) {
	s := stage{dir: t.TempDir(), when: time.Unix(1767225600, 0).UTC()}
	if err := s.sources(Options{Source: "../../..", Version: "0.1.0"}); err != nil {
		t.Fatal(err)
	}
	var packed []string
	for _, c := range s.contents {
		packed = append(packed, c.Destination)
	}
	for _, name := range []string{"prometheus/alerts.yaml", "prometheus/grafana.json",
		"prometheus/README.md", "examples/ztbridge.yaml"} {
		if !slices.Contains(packed, "/usr/share/doc/ztbridge/"+name) {
			t.Errorf("%s is not packed", name)
		}
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

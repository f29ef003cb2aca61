package build

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ztbridge/image/build/pkglock"
)

// The bill of materials names everything aboard, and does not tell by which mirror it was built.
func TestBillOfMaterials(t *testing.T) {
	program := compiled(t)
	b := &build{Options: Options{
		Profile: Profile{
			Target: "cloud-amd64"}, Version: "1.2.3", Init: program, Appliance: program,
		Deb:         packed(t, "ztbridge", "1.2.3", map[string][]byte{"usr/bin/ztbridge": program}),
		ZeroTierDeb: packed(t, "zerotier-one", "1.14.2", nil),
		Lock: &pkglock.Lock{Date: time.Unix(1767225600, 0).UTC(), Packages: []pkglock.Package{
			{Name: "bash", Version: "5.2+b1", Arch: "amd64", SHA256: "00",
				Path: "debian/pool/main/b/bash/bash.deb"},
			{Name: "apt", Version: "3.0", Arch: "amd64", SHA256: "11",
				Path: "debian-security/pool/updates/main/a/apt/apt.deb"},
		}},
	}}
	text := func(mirror string) string {
		b.Mirror = mirror
		doc, err := b.spdx(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	got := text("http://mirror.example")
	for _, want := range []string{
		"https://deb.debian.org/debian/pool/main/b/bash/bash.deb",
		"https://deb.debian.org/debian-security/pool/updates/main/a/apt/apt.deb",
		"pkg:deb/debian/bash@5.2%2Bb1?arch=amd64", "pkg:deb/ztbridge/ztbridge@1.2.3?arch=amd64",
		"pkg:deb/zerotier/zerotier-one@1.14.2?arch=amd64",
		"pkg:golang/golang.org/x/sys@v", "pkg:golang/std@1.",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the bill does not say %s", want)
		}
	}
	for _, mirror := range []string{"http://mirror.example", "http://other.example"} {
		if again := text(mirror); again != got {
			t.Errorf("built again by %s, the bill is another one:\n%s\n%s", mirror, got, again)
		}
	}
}

// compiled returns the smallest of our programs.
func compiled(t *testing.T) []byte {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("SKIPPED: go is not installed")
	}
	file := filepath.Join(t.TempDir(), "init")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", file, "../device/init")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	program, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// packed makes a package.
func packed(t *testing.T, name, version string, files map[string][]byte) string {
	t.Helper()
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("SKIPPED: dpkg-deb is not installed")
	}
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	all := map[string][]byte{"DEBIAN/control": fmt.Appendf(nil,
		"Package: %s\nVersion: %s\nArchitecture: amd64\nMaintainer: a <a@example.org>\nDescription: for a test\n", name, version)}
	for file, data := range files {
		all[file] = data
	}
	for file, data := range all {
		file = filepath.Join(root, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, name+".deb")
	if text, err := exec.CommandContext(context.Background(), "dpkg-deb", "-Znone",
		"--root-owner-group", "-b", root, out).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return out
}

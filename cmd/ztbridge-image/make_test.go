package main

import (
	"os/exec"
	"strings"
	"testing"
)

// The documented commands give what is built its version, and an image the key for its updates.
func TestMakePassesVersionAndKey(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("SKIPPED: make is not installed")
	}
	for _, c := range []struct {
		args string
		want string
	}{
		{"deb RELEASE=v1.2.3", "deb --version 1.2.3 -o dist"},
		{"image RELEASE=v1.2.3 TARGET=rpi-arm64 UPDATE_KEY=update.pub",
			"--target rpi-arm64 --version 1.2.3 --without-zerotier --update-key update.pub -o ztbridge-rpi-arm64"},
		{"image RELEASE=1.2.3",
			"--target cloud-amd64 --version 1.2.3 --without-zerotier -o ztbridge-cloud-amd64"},
	} {
		out, err := exec.Command("make",
			append([]string{"-n", "-C", "../.."}, strings.Fields(c.args)...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("make -n %s: %v\n%s", c.args, err, out)
		}
		line := strings.Join(strings.Fields(strings.ReplaceAll(string(out), "\\\n", " ")), " ")
		if !strings.Contains(line, c.want) {
			t.Errorf("make %s runs %q, want %q in it", c.args, line, c.want)
		}
	}
}

// A package that is built without a word about its version is newer than the one before.
func TestMakeHasAVersionByItself(t *testing.T) {
	for _, program := range []string{"make", "git"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("SKIPPED: %s is not installed", program)
		}
	}
	if err := exec.Command("git", "log", "-1").Run(); err != nil {
		t.Skip("SKIPPED: this is no checkout of git, or another user's")
	}
	out, err := exec.Command("make", "-n", "-C", "../..", "deb").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Contains(string(out), "--version 0.0.0 ") ||
		!strings.Contains(string(out), "--version ") {
		t.Errorf("the version says nothing:\n%s", out)
	}
}

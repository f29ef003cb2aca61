package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const unitDir = "../../configs/systemd"

// Every unit starts a command that there is.
func TestUnitsStartCommands(t *testing.T) {
	paths, err := filepath.Glob(unitDir + "/*.service")
	if err != nil || len(paths) < 2 {
		t.Fatalf("found %v, %v", paths, err)
	}
	start := regexp.MustCompile(`(?m)^ExecStart=/usr/bin/ztbridge (.*)$`)
	for _, path := range paths {
		unit, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		match := start.FindSubmatch(unit)
		if match == nil {
			t.Errorf("%s does not start ztbridge", path)
			continue
		}
		p := &program{out: io.Discard, err: io.Discard, env: func(string) string { return "" }}
		if cmd, rest, err := p.root().Find(strings.Fields(string(match[1]))); err != nil ||
			len(rest) > 0 || !cmd.Runnable() {
			t.Errorf("%s starts %q: %v", path, match[1], err)
		}
	}
}

// A crash of the daemon, also one by the watchdog's SIGABRT, ends with Go's code 2 and is no reason
// to stay down; a wrong command line is.
func TestUnitsRestartAfterCrash(t *testing.T) {
	var paths []string
	for _, pattern := range []string{unitDir + "/*.service",
		"../../image/build/files/*/usr/lib/systemd/system/*.service"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) < 2 {
			t.Fatalf("%s: found %v, %v", pattern, found, err)
		}
		paths = append(paths, found...)
	}
	final := regexp.MustCompile(`(?m)^RestartPreventExitStatus=(.*)$`)
	for _, path := range paths {
		unit, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		match := final.FindSubmatch(unit)
		switch {
		case filepath.Base(path) == "ztbridge.service" &&
			(match == nil || string(match[1]) != strconv.Itoa(exitUsage)):
			t.Errorf("%s stays down after %q, not after a wrong command line", path, match)
		case match != nil && slices.Contains(strings.Fields(string(match[1])), "2"):
			t.Errorf("%s stays down after a crash: %s", path, match[0])
		}
	}
	const crash = 2
	if slices.Contains([]int{exitOK, exitError, exitState, exitUsage}, crash) {
		t.Error("an exit code of the program is that of a crash")
	}
}

// What is installed without the package has no manual, and its units do not point to one.
func TestInstallScriptsUnits(t *testing.T) {
	checkout, root := t.TempDir(), t.TempDir()
	for _, dir := range []string{"configs", "scripts"} {
		if err := os.CopyFS(filepath.Join(checkout, dir), os.DirFS("../../"+dir)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(checkout, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(checkout, "bin/ztbridge"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(checkout, "scripts/install.sh")
	run := func(args ...string) {
		cmd := exec.Command("sh", append([]string{script}, args...)...)
		cmd.Env = append(os.Environ(), "DESTDIR="+root)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	run()
	entries, err := os.ReadDir(filepath.Join(root, "etc/systemd/system"))
	if err != nil || len(entries) != 4 {
		t.Fatalf("installed are %v, %v", entries, err)
	}
	for _, e := range entries {
		unit, err := os.ReadFile(filepath.Join(root, "etc/systemd/system", e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Ext(e.Name()) == ".service" &&
			!strings.Contains(string(unit), "ExecStart=/usr/bin/ztbridge") || strings.Contains(string(unit), "man:") {
			t.Errorf("%s is installed as\n%s", e.Name(), unit)
		}
	}
	run("--uninstall")
	if entries, err := os.ReadDir(filepath.Join(root, "etc/systemd/system")); err != nil ||
		len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// exposure is what systemd-analyze finds of each unit, in tenths, of 100 at most. It must not grow.
var exposure = map[string]string{"ztbridge.service": "25", "ztbridge-guard.service": "20",
	"ztbridge-import@.service": "37"}

// systemd understands the units, and they leave an attacker no more than they did.
func TestUnitsVerify(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed: the units are not verified")
	}
	paths, err := filepath.Glob(unitDir + "/*.service")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, path := range paths {
		unit, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// The program and its manual need not be installed where this runs.
		text := strings.ReplaceAll(string(unit), "/usr/bin/ztbridge", "/bin/true")
		text = regexp.MustCompile(`(?m)^Documentation=.*\n`).ReplaceAllString(text, "")
		copied := filepath.Join(dir, filepath.Base(path))
		if err := os.WriteFile(copied, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(analyze, "security", "--offline=true",
			"--threshold="+exposure[filepath.Base(path)], copied).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", path, err, out)
		}
	}
	args := []string{"verify", "--man=no"}
	for _, path := range paths {
		args = append(args, filepath.Join(dir, filepath.Base(path)))
	}
	const socket = "ztbridge-import.socket"
	unit, err := os.ReadFile(filepath.Join(unitDir, socket))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, socket), unit, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	args = append(args, filepath.Join(dir, socket))
	if out, err := exec.Command(analyze, args...).CombinedOutput(); err != nil ||
		len(strings.TrimSpace(string(out))) > 0 {
		t.Errorf("verify: %v\n%s", err, out)
	}
}

// firewallUnits are the units of Debian 12 that load filters before the network is up, as far as
// order goes.
var firewallUnits = map[string]string{
	"nftables":             "Wants=network-pre.target\nBefore=network-pre.target shutdown.target\nConflicts=shutdown.target\n",
	"netfilter-persistent": "Wants=network-pre.target systemd-modules-load.service local-fs.target\nBefore=network-pre.target shutdown.target\nAfter=systemd-modules-load.service local-fs.target\nConflicts=shutdown.target\n",
	"ufw":                  "Wants=local-fs.target network-pre.target\nBefore=network-pre.target\nAfter=local-fs.target\n",
}

// What loads filters at boot may begin with flushing everybody's: the guard closes after it, and
// still before the network.
func TestGuardClosesAfterFirewalls(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed: the units are not verified")
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	guard, err := os.ReadFile(unitDir + "/ztbridge-guard.service")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(guard), "/usr/bin/ztbridge", "/bin/true")
	args := []string{"verify", "--man=no", write("ztbridge-guard.service", text)}
	for name, order := range firewallUnits {
		if !regexp.MustCompile(`(?m)^After=(.* )?` + name + `\.service\b`).MatchString(text) {
			t.Errorf("the guard may close before %s.service, and that may open it again", name)
		}
		unit := "[Unit]\nDescription=" + name + "\nDefaultDependencies=no\n" + order +
			"[Service]\nType=oneshot\nExecStart=/bin/true\n"
		args = append(args, write(name+".service", unit))
	}
	if !regexp.MustCompile(`(?m)^Before=(.* )?network-pre\.target\b`).MatchString(text) {
		t.Error("the guard may close when the network is up")
	}
	// A cycle would be cut by leaving some unit out.
	write("boot.target",
		"[Unit]\nDescription=boot\nWants=ztbridge-guard.service nftables.service netfilter-persistent.service ufw.service network-pre.target\n")
	cmd := exec.Command(analyze, append(args, filepath.Join(dir, "boot.target"))...)
	cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":")
	if out, err := cmd.CombinedOutput(); err != nil || len(strings.TrimSpace(string(out))) > 0 {
		t.Errorf("verify: %v\n%s", err, out)
	}
}

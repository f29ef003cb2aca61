package release

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ztbridge/image/build/aptkey"
	"ztbridge/image/build/deb"
)

// README's lines, in clean roots of the releases that we name: apt takes our package from the
// served tree, an upgrade follows, and what another key has signed, or somebody has changed, is
// refused.
func TestLongInstallInCleanRoots(t *testing.T) {
	if os.Getenv("ZTBRIDGE_LONG") == "" {
		t.Skip("SKIPPED: long: it makes whole Debian roots; run make test-long")
	}
	need(t, "mmdebstrap", "reprepro", "go", "curl")
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: making a root needs root's rights")
	}
	keys := testKeys(t)
	tree := t.TempDir()
	release := func(version string) {
		file, err := deb.Build(t.Context(), deb.Options{Source: "../../..", Arch: "amd64",
			Version: version, Date: when, Out: t.TempDir()})
		must(t, err)
		must(t, os.RemoveAll(filepath.Join(tree, "apt")))
		must(t, repository(t.Context(), filepath.Join(tree, "apt"), []string{file}, when, keys.Apt))
	}
	public, err := aptkey.Armor(keys.Apt)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(tree, "ztbridge.asc"), public, 0o644))
	server := httptest.NewServer(http.FileServer(http.Dir(tree)))
	defer server.Close()
	for _, suite := range []string{"bookworm", "trixie"} {
		t.Run(suite, func(t *testing.T) {
			release("1.0.0")
			root := cleanRoot(t, suite)
			root.sh("set -e\nmkdir -p /etc/apt/keyrings\n" +
				"curl -fsSLo /etc/apt/keyrings/ztbridge.asc " + server.URL + "/ztbridge.asc\n" +
				"echo 'deb [signed-by=/etc/apt/keyrings/ztbridge.asc] " + server.URL +
				"/apt stable main' >/etc/apt/sources.list.d/ztbridge.list\n" +
				"apt-get -q update && apt-get -q -y install ztbridge")
			if got := root.sh("ztbridge version"); !strings.HasPrefix(got, "ztbridge 1.0.0 ") {
				t.Errorf("installed: %s", got)
			}
			root.sh("mkdir -p /run/ztbridge; ztbridge config check; test $? -le 1")

			release("1.0.1")
			root.sh("apt-get -q update && apt-get -q -y upgrade")
			if got := root.sh("ztbridge version"); !strings.HasPrefix(got, "ztbridge 1.0.1 ") {
				t.Errorf("after apt upgrade: %s", got)
			}

			index := filepath.Join(tree, "apt/dists/stable/InRelease")
			text, err := os.ReadFile(index)
			must(t, err)
			must(t, os.WriteFile(index, []byte(strings.Replace(string(text), "Label: ztbridge",
				"Label: another", 1)), 0o644))
			root.refuses("a changed index", "BADSIG", "Message has been manipulated")
			strangers := testKeys(t)
			must(t, signIndex(filepath.Dir(index), []byte(contents(t,
				filepath.Dir(index))["Release"]), when, strangers.Apt))
			root.refuses("an index that another key has signed", "NO_PUBKEY", "Missing key")
			root.sh("apt-get -q -y purge ztbridge && ! test -e /etc/ztbridge")
		})
	}
}

// chroot is a Debian root in a folder, which shares this machine's network.
type chroot struct {
	t   *testing.T
	dir string
}

func cleanRoot(t *testing.T, suite string) chroot {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "root")
	out, err := exec.Command("mmdebstrap", "--quiet", "--variant=apt", "--include=ca-certificates,curl",
		suite, dir).CombinedOutput()
	if err != nil {
		t.Skipf("SKIPPED: no root of %s could be made: %s", suite, out)
	}
	resolver, err := os.ReadFile("/etc/resolv.conf")
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "etc/resolv.conf"), resolver, 0o644))
	return chroot{t, dir}
}

func (c chroot) run(script string) (string, error) {
	cmd := exec.Command("chroot", c.dir, "sh", "-c", script)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive",
		"LC_ALL=C"}
	for _, variable := range []string{"http_proxy", "https_proxy", "no_proxy"} {
		if value := os.Getenv(variable); value != "" {
			cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%s", variable, value))
		}
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (c chroot) sh(script string) string {
	c.t.Helper()
	out, err := c.run(script)
	if err != nil {
		c.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return out
}

// refuses expects apt to find fault with our repository.
// The reasons are gpgv's, up to Debian 12, and sqv's.
func (c chroot) refuses(what string, reasons ...string) {
	c.t.Helper()
	out, err := c.run("rm -rf /var/lib/apt/lists/*; apt-get -q update -o APT::Update::Error-Mode=any")
	if err == nil || !slices.ContainsFunc(reasons,
		func(reason string) bool { return strings.Contains(out, reason) }) {
		c.t.Errorf("%s: apt ends with %v, want one of %q:\n%s", what, err, reasons, out)
	}
}

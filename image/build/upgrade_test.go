package build

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/lab"
	"ztbridge/image/build/deb"
	"ztbridge/policyroute/netlab"
)

// dpkg upgrades our package and openvpn while a client talks: nothing leaks, the daemon that runs
// afterwards is the new one, and everything flows again.
func TestLongUpgradeUnderTraffic(t *testing.T) {
	netlab.Long(t, "installs and upgrades packages in a Debian that is started")
	archive := os.Getenv("ZTBRIDGE_ROOT_TAR")
	if archive == "" {
		t.Skip("SKIPPED: needs ZTBRIDGE_ROOT_TAR, the archive of a Debian that ztbridge-image " +
			"build has cached")
	}
	need(t, "dpkg-deb", "go")
	r, box := containerRig(t, archive, lab.Options{})
	before, after := packageOf(t, releaseBefore(t), "1.0.0"), packageOf(t, "../..", "2.0.0")
	for name, file := range map[string]string{"before": before, "after": after,
		"openvpn": newer(t, cachedPackage(t, archive, "openvpn"))} {
		tool(t, "cp", file, filepath.Join(box.dir, "root", name+".deb"))
	}
	box.put("etc/ztbridge/ztbridge.yaml", strings.ReplaceAll(jobConfig, "enp0s17",
		lab.IngressIface), 0o600)
	box.put("etc/ztbridge/provider.ovpn", r.lab.Providers[0].Config(), 0o600)
	box.put("etc/ztbridge/provider.auth", customer.User+"\n"+customer.Password+"\n", 0o600)
	box.start(r.lab.Box)
	r.mustSSH("dpkg -i /root/before.deb && systemctl enable --now " +
		"ztbridge-guard.service ztbridge.service")
	r.startStreams()
	r.awaitFlow("the installation")

	old := r.mustSSH("systemctl show -p MainPID ztbridge")
	r.mustSSH("dpkg -i /root/after.deb")
	if out := r.mustSSH("ztbridge version"); !strings.HasPrefix(out, "ztbridge 2.0.0 ") {
		t.Errorf("after the upgrade: %s", out)
	}
	r.await("ztbridge status --json", `"version": "2.0.0"`)
	if fresh := r.mustSSH("systemctl show -p MainPID ztbridge"); fresh == old {
		t.Error("the old daemon runs on")
	}
	r.awaitFlow("an upgrade of ztbridge")

	r.mustSSH("dpkg -i /root/openvpn.deb")
	r.awaitFlow("an upgrade of openvpn")
	r.mustSSH("systemctl restart ztbridge.service")
	r.awaitFlow("a restart with the new openvpn")

	r.mustSSH("dpkg -i /root/before.deb")
	r.awaitFlow("the way back to the version before")
	time.Sleep(time.Second) // what is under way arrives
	r.finish()
}

// releaseBefore is the source of the newest tag, or this checkout while there is none.
func releaseBefore(t *testing.T) string {
	t.Helper()
	tag, err := exec.Command("git", "describe", "--tags", "--abbrev=0", "--match", "v[0-9]*",
		"HEAD^").Output()
	if err != nil {
		t.Log("there is no release yet: the version before is this checkout's, with another number")
		return "../.."
	}
	dir := t.TempDir()
	tool(t, "sh", "-c", `git -C ../.. archive "$1" | tar -x -C "$2"`, "sh",
		strings.TrimSpace(string(tag)), dir)
	return dir
}

func packageOf(t *testing.T, source, version string) string {
	t.Helper()
	file, err := deb.Build(t.Context(), deb.Options{Source: source, Arch: "amd64",
		Version: version, Date: time.Unix(1767225600, 0).UTC(), Out: t.TempDir()})
	must(t, err)
	return file
}

// cachedPackage is a package that the archive was made of, which lies beside it.
func cachedPackage(t *testing.T, archive, name string) string {
	t.Helper()
	text, err := os.ReadFile("lock/cloud-amd64.lock")
	must(t, err)
	sum := regexp.MustCompile(`(?m)^install ` + name + ` .*\b([0-9a-f]{64})\b`).FindStringSubmatch(string(text))
	if sum == nil {
		t.Fatalf("%s is not in the lock", name)
	}
	file := filepath.Join(filepath.Dir(archive), "debs", sum[1]+".deb")
	if _, err := os.Stat(file); err != nil {
		t.Skipf("SKIPPED: %s is not in the cache", name)
	}
	return file
}

// newer is the package with a higher version.
func newer(t *testing.T, file string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "package")
	tool(t, "dpkg-deb", "-R", file, dir)
	control := filepath.Join(dir, "DEBIAN/control")
	text, err := os.ReadFile(control)
	must(t, err)
	must(t, os.WriteFile(control, regexp.MustCompile(`(?m)^Version: .*`).ReplaceAll(text,
		[]byte("$0+newer")), 0o644))
	tool(t, "dpkg-deb", "--root-owner-group", "-b", dir, dir+".deb")
	return dir + ".deb"
}

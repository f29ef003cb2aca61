package deb

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// lifecycle runs in a Debian of its own, in namespaces of its own. Each step prints what the test
// asserts.
const lifecycle = `
set -eu
mount --make-rprivate /
mount --bind "$ROOT" "$ROOT"
mount -t proc proc "$ROOT/proc"
ip link set lo up
in_root() { chroot "$ROOT" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"; }
everything() { (cd "$ROOT" && find . -xdev -not -path './proc/*' -not -path './var/log/*' -not -path './var/lib/dpkg/*' -not -path './var/cache/*' \
	-not -path './tmp/*' -not -path ./run/xtables.lock -not -name '*-' | sort && sort etc/passwd etc/group); }

cp "$OLD" "$ROOT/tmp/old.deb"; cp "$NEW" "$ROOT/tmp/new.deb"
everything > "$WORK/before"

in_root dpkg -i /tmp/old.deb >&2
in_root getent passwd ztbridge-ovpn >/dev/null && echo "user made"
[ "$(stat -c %a "$ROOT/etc/ztbridge/ztbridge.yaml")" = 600 ] && echo "configuration closed"
grep -q zerotier: "$ROOT/etc/ztbridge/ztbridge.yaml" && echo "configuration explained"
in_root dpkg-query -W -f '${Conffiles}' ztbridge | grep -q ztbridge.yaml || echo "configuration is its owner's"
[ -z "$(find "$ROOT/etc/systemd/system" -name 'ztbridge*')" ] && echo "not started at boots unasked"

echo '# mine' >> "$ROOT/etc/ztbridge/ztbridge.yaml"
echo secret > "$ROOT/etc/ztbridge/provider.ovpn"
in_root ztbridge guard >&2 || true # it closes, and complains that nothing is configured
in_root nft list table inet ztb > "$WORK/closed"
mkdir -p "$ROOT/var/lib/ztbridge"; touch "$ROOT/var/lib/ztbridge/state"

in_root dpkg -i /tmp/new.deb >&2
in_root nft list table inet ztb > "$WORK/after"
cmp "$WORK/closed" "$WORK/after" >&2 && echo "closed through the upgrade"
grep -q '^# mine' "$ROOT/etc/ztbridge/ztbridge.yaml" && echo "configuration kept"
[ "$(in_root ztbridge version | grep -c 2.0.0)" -ge 1 ] && echo "upgraded"

in_root dpkg -r ztbridge >&2
[ -z "$(in_root nft list tables)" ] && echo "filter gone with the program"
[ -e "$ROOT/etc/ztbridge/provider.ovpn" ] && echo "files kept on removal"

in_root dpkg -P ztbridge >&2
everything > "$WORK/purged"
diff "$WORK/before" "$WORK/purged" >&2 && echo "nothing left"
`

func TestLifecycleInDebian(t *testing.T) {
	root := os.Getenv("ZTBRIDGE_ROOT_TAR")
	if root == "" || os.Geteuid() != 0 {
		t.Skip(
			"SKIPPED: needs root's rights and ZTBRIDGE_ROOT_TAR, the archive of a Debian that ztbridge-image build has cached")
	}
	work := t.TempDir()
	debian := filepath.Join(work, "root")
	if err := os.Mkdir(debian, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("tar", "-xf", root, "-C", debian).CombinedOutput(); err != nil {
		t.Fatalf("unpacking: %v: %s", err, out)
	}
	debs := map[string]string{}
	for _, version := range []string{"1.0.0", "2.0.0"} {
		name, err := Build(context.Background(), Options{Source: "../../..", Arch: "amd64",
			Version: version, Date: time.Unix(1767225600, 0).UTC(), Out: work})
		if err != nil {
			t.Fatal(err)
		}
		debs[version] = name
	}
	cmd := exec.Command("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "sh",
		"-c", lifecycle)
	cmd.Env = append(os.Environ(), "ROOT="+debian, "WORK="+work, "OLD="+debs["1.0.0"],
		"NEW="+debs["2.0.0"])
	var problem strings.Builder
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%v\n%s\n%s", err, out, problem.String())
	}
	for _, want := range []string{"user made", "configuration closed",
		"configuration explained", "configuration is its owner's",
		"not started at boots unasked", "closed through the upgrade", "configuration kept",
		"upgraded", "filter gone with the program", "files kept on removal", "nothing left"} {
		if !strings.Contains(string(out), want+"\n") {
			t.Errorf("not shown: %s", want)
		}
	}
	if _, err := exec.LookPath("lintian"); err != nil {
		t.Log("lintian is not installed: not asked")
		return
	}
	if tags, err := exec.Command("lintian", "--allow-root", "--fail-on", "error,warning",
		"--tag-display-limit", "0", debs["2.0.0"]).CombinedOutput(); err != nil {
		t.Errorf("lintian:\n%s", tags)
	}
}

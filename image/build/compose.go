package build

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ztbridge/image/device/box"
)

//go:embed all:files
var overlayFiles embed.FS

// composeRoot builds the root file system from Debian's packages, ours, kernel modules and
// overlays.
func composeRoot(ctx context.Context, b *build) (*tree, error) {
	t := newTree()
	archive, err := os.Open(b.rootTar)
	if err != nil {
		return nil, fmt.Errorf("reading the root archive: %w", err)
	}
	defer archive.Close()
	if err := t.addTar(archive, nil); err != nil {
		return nil, err
	}
	t.drop(b.Profile.Drop)
	t.dropUnits(b.Profile.DropUnits)
	debs := []string{b.Deb}
	if b.ZeroTierDeb != "" {
		debs = append(debs, b.ZeroTierDeb)
	}
	for _, deb := range debs {
		if err := addDeb(ctx, t, deb); err != nil {
			return nil, err
		}
	}
	t.drop([]string{"usr/share/doc", "usr/share/man", "usr/share/bash-completion", "usr/share/zsh",
		"usr/share/fish", "etc/apt"})
	if err := addModules(t, b); err != nil {
		return nil, err
	}
	if err := addOverlay(t, b.Profile.Files); err != nil {
		return nil, err
	}
	if err := addUsers(t); err != nil {
		return nil, err
	}
	if err := addUnits(t, b.Profile); err != nil {
		return nil, err
	}
	return t, addIdentity(t, b)
}

// addDeb unpacks a package's files as an installation would. It runs no maintainer scripts:
// addUsers and addUnits do their work for all packages.
func addDeb(ctx context.Context, t *tree, deb string) error {
	out, err := filter(ctx, nil, "dpkg-deb", "--fsys-tarfile", deb)
	if err != nil {
		return fmt.Errorf("unpacking %s: %w", filepath.Base(deb), err)
	}
	return t.addTar(out, mergedUsr)
}

// addModules adds the kernel's modules and their firmware, without the folders that no box needs.
// The module index still names the dropped ones, which is harmless. The kernel itself and the
// device trees, which newer packages ship in the same folder, are left out.
func addModules(t *tree, b *build) error {
	prefix := path.Join("usr/lib/modules", b.kernel.version)
	all := newTree()
	if err := all.addDir(b.kernel.modules, prefix); err != nil {
		return fmt.Errorf("adding kernel modules: %w", err)
	}
	all.keepOnly(prefix+"/", []string{"kernel/", "modules."})
	all.drop([]string{path.Join(prefix, "dtb")})
	for _, dir := range b.Profile.DropMods {
		all.drop([]string{path.Join(prefix, "kernel", dir)})
	}
	maps.Copy(t.nodes, all.nodes)
	for _, name := range b.Profile.Firmware {
		if err := t.addDir(filepath.Join(b.unpacked[name], "usr/lib/firmware"),
			"usr/lib/firmware"); err != nil {
			return fmt.Errorf("adding %s: %w", name, err)
		}
	}
	if len(b.Profile.KeepFirmware) > 0 {
		t.keepOnly("usr/lib/firmware/", b.Profile.KeepFirmware)
	}
	return nil
}

func addOverlay(t *tree, folders []string) error {
	for _, folder := range folders {
		sub := newTree()
		if err := sub.addFS(overlayFiles, "", nil); err != nil {
			return fmt.Errorf("adding our own files: %w", err)
		}
		prefix := path.Join("files", folder) + "/"
		for name, n := range sub.nodes {
			if rest, ok := strings.CutPrefix(name, prefix); ok && !(n.isDir() && t.has(rest)) {
				t.nodes[rest] = n
			}
		}
	}
	return nil
}

// addUnits enables units by their [Install] sections, as `systemctl enable` does, and masks others.
func addUnits(t *tree, p Profile) error {
	for _, unit := range p.Enable {
		text := t.unitText(unit)
		if text == nil {
			return fmt.Errorf("enabling %s: there is no such unit", unit)
		}
		wanted := false
		for line := range strings.SplitSeq(string(text), "\n") {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			kind, ok := map[string]string{"WantedBy": ".wants/", "RequiredBy": ".requires/"}[key]
			if !ok {
				continue
			}
			for target := range strings.FieldsSeq(value) {
				t.symlink(path.Join("etc/systemd/system", target+kind, unit),
					path.Join("/usr/lib/systemd/system", templateOf(unit)))
				wanted = true
			}
		}
		if !wanted {
			return fmt.Errorf("enabling %s: its [Install] section names no target", unit)
		}
	}
	for _, unit := range p.Mask {
		t.drop([]string{path.Join("etc/systemd/system/multi-user.target.wants", unit),
			path.Join("etc/systemd/system/timers.target.wants", unit)})
		t.symlink(path.Join("etc/systemd/system", unit), "/dev/null")
	}
	return nil
}

// dropUnits removes the named units and the links in .wants folders that point to them.
func (t *tree) dropUnits(units []string) {
	for name := range t.nodes {
		if strings.HasPrefix(name, "usr/lib/systemd/system/") &&
			slices.Contains(units, path.Base(name)) {
			delete(t.nodes, name)
		}
	}
}

func (t *tree) unitText(unit string) []byte {
	if n := t.nodes[path.Join("usr/lib/systemd/system", templateOf(unit))]; n != nil {
		return n.data
	}
	return nil
}

// templateOf returns the unit file of an instance: a@b.service comes from a@.service.
func templateOf(unit string) string {
	name, rest, ok := strings.Cut(unit, "@")
	if !ok {
		return unit
	}
	return name + "@" + path.Ext(rest)
}

// addIdentity adds the files that identify the image, and those that keep systemd from generating
// files at each start.
func addIdentity(t *tree, b *build) error {
	release, err := json.Marshal(box.Release{Target: b.Profile.Target, Version: b.Version,
		Updates: b.UpdateURL, AutoUpdate: b.Profile.Pi && b.UpdateURL != ""})
	if err != nil {
		return fmt.Errorf("writing the image's description: %w", err)
	}
	t.file(box.ReleaseFile, 0o644, append(release, '\n'))
	t.file("usr/lib/ztbridge/ztbridge-appliance", 0o755, b.Appliance)
	if len(b.UpdateKey) > 0 {
		t.file(box.UpdateKey, 0o644, b.UpdateKey)
	}
	t.file("etc/hostname", 0o644, []byte("ztbridge\n"))
	t.file("etc/hosts", 0o644,
		[]byte("127.0.0.1 localhost\n127.0.1.1 ztbridge\n::1 localhost ip6-localhost\n"))
	// empty: a new one for each start, and never a "first boot"
	t.file("etc/machine-id", 0o444, nil)
	t.file("etc/fstab", 0o644, []byte("# The initramfs and ztbridge-setup mount everything.\n"))
	t.symlink("etc/resolv.conf", "/run/systemd/resolve/stub-resolv.conf")
	// systemd takes these as proof that /etc and /var need no update, so that ldconfig and others
	// stay asleep.
	stamp := fmt.Appendf(nil, "# %s\nTIMESTAMP_NSEC=%d\n", b.Lock.Date.Format(time.RFC3339),
		b.Lock.Date.UnixNano())
	t.file("etc/.updated", 0o644, stamp)
	t.file("var/.updated", 0o644, stamp)
	// The clock never shows a time before this file's.
	t.file("usr/lib/clock-epoch", 0o644, nil)
	for _, dir := range []string{"dev", "proc", "sys", "run", "data", "boot/ztbridge", "mnt"} {
		t.mkdir(dir, 0o755)
	}
	t.mkdir("tmp", 0o1777)
	t.mkdir("root", 0o700)
	return nil
}

// addUsers makes the system users and groups of sysusers.d, since /etc must not change at run time.
// Numbers follow the sorted names: the same packages get the same numbers, so that files on the
// data partition keep their owners.
func addUsers(t *tree) error {
	kinds := map[string]string{} // name → u or g
	for file, n := range t.nodes {
		if path.Dir(file) != "usr/lib/sysusers.d" || n.isDir() {
			continue
		}
		for line := range strings.SplitSeq(string(n.data), "\n") {
			fields := strings.Fields(line)
			if len(fields) < 2 {
				continue
			}
			kind := strings.TrimRight(fields[0], "!")
			if kind == "u" || (kind == "g" && kinds[fields[1]] == "") {
				kinds[fields[1]] = kind
			}
		}
	}
	for _, file := range []string{"etc/passwd", "etc/group", "etc/shadow"} {
		if !t.has(file) {
			return fmt.Errorf("adding system users: the root has no %s", file)
		}
	}
	id := ownUserFirst
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		id++
		if !t.hasLine("etc/group", name+":") {
			t.appendTo("etc/group", fmt.Sprintf("%s:x:%d:\n", name, id))
		}
		if kinds[name] == "u" && !t.hasLine("etc/passwd", name+":") {
			t.appendTo("etc/passwd",
				fmt.Sprintf("%s:x:%d:%d::/nonexistent:/usr/sbin/nologin\n", name, id, id))
			t.appendTo("etc/shadow", name+":!*:::::::\n")
		}
	}
	return nil
}

func (t *tree) hasLine(file, prefix string) bool {
	return bytes.Contains(append([]byte("\n"), t.nodes[file].data...), []byte("\n"+prefix))
}

// ownUserFirst is above what adduser and below what systemd's tools give out.
const ownUserFirst = 800

func (t *tree) appendTo(file, line string) {
	n := *t.nodes[file]
	n.data = append(slices.Clone(n.data), line...)
	t.nodes[file] = &n
}

// unpack extracts packages into one folder, unless the folder exists. An interrupted run leaves no
// such folder.
func unpack(ctx context.Context, dir string, debs ...string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	partial := dir + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return err
	}
	for _, deb := range debs {
		if err := run(ctx, nil, "dpkg-deb", "-x", deb, partial); err != nil {
			return fmt.Errorf("unpacking %s: %w", filepath.Base(deb), err)
		}
	}
	return os.Rename(partial, dir)
}

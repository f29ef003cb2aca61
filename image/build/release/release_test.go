package release

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ztbridge/image/build/aptkey"
	"ztbridge/image/device/update"
)

var when = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("SKIPPED: %s is not installed", program)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func testKeys(t *testing.T) Keys {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "keys")
	_, err := MakeKeys(folder)
	must(t, err)
	k, err := LoadKeys(folder)
	must(t, err)
	return k
}

// Keys in the field are trusted: a second set must not replace them, and the environment may hold
// them where files are not wanted.
func TestKeys(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "keys")
	files, err := MakeKeys(folder)
	must(t, err)
	if _, err := MakeKeys(folder); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second set: %v", err)
	}
	k, err := LoadKeys(folder)
	must(t, err)
	for file, variable := range map[string]string{releaseKeyFile: releaseKeyVariable,
		aptKeyFile: aptKeyVariable} {
		text, err := os.ReadFile(filepath.Join(folder, file))
		must(t, err)
		t.Setenv(variable, string(text))
	}
	again, err := LoadKeys("nowhere")
	must(t, err)
	if !again.Release.Equal(k.Release) ||
		!bytes.Equal(again.Apt.PrimaryKey.Fingerprint, k.Apt.PrimaryKey.Fingerprint) {
		t.Error("the environment's keys are others")
	}
	for _, file := range files {
		info, err := os.Stat(file)
		must(t, err)
		if secret := strings.HasSuffix(file, ".key"); secret && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", file, info.Mode().Perm())
		}
	}
	t.Setenv(aptKeyVariable, "nonsense")
	if _, err := LoadKeys(folder); err == nil || strings.Contains(err.Error(), "nonsense") {
		t.Errorf("a bad key: %v", err)
	}
}

func TestNotesAreOfTheVersion(t *testing.T) {
	const changelog = "# Changelog\n\n## Unreleased\n\n- new\n\n## 1.2.0 (2026-01-01)\n\n- old\n"
	for version, want := range map[string]string{
		"1.2.0": "# ztbridge 1.2.0\n\n- old\n", "1.3.0": "# ztbridge 1.3.0\n\n- new\n",
	} {
		got, err := section(changelog, version)
		must(t, err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	if _, err := section("## 1.2.0\n", "1.3.0"); err == nil {
		t.Error("notes of nothing")
	}
}

// minisign itself accepts the signature, and nothing else than what was signed.
func TestMinisignAcceptsSignatures(t *testing.T) {
	need(t, "minisign")
	o := &Options{Version: "1.2.3", Date: when, Keys: testKeys(t), Out: t.TempDir()}
	must(t, o.keys(t.Context()))
	must(t, o.writeSigned("SHA256SUMS", []byte("a list\n")))
	public, file := filepath.Join(o.Out, "minisign.pub"), filepath.Join(o.Out, "SHA256SUMS")
	if out := run(t, "minisign", "-V", "-p", public, "-m", file); !strings.Contains(out,
		"ztbridge 1.2.3 of 2026-03-04: SHA256SUMS") {
		t.Errorf("minisign says\n%s", out)
	}
	must(t, os.WriteFile(file, []byte("another list\n"), 0o644))
	out, err := exec.Command("minisign", "-V", "-p", public, "-m", file).CombinedOutput()
	if err == nil {
		t.Errorf("minisign takes another file for the signed one:\n%s", out)
	}
}

// smallDeb is a package of nothing but its description.
func smallDeb(t *testing.T, arch, version string) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "p/DEBIAN"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "p/DEBIAN/control"), []byte("Package: ztbridge\nVersion: "+
		version+"\nArchitecture: "+arch+"\nMaintainer: a <a@example.org>\nSection: net\n"+
		"Priority: optional\nDescription: a test\n"), 0o644))
	file := filepath.Join(dir, "ztbridge_"+version+"_"+arch+".deb")
	t.Setenv("SOURCE_DATE_EPOCH", "1767225600")
	run(t, "dpkg-deb", "--root-owner-group", "-b", filepath.Join(dir, "p"), file)
	return file
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	must(t, filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(file)
		name, _ := filepath.Rel(dir, file)
		all[name] = string(text)
		return err
	}))
	return all
}

func TestRepositoryIsSignedAndReproducible(t *testing.T) {
	need(t, "reprepro", "dpkg-deb", "gpgv", "gpg")
	keys := testKeys(t)
	debs := []string{smallDeb(t, "amd64", "1.0"), smallDeb(t, "armhf", "1.0")}
	dirs := []string{t.TempDir(), t.TempDir()}
	for _, dir := range dirs {
		must(t, repository(t.Context(), dir, debs, when, keys.Apt))
	}
	if diff := cmp.Diff(contents(t, dirs[0]), contents(t, dirs[1])); diff != "" {
		t.Errorf("two runs differ:\n%s", diff)
	}
	public, err := aptkey.Armor(keys.Apt)
	must(t, err)
	armored, ring := filepath.Join(t.TempDir(), "key.asc"), filepath.Join(t.TempDir(), "key.gpg")
	must(t, os.WriteFile(armored, public, 0o644))
	run(t, "gpg", "--batch", "--yes", "--dearmor", "-o", ring, armored)
	dists := filepath.Join(dirs[0], "dists/stable")
	run(t, "gpgv", "--keyring", ring, filepath.Join(dists, "InRelease"))
	run(t, "gpgv", "--keyring", ring, filepath.Join(dists, "Release.gpg"),
		filepath.Join(dists, "Release"))
	index := contents(t, dists)["Release"]
	if !strings.Contains(index, "Date: Wed, 04 Mar 2026 05:06:07 UTC\n") {
		t.Errorf("the index is\n%s", index)
	}
}

// Boxes believe the channel file that a release writes, and its bundle is the slot's.
func TestUpdatesAreWhatBoxesTake(t *testing.T) {
	need(t, "zstd")
	o := &Options{Version: "1.2.3", Date: when, Keys: testKeys(t), Out: t.TempDir(),
		Images: t.TempDir(), Progress: func(string, string) {}}
	slot := filepath.Join(o.Images, "slot")
	must(t, os.WriteFile(slot, bytes.Repeat([]byte("x"), 4096), 0o644))
	run(t, "zstd", "-q", slot, "-o", filepath.Join(o.Images, "ztbridge-cloud-amd64.slot.zst"))
	must(t, o.updates(t.Context()))
	files := contents(t, filepath.Join(o.Out, "updates"))
	public := o.Keys.Release.Public().(ed25519.PublicKey)
	c, err := update.OpenChannel([]byte(files["stable.json"]),
		[]byte(files["stable.json"+update.SignatureSuffix]), public)
	must(t, err)
	entry := c.Bundles["cloud-amd64"]
	if c.Version != "1.2.3" || int(entry.Size) != len(files[entry.File]) {
		t.Errorf("the channel is %+v, files %d", c, len(files))
	}
	bundle, err := update.Open(strings.NewReader(files[entry.File]), public)
	must(t, err)
	if m := bundle.Manifest; m.Target != "cloud-amd64" || !m.Created.Equal(when) {
		t.Errorf("the bundle is %+v", m)
	}
}

package build

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/lab"
	"ztbridge/image/device/box"
	"ztbridge/image/device/grubenv"
	"ztbridge/image/device/update"
)

// Updates come over the network, while the client talks. Bundles that must not be trusted change
// nothing; a good one stays; the old system can be had again; and one whose daemon does not come up
// is gone again without anybody's help.
func TestUpdate(t *testing.T) {
	image := builtImage(t, "cloud-amd64")
	good := bundleOf(t, image, "cloud-amd64", "2")
	_, strangers, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	r := newRig(t, image, lab.Options{})
	address := r.serve(map[string][]byte{
		"good":      good,
		"truncated": good[:len(good)-1000],
		"strangers": signedBundle(t, slotOf(image), "cloud-amd64", "2", strangers),
		"others":    bundleOf(t, image, "rpi-arm64", "2"),
		"broken": signedBundle(t, slotWithoutDaemon(t, slotOf(image)), "cloud-amd64", "3",
			testKey(t, image)),
	})
	r.provisionJob(jobConfig)
	r.startStreams()
	r.boot()
	r.awaitFlow("power on")

	const fingerprint = "sha256sum /boot/ztbridge/grub/grubenv /run/ztbridge-boot/slot-b"
	before := r.mustSSH(fingerprint)
	for name, want := range map[string]string{
		"truncated": update.ErrDamaged.Error(), "strangers": update.ErrSignature.Error(),
		"others": update.ErrTarget.Error(),
	} {
		out, err := r.ssh("ztbridge update --insecure " + address + name + " 2>&1")
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("the %s bundle: %v, %q; want %q", name, err, out, want)
		}
	}
	if after := r.mustSSH(fingerprint); after != before {
		t.Errorf("refused bundles have changed something:\n%s\n%s", before, after)
	}

	r.update("--insecure " + address + "good")
	expect(t, r.guest, `daemon up ([0-9.]+) s after the kernel, slot B`)
	r.await("ztbridge update status", "slot B  version 0.0.0  in use\n")
	r.awaitFlow("the update")

	r.update("rollback")
	expect(t, r.guest, `daemon up ([0-9.]+) s after the kernel, slot A`)
	r.await("ztbridge update status", "slot A  version 0.0.0  in use\n")
	r.awaitFlow("a rollback")

	r.update("--insecure " + address + "broken")
	// the new system is judged, and restarts the machine
	if err := r.guest.Wait(2 * bootTimeout); err != nil {
		t.Fatal(err)
	}
	r.boot()
	expect(t, r.guest, `daemon up ([0-9.]+) s after the kernel, slot A`)
	r.awaitFlow("the way back")
	if out := r.mustSSH("ztbridge update status; ls /data/log"); !strings.Contains(out,
		"the other slot failed its trial") || !strings.Contains(out, "-update.log") {
		t.Errorf("the box does not tell what happened:\n%s", out)
	}
	r.guest.Kill()
	r.finish()
}

// update lets the box take a bundle, or go back, and starts it again as its restart would.
func (r *rig) update(arguments string) {
	r.t.Helper()
	// The restart may end the session as well.
	said, _ := r.ssh("ztbridge update " + arguments + " 2>&1")
	if strings.Contains(said, "error:") {
		r.t.Fatalf("ztbridge update %s: %s", arguments, said)
	}
	if err := r.guest.Wait(bootTimeout); err != nil {
		r.t.Fatal(err)
	}
	r.boot()
}

// serve offers files on the lab's Internet and returns their address, which ends in a slash.
func (r *rig) serve(files map[string][]byte) string {
	r.t.Helper()
	address := lab.HostTarget4.String() + ":80"
	serve(r.t, r.lab.Internet, address, nil,
		http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			http.ServeContent(w, req, req.URL.Path, time.Time{},
				bytes.NewReader(files[strings.TrimPrefix(req.URL.Path, "/")]))
		}))
	return "http://" + address + "/"
}

func slotOf(image string) string { return strings.TrimSuffix(image, ".img.zst") + ".slot.zst" }

func testKey(t *testing.T, image string) ed25519.PrivateKey {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(image), "test.key"))
	if err != nil {
		t.Skip(
			"SKIPPED: there is no test.key beside the image; `make image-test` builds the image with one")
	}
	key, err := update.DecodePrivateKey(text)
	must(t, err)
	return key
}

// bundleOf makes an update of the image itself.
func bundleOf(t *testing.T, image, target, version string) []byte {
	t.Helper()
	return signedBundle(t, slotOf(image), target, version, testKey(t, image))
}

func signedBundle(t *testing.T, slot, target, version string, key ed25519.PrivateKey) []byte {
	t.Helper()
	var bundle bytes.Buffer
	must(t, update.Write(&bundle, update.Manifest{Target: target, Version: version}, slot, key))
	return bundle.Bytes()
}

// A slot whose system does not start is tried once and left, with nobody near.
func TestBrokenSlotIsLeft(t *testing.T) {
	image := builtImage(t, "cloud-amd64")
	d := newDisk(t, image)
	put(t, d, map[string]string{"ztbridge.yaml": goodConfig, "provider.ovpn": profileText(t),
		"provider.auth": "user\n" + secret + "\n"})
	f, err := os.OpenFile(string(d), os.O_RDWR, 0)
	must(t, err)
	for _, p := range cloudAMD64().Partitions {
		if p.Number == box.SlotBPartition {
			err = copyInto(f, p, slotWithRoot(t, slotOf(image), []byte("none")))
		}
	}
	must(t, errors.Join(err, f.Close()))
	env, err := grubenv.Block{grubenv.Active: "A", grubenv.Try: "B", grubenv.Left: "1",
		grubenv.Data: "0"}.Bytes()
	must(t, err)
	put(t, d, map[string]string{box.GrubEnv: string(env)})

	m := Machine{Firmware: BIOS, Disk: string(d), Extra: network}
	g := boot(t, m)
	expect(t, g, `ztbridge-init: error: mounting \S+ on /lower`)
	must(t, g.Wait(bootTimeout)) // the first process restarts the machine
	g = boot(t, m)
	expect(t, g, `daemon up ([0-9.]+) s after the kernel, slot A`)
}

// slotWithRoot is the given slot with another root: with one that is none, the kernel starts and
// the first process gives up.
func slotWithRoot(t *testing.T, slot string, root []byte) string {
	t.Helper()
	f := fat{label: "ZTB-SLOT", serial: 1, size: 256 * mib, when: time.Unix(1767225600, 0),
		files: map[string][]byte{"root.sqfs": root}}
	for _, name := range []string{"vmlinuz", "initrd"} {
		f.files[name] = fromSlot(t, slot, name)
	}
	file := filepath.Join(t.TempDir(), "slot.img")
	must(t, f.write(context.Background(), file))
	return file
}

func fromSlot(t *testing.T, slot, name string) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "slot.img")
	_, err := NewDisk(slot, file)
	must(t, err)
	out, err := exec.Command("mtype", "-i", file, "::/"+name).Output()
	must(t, err)
	return out
}

// slotWithoutDaemon is the given slot, compressed, with a system that is good but for the daemon,
// which ends at once.
func slotWithoutDaemon(t *testing.T, slot string) string {
	t.Helper()
	need(t, "unsquashfs", "mksquashfs")
	dir := t.TempDir()
	old, tree, fresh := filepath.Join(dir, "old"), filepath.Join(dir, "tree"),
		filepath.Join(dir, "new")
	must(t, os.WriteFile(old, fromSlot(t, slot, "root.sqfs"), 0o600))
	must(t, run(t.Context(), nil, "unsquashfs", "-no-progress", "-d", tree, old))
	must(t, os.Remove(filepath.Join(tree, "usr/bin/ztbridge")))
	must(t, os.WriteFile(filepath.Join(tree, "usr/bin/ztbridge"), []byte("#!/bin/sh\nexit 1\n"),
		0o755))
	must(t, run(t.Context(), nil, "mksquashfs", tree, fresh, "-no-progress", "-comp", "zstd",
		"-Xcompression-level", "1"))
	root, err := os.ReadFile(fresh)
	must(t, err)
	image := slotWithRoot(t, slot, root)
	must(t, run(t.Context(), nil, "zstd", "-q", "-1", image, "-o", image+".zst"))
	return image + ".zst"
}

package image

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ztbridge/image/boottest"
	"ztbridge/image/box"
	"ztbridge/image/grubenv"
	"ztbridge/image/update"
)

// updateUnit starts an update when the daemon's errors have shown, as a person does on a box that has run for a while. It
// comes into the unchanged image by the machine's firmware tables.
const updateUnit = `[Service]
Type=oneshot
TimeoutStartSec=infinity
ExecStartPre=/bin/sh -c 'until ztbridge status --json | grep -q "severity.*error"; do sleep 1; done; sleep 20'
ExecStart=/usr/lib/ztbridge/ztbridge-appliance update /boot/ztbridge/UPDATE.ZTB
StandardOutput=journal+console
StandardError=journal+console
`

func withUnit(m boottest.Machine) boottest.Machine {
	credential := func(name, text string) []string {
		return []string{"-smbios", "type=11,value=io.systemd.credential.binary:" + name + "=" + base64.StdEncoding.EncodeToString([]byte(text))}
	}
	m.Extra = append(append(append([]string(nil), m.Extra...), credential("systemd.extra-unit.updating.service", updateUnit)...),
		credential("systemd.unit-dropin.multi-user.target", "[Unit]\nWants=updating.service\n")...)
	return m
}

// A good bundle runs in the other slot, is judged by the daemon's health, and stays.
func TestUpdate(t *testing.T) {
	image := builtImage(t, "cloud-amd64")
	keyText, err := os.ReadFile(filepath.Join(filepath.Dir(image), "test.key"))
	if err != nil {
		t.Skip("SKIPPED: there is no test.key beside the image; `make image-test` builds the image with one")
	}
	key, err := update.DecodePrivateKey(keyText)
	if err != nil {
		t.Fatal(err)
	}
	slot := strings.TrimSuffix(image, ".img.zst") + ".slot.zst"
	d := newDisk(t, image)
	put(t, d, map[string]string{"ztbridge.yaml": goodConfig, "provider.ovpn": profileText(t), "provider.auth": "user\n" + secret + "\n"})
	m := boottest.Machine{Firmware: boottest.BIOS, Disk: string(d), Extra: network}

	var bundle bytes.Buffer
	if err := update.Write(&bundle, "cloud-amd64", "2", slot, key); err != nil {
		t.Fatal(err)
	}
	put(t, d, map[string]string{"UPDATE.ZTB": bundle.String()})
	g := boot(t, withUnit(m))
	expect(t, g, `is ready to be tried`)
	if err := g.Wait(bootTimeout); err != nil { // a restart ends the machine
		t.Fatal(err)
	}
	g = boot(t, m)
	expect(t, g, `daemon up ([0-9.]+) s after the kernel, slot B`)
	awaitVariable(t, d, "active=B")
}

// A slot whose system does not start is tried once and left, with nobody near.
func TestBrokenSlotIsLeft(t *testing.T) {
	image := builtImage(t, "cloud-amd64")
	d := newDisk(t, image)
	put(t, d, map[string]string{"ztbridge.yaml": goodConfig, "provider.ovpn": profileText(t), "provider.auth": "user\n" + secret + "\n"})
	f, err := os.OpenFile(string(d), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range cloudAMD64().Partitions {
		if p.Number == box.SlotBPartition {
			err = copyInto(f, p, brokenSlot(t, strings.TrimSuffix(image, ".img.zst")+".slot.zst"))
		}
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	env, err := grubenv.Block{grubenv.Active: "A", grubenv.Try: "B", grubenv.Left: "1", grubenv.Data: "0"}.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	put(t, d, map[string]string{box.GrubEnv: string(env)})

	m := boottest.Machine{Firmware: boottest.BIOS, Disk: string(d), Extra: network}
	g := boot(t, m)
	expect(t, g, `ztbridge-init: error: mounting \S+ on /lower`)
	if err := g.Wait(bootTimeout); err != nil { // the first process restarts the machine
		t.Fatal(err)
	}
	g = boot(t, m)
	expect(t, g, `daemon up ([0-9.]+) s after the kernel, slot A`)
}

// brokenSlot is the good one with a root that is none: the kernel starts, and the first process gives up.
func brokenSlot(t *testing.T, slot string) string {
	t.Helper()
	dir := t.TempDir()
	good := filepath.Join(dir, "good.img")
	if _, err := boottest.NewDisk(slot, good); err != nil {
		t.Fatal(err)
	}
	f := fat{label: "ZTB-SLOT", serial: 1, size: 128 * mib, when: time.Unix(1767225600, 0), files: map[string][]byte{"root.sqfs": []byte("none")}}
	for _, name := range []string{"vmlinuz", "initrd"} {
		out, err := exec.Command("mtype", "-i", good, "::/"+name).Output()
		if err != nil {
			t.Fatal(err)
		}
		f.files[name] = out
	}
	if err := f.write(context.Background(), filepath.Join(dir, "slot.img")); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "slot.img")
}

func awaitVariable(t *testing.T, d boottest.Disk, want string) {
	t.Helper()
	env := ""
	for deadline := time.Now().Add(bootTimeout); time.Now().Before(deadline); time.Sleep(time.Second) {
		var err error
		if env, err = d.Get("grub/grubenv"); err == nil && strings.Contains(env, want) {
			return
		}
	}
	t.Fatalf("the boot variables never said %s:\n%s", want, env)
}

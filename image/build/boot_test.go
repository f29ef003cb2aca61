package build

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// bootTimeout is for a loaded machine that emulates the guest's processor; an idle one needs a
// tenth.
const bootTimeout = 8 * time.Minute

// builtImage finds an image that ztbridge-image has built, or skips.
func builtImage(t *testing.T, target string) string {
	t.Helper()
	dir := os.Getenv("ZTBRIDGE_IMAGE_TEST")
	if dir == "" {
		t.Skip(
			"SKIPPED: ZTBRIDGE_IMAGE_TEST, the folder with built images, is not set; `make image-test` sets it")
	}
	file := filepath.Join(dir, target+".img.zst")
	if _, err := os.Stat(file); err != nil {
		t.Skipf("SKIPPED: %s has not been built", file)
	}
	need(t, "mcopy", "mtype", "mdir")
	return file
}

const secret = "the-secret-of-the-test-7c1d"

// profileText is a provider's profile whose server does not answer.
func profileText(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1),
		Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return "client\ndev tun\nproto udp\nremote 192.0.2.1 1194\nremote-cert-tls server\nauth-user-pass\n<ca>\n" +
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) + "</ca>\n"
}

const goodConfig = "zerotier:\n  networks: [abcdef0123000001]\negress:\n  provider: {openvpn: {profile: provider.ovpn, credentials: provider.auth}}\n"

func put(t *testing.T, d Disk, files map[string]string) {
	t.Helper()
	for name, content := range files {
		if err := d.Put(name, content); err != nil {
			t.Fatal(err)
		}
	}
}

func newDisk(t *testing.T, image string) Disk {
	t.Helper()
	d, err := NewDisk(image, filepath.Join(t.TempDir(), "disk.img"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func boot(t *testing.T, m Machine) *Guest {
	t.Helper()
	if m.Memory == 0 {
		m.Memory = 512
	}
	var log io.Writer = io.Discard
	if dir := os.Getenv("ZTBRIDGE_CONSOLE_DIR"); dir != "" { // for those who debug
		f, err := os.Create(filepath.Join(dir, strings.ReplaceAll(t.Name(), "/", "-")+".log"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		log = f
	}
	g, err := startMachine(context.Background(), m, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Kill)
	return g
}

func expect(t *testing.T, g *Guest, pattern string) []string {
	t.Helper()
	match, err := g.Expect(pattern, bootTimeout)
	if err != nil {
		t.Fatal(err)
	}
	return match
}

// network is a card whose cable leads nowhere.
var network = []string{"-netdev", "user,id=net,restrict=on", "-device", "virtio-net-pci,netdev=net"}

// Every target and firmware comes up from the user's files alone, shows its status, keeps what it
// was given over a power cut, and leaves no secret on the partition that everybody can read.
func TestImageComesUp(t *testing.T) {
	tests := []struct {
		name, target string
		machine      Machine
	}{
		{"BIOS", "cloud-amd64", Machine{Firmware: BIOS, Extra: network}},
		{"UEFI", "cloud-amd64", Machine{Firmware: UEFI, Extra: network}},
		{"two processors", "cloud-amd64", Machine{Firmware: BIOS, CPUs: 2, Extra: network}},
		{"in 256 MiB", "cloud-amd64",
			Machine{Firmware: BIOS, Memory: 256, Extra: network}},
		{"arm64", "cloud-arm64", Machine{Firmware: ARMUEFI, Extra: network}},
		{"Pi 3", "rpi-arm64", Machine{Firmware: Pi3, Memory: 1024}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDisk(t, builtImage(t, tt.target))
			put(t, d, map[string]string{"ztbridge.yaml": goodConfig,
				"provider.ovpn": profileText(t), "provider.auth": "user\n" + secret + "\n"})
			m := tt.machine
			m.Disk = string(d)
			if m.Firmware == Pi3 {
				m.UBoot, m.DTB = saved(t, d, "u-boot.bin"), saved(t, d, "bcm2837-rpi-3-b.dtb")
				withoutWatchdog(t, d)
			}
			g := boot(t, m)
			up := expect(t, g, `daemon up ([0-9.]+) s after the kernel, slot A`)
			t.Logf("daemon up %s s after the kernel, first start", up[1])
			expect(t, g, `provider`)
			g.Kill()
			assertNoSecrets(t, d)

			g = boot(t, m)
			up = expect(t, g, `daemon up ([0-9.]+) s after the kernel, slot A`)
			t.Logf("daemon up %s s after the kernel, second start", up[1])
		})
	}
}

// withoutWatchdog is for QEMU's Pi, whose watchdog restarts the machine when it is armed, not when
// it expires.
func withoutWatchdog(t *testing.T, d Disk) {
	t.Helper()
	config, err := d.Get("grub/grub.cfg")
	if err != nil {
		t.Fatal(err)
	}
	put(t, d, map[string]string{"grub/grub.cfg": strings.ReplaceAll(config, " panic=10 ",
		" panic=10 systemd.watchdog_sec=0 ")})
}

// saved copies a file of the boot partition to one of the test's own.
func saved(t *testing.T, d Disk, name string) string {
	t.Helper()
	text, err := d.Get(name)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func assertNoSecrets(t *testing.T, d Disk) {
	t.Helper()
	list, err := d.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ztbridge.yaml\n", "provider.ovpn", "provider.auth"} {
		if strings.Contains(strings.ToLower(list), name) {
			t.Errorf("%s is on the boot partition:\n%s", strings.TrimSpace(name), list)
		}
	}
	f, err := os.Open(string(d))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	partition, err := io.ReadAll(io.NewSectionReader(f, mib, 128*mib))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(partition, []byte(secret)) {
		t.Error("the password can still be read in the boot partition's free blocks")
	}
}

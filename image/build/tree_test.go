package build

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func tarOf(t *testing.T, headers ...tar.Header) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		data := []byte(h.Name)
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(data))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write(data); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func namesOf(t *testing.T, tr *tree) []string {
	t.Helper()
	var b bytes.Buffer
	if err := tr.writeTar(&b, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(&b); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.Equal(time.Unix(1, 0)) {
			t.Errorf("%s has a time of its own", h.Name)
		}
		names = append(names, h.Name)
	}
}

func TestTree(t *testing.T) {
	tr := newTree()
	err := tr.addTar(tarOf(t,
		tar.Header{Typeflag: tar.TypeLink, Name: "./usr/bin/a-link", Linkname: "./usr/bin/tool"},
		tar.Header{Typeflag: tar.TypeReg, Name: "./usr/bin/tool", Mode: 0o755},
		tar.Header{Typeflag: tar.TypeReg, Name: "./usr/share/doc/x", Mode: 0o644},
		tar.Header{Typeflag: tar.TypeReg, Name: "./usr/share/docker", Mode: 0o644},
		tar.Header{Typeflag: tar.TypeReg, Name: "./etc/ssh/ssh_host_rsa_key", Mode: 0o600},
		tar.Header{Typeflag: tar.TypeReg, Name: "../../outside", Mode: 0o644},
	), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.addTar(tarOf(t, tar.Header{Typeflag: tar.TypeReg,
		Name: "./lib/systemd/system/z.service", Mode: 0o644}), mergedUsr); err != nil {
		t.Fatal(err)
	}
	tr.drop([]string{"usr/share/doc", "etc/ssh/ssh_host_"})
	want := []string{"./outside", "./usr/", "./usr/bin/", "./usr/bin/tool", "./usr/lib/",
		"./usr/lib/systemd/",
		"./usr/lib/systemd/system/", "./usr/lib/systemd/system/z.service", "./usr/share/",
		"./usr/share/docker", "./usr/bin/a-link"}
	if diff := cmp.Diff(want, namesOf(t, tr)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestKeepOnly(t *testing.T) {
	tr := newTree()
	for _, name := range []string{"usr/lib/firmware/brcm/brcmfmac43455-sdio.bin",
		"usr/lib/firmware/brcm/brcmfmac4356-pcie.bin", "usr/lib/firmware/regulatory.db",
		"usr/lib/firmware-tools/x"} {
		tr.file(name, 0o644, nil)
	}
	tr.symlink("usr/lib/firmware/brcm/brcmfmac43455-sdio.raspberrypi,4-model-b.bin",
		"brcmfmac43455-sdio.bin")
	tr.keepOnly("usr/lib/firmware/", []string{"brcm/brcmfmac43455-sdio", "regulatory.db"})
	got := slices.Sorted(maps.Keys(tr.nodes))
	want := []string{"usr/lib/firmware-tools/x", "usr/lib/firmware/brcm/brcmfmac43455-sdio.bin",
		"usr/lib/firmware/brcm/brcmfmac43455-sdio.raspberrypi,4-model-b.bin",
		"usr/lib/firmware/regulatory.db"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAddUsers(t *testing.T) {
	tr := newTree()
	tr.file("etc/passwd", 0o644,
		[]byte("root:x:0:0::/root:/bin/bash\nsystemd-network:x:998:998::/:/usr/sbin/nologin\n"))
	tr.file("etc/group", 0o644, []byte("root:x:0:\nsystemd-network:x:998:\n"))
	tr.file("etc/shadow", 0o640, []byte("root:*:1::::::\n"))
	tr.file("usr/lib/sysusers.d/z.conf", 0o644,
		[]byte("# comment\nu! ztbridge-ovpn - \"OpenVPN\"\nu systemd-network -\ng ztbridge - -\n"))
	if err := addUsers(tr); err != nil {
		t.Fatal(err)
	}
	passwd := string(tr.nodes["etc/passwd"].data)
	if !strings.HasSuffix(passwd, "ztbridge-ovpn:x:803:803::/nonexistent:/usr/sbin/nologin\n") ||
		strings.Count(passwd, "systemd-network") != 1 {
		t.Errorf("passwd:\n%s", passwd)
	}
	if group := string(tr.nodes["etc/group"].data); !strings.Contains(group, "ztbridge:x:802:\n") ||
		strings.Count(group, "systemd-network") != 1 {
		t.Errorf("group:\n%s", group)
	}
	if !strings.Contains(string(tr.nodes["etc/shadow"].data), "ztbridge-ovpn:!*:") {
		t.Error("the new user has no locked password")
	}
}

func TestAddUnits(t *testing.T) {
	tr := newTree()
	tr.file("usr/lib/systemd/system/w@.service", 0o644,
		[]byte("[Install]\nWantedBy=multi-user.target\n"))
	tr.file("usr/lib/systemd/system/static.service", 0o644, []byte("[Service]\n"))
	if err := addUnits(tr, Profile{Enable: []string{"w@wlan0.service"},
		Mask: []string{"getty@tty1.service"}}); err != nil {
		t.Fatal(err)
	}
	if n := tr.nodes["etc/systemd/system/multi-user.target.wants/w@wlan0.service"]; n == nil ||
		n.header.Linkname != "/usr/lib/systemd/system/w@.service" {
		t.Errorf("the instance is not enabled: %+v", n)
	}
	if n := tr.nodes["etc/systemd/system/getty@tty1.service"]; n == nil ||
		n.header.Linkname != "/dev/null" {
		t.Error("not masked")
	}
	for _, unit := range []string{"missing.service", "static.service"} {
		if err := addUnits(tr, Profile{Enable: []string{unit}}); err == nil {
			t.Errorf("enabling %s was no error: it would never start", unit)
		}
	}
}

// The kernel must be able to read what we pack; cpio is its format's other reader.
func TestInitramfsArchive(t *testing.T) {
	var b bytes.Buffer
	c := cpioWriter{w: &b}
	c.add("init", 0o100755, []byte("abc"))
	c.close()
	if b.Len()%4 != 0 || !bytes.HasPrefix(b.Bytes(), []byte("070701")) ||
		!bytes.Contains(b.Bytes(), []byte("init\x00")) {
		t.Errorf("archive: %q", b.String())
	}
	// header, name and padding to a multiple of four
	if got := b.Bytes()[110+6 : 110+6+3]; string(got) != "abc" {
		t.Errorf("the content is at another place: %q", b.String())
	}
}

// A unit that is left out is wanted by nobody: systemd would look for it at each start.
func TestDropUnits(t *testing.T) {
	tr := newTree()
	const dir = "usr/lib/systemd/system/"
	for _, name := range []string{"a.service", "b.service", "sysinit.target.wants/a.service",
		"sysinit.target.wants/b.service"} {
		tr.file(dir+name, 0o644, nil)
	}
	tr.file("usr/bin/a.service", 0o755, nil)
	tr.dropUnits([]string{"a.service"})
	for name, want := range map[string]bool{"usr/bin/a.service": true, dir + "a.service": false,
		dir + "sysinit.target.wants/a.service": false,
		dir + "b.service":                      true, dir +
			"sysinit.target.wants/b.service": true} {
		if tr.has(name) != want {
			t.Errorf("%s is there: %v, want %v", name, !want, want)
		}
	}
}

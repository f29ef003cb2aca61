package pkglock

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
)

// signer is a vendor's key pair.
func signer(t *testing.T) (*openpgp.Entity, []byte) {
	t.Helper()
	entity, err := openpgp.NewEntity("vendor", "", "vendor@example.org", nil)
	if err != nil {
		t.Fatal(err)
	}
	var key bytes.Buffer
	w, err := armor.Encode(&key, openpgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := entity.Serialize(w); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return entity, append(key.Bytes(), '\n')
}

// vendorRepo is a repository with one package, as the vendor publishes it: path → content.
func vendorRepo(t *testing.T, signedBy *openpgp.Entity) map[string][]byte {
	t.Helper()
	tree := t.TempDir()
	control := "Package: zerotier-one\nVersion: 1.14.2\nArchitecture: amd64\nMaintainer: vendor <vendor@example.org>\nDescription: test\n"
	if err := os.MkdirAll(filepath.Join(tree, "DEBIAN"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tree, "DEBIAN/control"), []byte(control),
		0o644); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "a.deb")
	if out, err := exec.Command("dpkg-deb", "--root-owner-group", "-b", tree,
		file).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb: %s", out)
	}
	deb, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	index := fmt.Sprintf("%sFilename: pool/zerotier-one.deb\nSize: %d\nSHA256: %x\n", control,
		len(deb), sha256.Sum256(deb))
	release := fmt.Sprintf(
		"Suite: trixie\nCodename: trixie\nArchitectures: amd64\nComponents: main\nDate: Sat, 21 Nov 2026 00:00:00 UTC\nSHA256:\n %x %d main/binary-amd64/Packages\n",
		sha256.Sum256([]byte(index)), len(index))
	var signed bytes.Buffer
	w, err := clearsign.Encode(&signed, signedBy.PrivateKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(release)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"/dists/trixie/InRelease": signed.Bytes(),
		"/dists/trixie/main/binary-amd64/Packages": []byte(index), "/pool/zerotier-one.deb": deb}
}

// A vendor's package arrives only when the index is signed with the one key and the package is the
// one in the index.
func TestVendorDownload(t *testing.T) {
	for _, program := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("SKIPPED: %s is not installed", program)
		}
	}
	vendor, key := signer(t)
	other, _ := signer(t)
	spoil := func(path string) func(map[string][]byte) {
		return func(files map[string][]byte) {
			b := bytes.Clone(files[path])
			b[len(b)-2] ^= 1
			files[path] = b
		}
	}
	tests := []struct {
		name   string
		signer *openpgp.Entity
		spoil  func(files map[string][]byte)
		want   string // in the error; none: it arrives
	}{
		{name: "as the vendor made it", signer: vendor},
		{"signed by somebody else", other, nil, "signed index"},
		{"an index that was changed", vendor, func(files map[string][]byte) {
			files["/dists/trixie/InRelease"] = bytes.Replace(files["/dists/trixie/InRelease"],
				[]byte("Components"), []byte("components"), 1)
		}, "signed index"},
		{"a list that was changed", vendor, spoil("/dists/trixie/main/binary-amd64/Packages"),
			"signed index"},
		{"no signature", vendor, func(files map[string][]byte) {
			delete(files, "/dists/trixie/InRelease")
			files["/dists/trixie/Release"] = []byte("Suite: trixie\n")
		}, "signed index"},
		{"a package that was changed", vendor, spoil("/pool/zerotier-one.deb"), "downloading"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files := vendorRepo(t, tt.signer)
			if tt.spoil != nil {
				tt.spoil(files)
			}
			server := httptest.NewServer(
				http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					content, ok := files[r.URL.Path]
					if !ok {
						http.NotFound(w, r)
						return
					}
					_, _ = w.Write(content)
				}))
			defer server.Close()
			dir := t.TempDir()
			file, err := Vendor{URL: server.URL, Suite: "trixie", Key: key,
				Arch: "amd64"}.Download(context.Background(), "zerotier-one", dir)
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %v, want one that says %q", err, tt.want)
				}
				if left, _ := filepath.Glob(filepath.Join(dir, "*.deb")); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(file); err != nil ||
				!bytes.Equal(got, files["/pool/zerotier-one.deb"]) {
				t.Errorf("%s is another package: %v", file, err)
			}
		})
	}
	for _, bad := range []Vendor{{URL: "https://a b", Suite: "trixie"}, {URL: "https://a",
		Suite: "trixie\ndeb"}, {URL: "https://a] [trusted=yes", Suite: "x"}, {}} {
		if _, err := bad.Download(context.Background(), "zerotier-one", t.TempDir()); err == nil {
			t.Errorf("accepted %+v", bad)
		}
	}
}

package pkglock

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A lock made while the security archive is away would hold what it has long repaired.
func TestResolveWantsEveryArchive(t *testing.T) {
	for _, program := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("SKIPPED: %s is not installed", program)
		}
	}
	archive, key := signer(t)
	files := vendorRepo(t, archive)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, ok := files[strings.TrimPrefix(r.URL.Path, "/debian")]
		if !ok { // debian-security among them
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(content)
	}))
	defer server.Close()
	dir := t.TempDir()
	keyring := filepath.Join(dir, "archive.asc")
	if err := os.WriteFile(keyring, key, 0o644); err != nil {
		t.Fatal(err)
	}
	req := Request{Suite: "trixie", Arch: "amd64", Components: []string{"main"}, Mirror: server.URL, Keyring: keyring, Unpack: []string{"zerotier-one"}}
	lock, err := Resolve(context.Background(), req, filepath.Join(dir, "root"))
	if err == nil || !strings.Contains(err.Error(), "fetching signed indexes") || !strings.Contains(err.Error(), "debian-security") {
		t.Errorf("error = %v, lock %+v", err, lock)
	}
}

package pkglock

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sum = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

const sample = `# Packages of the image. Written by ` + "`ztbridge-image lock`" + `; do not edit.
suite trixie amd64 2026-11-21T20:00:00Z
install zlib1g 1:1.3.dfsg+really1.3.1-1 amd64 88720 ` + sum +
	` debian/pool/main/z/zlib/zlib1g_1.3.dfsg+really1.3.1-1_amd64.deb
unpack linux-image-6.12-amd64 6.12.1-1 amd64 1 ` + sum + ` debian-security/pool/l/linux_1.deb
`

func TestParsePrintsWhatItRead(t *testing.T) {
	lock, err := Parse(strings.NewReader(sample))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample, lock.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if lock.Hash(Install) == lock.Hash(Unpack) {
		t.Error("different packages have one hash")
	}
}

func TestParseRefuses(t *testing.T) {
	tests := map[string]string{
		"no suite": "install a 1 amd64 1 " + sum + " a.deb\n",
		"an option's name": "suite trixie amd64 2026-11-21T20:00:00Z\ninstall -oDir=/ 1 amd64 1 " +
			sum + " a.deb\n",
		"leaving the pool": "suite trixie amd64 2026-11-21T20:00:00Z\ninstall aa 1 amd64 1 " + sum +
			" debian/../../a.deb\n",
		"an absolute path": "suite trixie amd64 2026-11-21T20:00:00Z\ninstall aa 1 amd64 1 " + sum +
			" /etc/a.deb\n",
		"a short sum": "suite trixie amd64 2026-11-21T20:00:00Z\ninstall aa 1 amd64 1 0123 a.deb\n",
		"no time":     "suite trixie amd64 yesterday\n",
		"no size": "suite trixie amd64 2026-11-21T20:00:00Z\ninstall aa 1 amd64 0 " + sum +
			" a.deb\n",
		"an unknown word": "suite trixie amd64 2026-11-21T20:00:00Z\nremove aa\n",
		"a missing field": "suite trixie amd64 2026-11-21T20:00:00Z\ninstall aa 1 amd64 1 a.deb\n",
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse(strings.NewReader(text)); !errors.Is(err, ErrSyntax) {
				t.Errorf("error = %v, want ErrSyntax", err)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample)
	f.Fuzz(func(t *testing.T, text string) {
		lock, err := Parse(strings.NewReader(text))
		if err != nil {
			return
		}
		again, err := Parse(strings.NewReader(lock.String()))
		if err != nil || again.String() != lock.String() {
			t.Errorf("a lock that was accepted does not survive its own text: %v", err)
		}
	})
}

func TestFetch(t *testing.T) {
	good := []byte("a package")
	digest := sha256.Sum256(good)
	pkg := Package{Role: Install, Name: "aa", Version: "1+b", Arch: "all", Size: int64(len(good)),
		SHA256: hex.EncodeToString(digest[:]), Path: "debian/pool/aa_1+b_all.deb"}
	tests := []struct {
		name    string
		answer  func(w http.ResponseWriter)
		wantErr bool
		is      error
	}{
		{"as locked", func(w http.ResponseWriter) { w.Write(good) }, false, nil},
		{"same length, other bytes", func(w http.ResponseWriter) { w.Write([]byte("A package")) },
			true, nil},
		{"truncated", func(w http.ResponseWriter) { w.Write(good[:4]) }, true, nil},
		{"gone from the mirror", func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) },
			true, ErrGone},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			asked := 0
			server := httptest.NewServer(
				http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					asked++
					if r.URL.Path != "/debian/pool/aa_1+b_all.deb" {
						t.Errorf("asked for %s", r.URL.Path)
					}
					tt.answer(w)
				}))
			defer server.Close()
			store := &Store{Dir: t.TempDir(), Mirror: server.URL, Client: server.Client()}
			lock := &Lock{Packages: []Package{pkg}}
			err := store.Fetch(context.Background(), lock)
			if (err != nil) != tt.wantErr || (tt.is != nil && !errors.Is(err, tt.is)) {
				t.Fatalf("Fetch: %v", err)
			}
			if tt.wantErr {
				if left, _ := os.ReadDir(store.Dir); len(left) != 0 {
					t.Errorf("a refused package left %s in the store", left[0].Name())
				}
				return
			}
			if err := store.Fetch(context.Background(), lock); err != nil || asked != 1 {
				t.Errorf("the second fetch: error %v, %d requests in all, want 1", err, asked)
			}
		})
	}
}

func TestParseURIs(t *testing.T) {
	out := "'http://m/debian-security/pool/updates/main/z/zlib/zlib1g_1.3.dfsg%2breally1.3.1-1%2bdeb13u1_amd64.deb' " +
		"zlib1g_1%3a1.3.dfsg+really1.3.1-1+deb13u1_amd64.deb 88720 \n"
	got, err := parseURIs([]byte(out))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].version != "1:1.3.dfsg+really1.3.1-1+deb13u1" ||
		got[0].name != "zlib1g" ||
		got[0].path != "debian-security/pool/updates/main/z/zlib/zlib1g_1.3.dfsg+really1.3.1-1+deb13u1_amd64.deb" {
		t.Errorf("got %+v", got)
	}
}

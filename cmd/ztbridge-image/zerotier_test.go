package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"

	"ztbridge/image/build/aptkey"
)

func TestZeroTierFlags(t *testing.T) {
	tests := []struct {
		name string
		z    zerotierFlags
		ok   bool
	}{
		{"nothing said", zerotierFlags{}, false},
		{"a test image", zerotierFlags{without: true}, true},
		{"a package and its sum", zerotierFlags{deb: "a.deb", sum: "00"}, true},
		{"a package without its sum", zerotierFlags{deb: "a.deb"}, false},
		{"a repository with its key",
			zerotierFlags{repository: "https://a", keyFile: "k", fingerprint: "00"}, true},
		{"a repository whose key is not named",
			zerotierFlags{repository: "https://a", keyFile: "k"}, false},
		{"a repository without a key", zerotierFlags{repository: "https://a", fingerprint: "00"},
			false},
		{"two sources", zerotierFlags{deb: "a.deb", sum: "00", repository: "https://a",
			keyFile: "k", fingerprint: "00"}, false},
		{"with and without", zerotierFlags{deb: "a.deb", sum: "00", without: true}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.z.check(); (err == nil) != tt.ok ||
				(err != nil && !errors.Is(err, errUsage)) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// A package or a key that is not the one meant ends the build before anything is downloaded with
// it.
func TestZeroTierThatIsNotTheOneMeant(t *testing.T) {
	file := filepath.Join(t.TempDir(), "zerotier-one.deb")
	if err := os.WriteFile(file, []byte("a package"), 0o644); err != nil {
		t.Fatal(err)
	}
	z := zerotierFlags{deb: file, sum: "0000"}
	if _, err := z.fetch(context.Background(), "amd64", t.TempDir()); err == nil {
		t.Error("a package with another sum was accepted")
	}
	entity, err := openpgp.NewEntity("somebody else", "", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	var key bytes.Buffer
	w, err := armor.Encode(&key, openpgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(entity.Serialize(w), w.Close()); err != nil {
		t.Fatal(err)
	}
	keyFile := filepath.Join(t.TempDir(), "key.asc")
	if err := os.WriteFile(keyFile, key.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	z = zerotierFlags{repository: "http://127.0.0.1:1", suite: "trixie", keyFile: keyFile,
		fingerprint: "74A5E9C458E1A431F1DA57A71657198823E52A61"}
	if _, err := z.fetch(context.Background(), "amd64", t.TempDir()); !errors.Is(err,
		aptkey.ErrOtherKey) {
		t.Errorf("another key: %v", err)
	}
}

package release

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"ztbridge/image/device/update"
)

// Keys sign a release.
type Keys struct {
	Release ed25519.PrivateKey // bundles, channel files, sums
	Apt     *openpgp.Entity    // the repository
}

// Names of the key files, and of the variables that may hold their content instead.
const (
	releaseKeyFile = "release.key"
	releasePubFile = "release.pub"
	aptKeyFile     = "apt.key"

	releaseKeyVariable = "ZTBRIDGE_RELEASE_KEY"
	aptKeyVariable     = "ZTBRIDGE_APT_KEY"
)

// LoadKeys reads the keys from the environment or else from the folder.
func LoadKeys(folder string) (Keys, error) {
	text, err := secret(folder, releaseKeyFile, releaseKeyVariable)
	if err != nil {
		return Keys{}, err
	}
	var k Keys
	if k.Release, err = update.DecodePrivateKey(text); err != nil {
		return Keys{}, err
	}
	if text, err = secret(folder, aptKeyFile, aptKeyVariable); err != nil {
		return Keys{}, err
	}
	ring, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(text))
	if err != nil {
		return Keys{}, fmt.Errorf("reading the repository's key: %w", err)
	}
	if len(ring) != 1 || ring[0].PrivateKey == nil || ring[0].PrivateKey.Encrypted {
		return Keys{}, errors.New(
			"reading the repository's key: want one private key without a passphrase")
	}
	k.Apt = ring[0]
	return k, nil
}

func secret(folder, file, variable string) ([]byte, error) {
	if text := os.Getenv(variable); text != "" {
		return []byte(text), nil
	}
	text, err := os.ReadFile(filepath.Join(folder, file))
	if err != nil {
		return nil, fmt.Errorf("reading keys: %w\nhint: `make release-keys` makes a set to try with; "+
			"%s may hold the key instead", err, variable)
	}
	return text, nil
}

// keyDate is the creation date of the keys. It lies before every commit whose release they sign,
// since a signature has the date of the commit.
var keyDate = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// MakeKeys writes a new set of keys into the folder and returns the files. It never overwrites one:
// machines in the field trust it.
func MakeKeys(folder string) ([]string, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("making keys: %w", err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making keys: %w", err)
	}
	entity, err := openpgp.NewEntity("ztbridge", "releases", "ztbridge@users.noreply.github.com",
		aptConfig(keyDate))
	if err != nil {
		return nil, fmt.Errorf("making keys: %w", err)
	}
	var apt bytes.Buffer
	w, err := armor.Encode(&apt, openpgp.PrivateKeyType, nil)
	if err != nil {
		return nil, fmt.Errorf("making keys: %w", err)
	}
	if err := errors.Join(entity.SerializePrivate(w, nil), w.Close()); err != nil {
		return nil, fmt.Errorf("making keys: %w", err)
	}
	var files []string
	for _, key := range []struct {
		name string
		mode os.FileMode
		text []byte
	}{
		{releaseKeyFile, 0o600, update.EncodeKey(private.Seed())},
		{releasePubFile, 0o644, update.EncodeKey(public)},
		{aptKeyFile, 0o600, append(apt.Bytes(), '\n')},
	} {
		file := filepath.Join(folder, key.name)
		if err := WriteKey(file, key.text, key.mode); err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

// WriteKey writes a key to a new file. An old key is never overwritten: boxes in the field trust
// it.
func WriteKey(file string, text []byte, mode os.FileMode) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("writing a key: %w", err)
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing a key: %w", err)
	}
	return nil
}

// aptConfig makes signatures whose bytes depend on the text, the key and the time alone.
func aptConfig(when time.Time) *packet.Config {
	deterministic := false
	return &packet.Config{DefaultHash: crypto.SHA512, Algorithm: packet.PubKeyAlgoEdDSA,
		Time:                                  func() time.Time { return when },
		NonDeterministicSignaturesViaNotation: &deterministic}
}

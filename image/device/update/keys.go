package update

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"strings"
)

// Key files have one line. It is the base64 of the 32 bytes of a public key, or of the seed of a
// private one.

// EncodeKey is the content of a key file.
func EncodeKey(b []byte) []byte { return []byte(base64.StdEncoding.EncodeToString(b) + "\n") }

// DecodePublicKey reads a key file.
func DecodePublicKey(text []byte) (ed25519.PublicKey, error) {
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(b) != ed25519.PublicKeySize {
		return nil, errors.New("reading the update key: it is not 32 bytes in base64")
	}
	return ed25519.PublicKey(b), nil
}

// DecodePrivateKey reads a key file.
func DecodePrivateKey(text []byte) (ed25519.PrivateKey, error) {
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(b) != ed25519.SeedSize {
		return nil, errors.New("reading the signing key: it is not 32 bytes in base64")
	}
	return ed25519.NewKeyFromSeed(b), nil
}

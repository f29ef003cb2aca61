package aptkey

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
)

// ErrOtherKey reports a key that is not the one meant.
var ErrOtherKey = errors.New("the key is not the one meant")

// Only returns the key with the given fingerprint, ASCII-armoured, and nothing else of the text.
// apt would trust other keys in it as well. The fingerprint is the whole one in hex, with or
// without spaces.
func Only(armored []byte, fingerprint string) ([]byte, error) {
	keys, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(armored))
	if err != nil {
		return nil, fmt.Errorf("reading the repository's key: %w", err)
	}
	if len(keys) != 1 {
		return nil, fmt.Errorf("reading the repository's key: there are %d, want one", len(keys))
	}
	got := hex.EncodeToString(keys[0].PrimaryKey.Fingerprint)
	if want := strings.ToLower(strings.ReplaceAll(fingerprint, " ", "")); want != got {
		return nil, fmt.Errorf("%w: its fingerprint is %s, not %s", ErrOtherKey,
			strings.ToUpper(got), fingerprint)
	}
	return Armor(keys[0])
}

// Armor returns the public part of a key, as machines take a repository's packages by.
func Armor(key *openpgp.Entity) ([]byte, error) {
	var out bytes.Buffer
	w, err := armor.Encode(&out, openpgp.PublicKeyType, nil)
	if err != nil {
		return nil, fmt.Errorf("writing the repository's key: %w", err)
	}
	if err := errors.Join(key.Serialize(w), w.Close()); err != nil {
		return nil, fmt.Errorf("writing the repository's key: %w", err)
	}
	return append(out.Bytes(), '\n'), nil
}

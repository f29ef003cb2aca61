package aptkey

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
)

func newKey(t *testing.T) (armored []byte, fingerprint string) {
	t.Helper()
	entity, err := openpgp.NewEntity("test", "", "test@example.org", nil)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := armor.Encode(&out, openpgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(entity.Serialize(w), w.Close()); err != nil {
		t.Fatal(err)
	}
	return append(out.Bytes(), '\n'), hex.EncodeToString(entity.PrimaryKey.Fingerprint)
}

func TestOnly(t *testing.T) {
	key, fingerprint := newKey(t)
	other, otherFingerprint := newKey(t)
	spaced := strings.ToUpper(fingerprint[:20] + "  " + fingerprint[20:])
	tests := []struct {
		name        string
		text        []byte
		fingerprint string
		ok          bool
	}{
		{"the key meant", key, fingerprint, true},
		{"as people print fingerprints", key, spaced, true},
		{"another key", other, fingerprint, false},
		{"the end of the fingerprint", key, fingerprint[24:], false},
		{"no fingerprint", key, "", false},
		{"no key", []byte("x"), fingerprint, false},
		{"another key behind it", append(append([]byte(nil), key...), other...), fingerprint, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Only(tt.text, tt.fingerprint)
			if (err == nil) != tt.ok {
				t.Fatalf("error %v", err)
			}
			if !tt.ok {
				return
			}
			keys, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(got))
			if err != nil || len(keys) != 1 ||
				hex.EncodeToString(keys[0].PrimaryKey.Fingerprint) != fingerprint {
				t.Errorf("%d keys, %v", len(keys), err)
			}
			if n := strings.Count(string(got), "BEGIN PGP"); n != 1 {
				t.Errorf("%d blocks, of which apt would trust each", n)
			}
		})
	}
	if _, err := Only(other, fingerprint); !errors.Is(err, ErrOtherKey) ||
		!strings.Contains(err.Error(), strings.ToUpper(otherFingerprint)) {
		t.Errorf("the error does not say which key it is: %v", err)
	}
}

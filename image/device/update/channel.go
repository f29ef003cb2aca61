package update

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"time"

	"aead.dev/minisign"
	"golang.org/x/crypto/blake2b"
)

// Channel says which version is current. It is a file beside the bundles, with a signature in
// minisign's format by the key that bundles are signed with.
type Channel struct {
	Name    string    `json:"channel"`
	Version string    `json:"version"`
	Created time.Time `json:"created"`
	// Expires ends the time in which the file is valid. An attacker who answers in the server's
	// place could otherwise show an old one forever.
	Expires time.Time               `json:"expires"`
	Bundles map[string]ChannelEntry `json:"bundles"` // by target
}

// ChannelEntry is the bundle of one target.
type ChannelEntry struct {
	File string `json:"file"` // beside the channel file
	Size int64  `json:"size"` // bytes
}

// Errors of channel files that are refused.
var (
	ErrChannel  = errors.New("this is no channel file of updates")
	ErrUnsigned = errors.New("the channel file is not signed by the key that this box trusts")
	ErrExpired  = errors.New("the channel file has expired")
	ErrReplayed = errors.New("the channel file is older than one that this box has seen")
)

// SignatureSuffix is what minisign appends to the name of a signed file.
const SignatureSuffix = ".minisig"

// Sign returns a signature in minisign's format. The comment is signed as well.
func Sign(text []byte, comment string, key ed25519.PrivateKey) ([]byte, error) {
	// What minisign's package calls random is the seed of the key.
	_, private, err := minisign.GenerateKey(bytes.NewReader(key.Seed()))
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	r := minisign.NewReader(bytes.NewReader(text))
	if _, err := io.Copy(io.Discard, r); err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return r.SignWithComments(private, comment, "signature of ztbridge's release key"), nil
}

// MinisignKey is the public key in the form that minisign's -P takes.
func MinisignKey(key ed25519.PublicKey) string {
	id := blake2b.Sum256(key)
	text := binary.LittleEndian.AppendUint64([]byte("Ed"), binary.LittleEndian.Uint64(id[:8]))
	return base64.StdEncoding.EncodeToString(append(text, key...))
}

// verify reports whether the signature, in minisign's format, is of the text and by the key.
func verify(text, signature []byte, key ed25519.PublicKey) bool {
	var public minisign.PublicKey
	if err := public.UnmarshalText([]byte(MinisignKey(key))); err != nil {
		return false
	}
	r := minisign.NewReader(bytes.NewReader(text))
	if _, err := io.Copy(io.Discard, r); err != nil {
		return false
	}
	return r.Verify(public, signature)
}

// OpenChannel verifies the signature before it looks at anything else. Whether the file is still
// current is the caller's question.
func OpenChannel(text, signature []byte, key ed25519.PublicKey) (Channel, error) {
	if !verify(text, signature, key) {
		return Channel{}, ErrUnsigned
	}
	var c Channel
	if err := json.Unmarshal(text, &c); err != nil {
		return Channel{}, fmt.Errorf("%w: %w", ErrChannel, err)
	}
	for target, entry := range c.Bundles {
		if entry.File == "" || entry.File != path.Base(entry.File) || entry.File[0] == '.' {
			return Channel{}, fmt.Errorf("%w: the bundle of %s is %q", ErrChannel, target,
				entry.File)
		}
	}
	if c.Name == "" || c.Created.IsZero() || c.Expires.IsZero() {
		return Channel{}, fmt.Errorf("%w: it lacks its name or its times", ErrChannel)
	}
	return c, nil
}

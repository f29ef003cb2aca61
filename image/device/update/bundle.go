package update

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"
	"pault.ag/go/debian/version"
)

// A bundle has five parts. They are magic, length of the manifest (32 bits, big endian), manifest
// (JSON), its Ed25519 signature, and the slot's content compressed by zstd. The signature is over
// everything before it, and the manifest has the sums of the rest.
const magic = "ZTBRIDGE-UPDATE 1\n"

const (
	maxManifest = 64 << 10
	maxSlot     = 2 << 30
)

// Manifest says what is in a bundle.
type Manifest struct {
	Target  string `json:"target"`
	Version string `json:"version"` // in Debian's order, see deb-version(7)
	// Created is the time of the system in the bundle. Bundles of early versions have none.
	Created       time.Time `json:"created,omitzero"`
	SlotSize      int64     `json:"slot_size"` // bytes of the slot, unpacked
	SlotSHA256    string    `json:"slot_sha256"`
	PayloadSize   int64     `json:"payload_size"`
	PayloadSHA256 string    `json:"payload_sha256"`
}

// freshFor is how long a bundle counts as current. A system older than that lacks months of
// security fixes, and whoever withholds newer ones can still serve it.
const freshFor = 90 * 24 * time.Hour

// Age tells how old the system in the bundle is when it is older than a current one, else "".
func (m Manifest) Age(now time.Time) string {
	age := now.Sub(m.Created)
	if m.Created.IsZero() || age <= freshFor {
		return ""
	}
	return fmt.Sprintf("this bundle is older than %d days (made %s): look for a newer one",
		int(age.Hours()/24), m.Created.UTC().Format(time.DateOnly))
}

// Errors of bundles that are refused. Nothing has been changed when they are returned.
var (
	ErrNotBundle = errors.New("this is no update bundle")
	ErrSignature = errors.New("the bundle is not signed by the key that this box trusts")
	ErrDamaged   = errors.New("the bundle is damaged or incomplete")
)

// Bundle is one whose signature and payload have been verified.
type Bundle struct {
	Manifest Manifest
	payload  io.ReadSeeker
	start    int64
}

// Open verifies the signature before it looks at anything else, and then the whole payload.
func Open(f io.ReadSeeker, key ed25519.PublicKey) (*Bundle, error) {
	head := make([]byte, len(magic)+4)
	if _, err := io.ReadFull(f, head); err != nil || string(head[:len(magic)]) != magic {
		return nil, ErrNotBundle
	}
	n := binary.BigEndian.Uint32(head[len(magic):])
	if n > maxManifest {
		return nil, ErrNotBundle
	}
	signed := slices.Concat(head, make([]byte, n))
	signature := make([]byte, ed25519.SignatureSize)
	if _, err := io.ReadFull(f, signed[len(head):]); err != nil {
		return nil, ErrDamaged
	}
	if _, err := io.ReadFull(f, signature); err != nil {
		return nil, ErrDamaged
	}
	if !ed25519.Verify(key, signed, signature) {
		return nil, ErrSignature
	}
	b := &Bundle{payload: f, start: int64(len(signed) + len(signature))}
	if err := json.Unmarshal(signed[len(head):], &b.Manifest); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if b.Manifest.SlotSize <= 0 || b.Manifest.SlotSize > maxSlot {
		return nil, fmt.Errorf("%w: a slot of %d bytes", ErrDamaged, b.Manifest.SlotSize)
	}
	return b, b.verifyPayload()
}

func (b *Bundle) verifyPayload() error {
	sum := sha256.New()
	// One byte more than was signed is enough to refuse it: the source may have no end.
	n, err := io.Copy(sum, io.LimitReader(b.payload, b.Manifest.PayloadSize+1))
	if err != nil {
		return fmt.Errorf("reading the bundle: %w", err)
	}
	if n != b.Manifest.PayloadSize || hex.EncodeToString(sum.Sum(nil)) != b.Manifest.PayloadSHA256 {
		return fmt.Errorf("%w: its content is not the one that was signed", ErrDamaged)
	}
	return nil
}

// slot returns a reader of the unpacked slot.
func (b *Bundle) slot() (io.ReadCloser, error) {
	if _, err := b.payload.Seek(b.start, io.SeekStart); err != nil {
		return nil, fmt.Errorf("reading the bundle: %w", err)
	}
	r, err := zstd.NewReader(b.payload, zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderMaxMemory(64<<20))
	if err != nil {
		return nil, fmt.Errorf("unpacking the bundle: %w", err)
	}
	return r.IOReadCloser(), nil
}

// Write makes a bundle of a compressed slot and signs it. Of the manifest, target, version and time
// are taken; slotFile must be the zstd file that a build has written.
func Write(w io.Writer, m Manifest, slotFile string, key ed25519.PrivateKey) error {
	if _, err := version.Parse(m.Version); err != nil {
		return fmt.Errorf("writing the bundle: version %q: %w", m.Version, err)
	}
	if err := m.measure(slotFile); err != nil {
		return err
	}
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("writing the bundle: %w", err)
	}
	signed := append(binary.BigEndian.AppendUint32([]byte(magic), uint32(len(text))), text...)
	f, err := os.Open(slotFile)
	if err != nil {
		return fmt.Errorf("writing the bundle: %w", err)
	}
	defer f.Close()
	for _, part := range [][]byte{signed, ed25519.Sign(key, signed)} {
		if _, err := w.Write(part); err != nil {
			return fmt.Errorf("writing the bundle: %w", err)
		}
	}
	if _, err := io.Copy(w, f); err != nil {
		return fmt.Errorf("writing the bundle: %w", err)
	}
	return nil
}

func (m *Manifest) measure(slotFile string) error {
	f, err := os.Open(slotFile)
	if err != nil {
		return fmt.Errorf("measuring the slot: %w", err)
	}
	defer f.Close()
	packed, raw := sha256.New(), sha256.New()
	counted := &counter{r: io.TeeReader(f, packed)}
	r, err := zstd.NewReader(counted)
	if err != nil {
		return fmt.Errorf("measuring the slot: %w", err)
	}
	defer r.Close()
	if m.SlotSize, err = io.Copy(raw, r); err != nil {
		return fmt.Errorf("measuring the slot: %w", err)
	}
	m.PayloadSize, m.PayloadSHA256, m.SlotSHA256 = counted.n, hex.EncodeToString(packed.Sum(nil)),
		hex.EncodeToString(raw.Sum(nil))
	return nil
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

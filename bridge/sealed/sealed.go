package sealed

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
)

// Errors that a person can do something about.
var (
	// ErrPassphrase is returned when a file does not open with the passphrase.
	ErrPassphrase = errors.New("the passphrase does not open this backup")
	// ErrWeak is returned for a passphrase that would not protect what is inside.
	ErrWeak = fmt.Errorf("the passphrase is shorter than %d characters", minPassphrase)
)

const (
	minPassphrase = 12
	// maxWork is the highest scrypt cost accepted, age's own limit for scrypt recipients.
	maxWork = 22
)

// Seal returns a writer that encrypts to w. What is written is complete when Close returned nil; w
// is not closed. work is the logarithm of scrypt's cost, 0 for age's default. A passphrase that is
// too short is ErrWeak.
func Seal(w io.Writer, passphrase string, work int) (io.WriteCloser, error) {
	if len([]rune(passphrase)) < minPassphrase {
		return nil, ErrWeak
	}
	to, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, fmt.Errorf("preparing the encryption: %w", err)
	}
	if work != 0 {
		to.SetWorkFactor(work)
	}
	sealed, err := age.Encrypt(w, to)
	if err != nil {
		return nil, fmt.Errorf("encrypting the backup: %w", err)
	}
	return sealed, nil
}

// Armored returns a writer of age's text format to w, for what Seal writes.
func Armored(w io.Writer) io.WriteCloser { return armor.NewWriter(w) }

// Open returns the content of r, binary or armoured. It must be read to its end: only there it is
// known that nothing was cut off. A wrong passphrase is ErrPassphrase.
func Open(r io.Reader, passphrase string) (io.Reader, error) {
	id, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, fmt.Errorf("preparing the decryption: %w", err)
	}
	id.SetMaxWorkFactor(maxWork)
	in := bufio.NewReader(r)
	var sealed io.Reader = in
	if start, err := in.Peek(len(armor.Header)); err == nil &&
		strings.HasPrefix(string(start), armor.Header) {
		sealed = armor.NewReader(in)
	}
	plain, err := age.Decrypt(sealed, id)
	if _, wrong := errors.AsType[*age.NoIdentityMatchError](err); wrong {
		return nil, ErrPassphrase
	}
	if err != nil {
		return nil, fmt.Errorf("opening the backup: %w", err)
	}
	return plain, nil
}

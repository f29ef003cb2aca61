package profile

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// Credentials are secrets. They print as "[redacted]" everywhere.
type Credentials struct {
	Username      string
	Password      string
	KeyPassphrase string // of an encrypted private key; usually empty
}

const redacted = "[redacted]"

// String hides the secrets.
func (Credentials) String() string { return redacted }

// GoString hides the secrets from %#v.
func (Credentials) GoString() string { return redacted }

// LogValue hides the secrets from slog.
func (Credentials) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides the secrets from JSON and YAML.
func (Credentials) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// ErrCredentials reports credentials that do not go with a profile.
var ErrCredentials = errors.New("the credentials do not go with the profile")

// maxSecret is the longest word that openvpn reads (OPTION_PARM_SIZE), in bytes.
const maxSecret = 255

// CheckCredentials returns ErrCredentials where the profile asks for more than the credentials,
// which may be nil, hold, or where they cannot be handed to openvpn. Whether they are right only
// the server knows.
func (p *Profile) CheckCredentials(c *Credentials) error {
	if c == nil {
		c = &Credentials{}
	}
	switch {
	case p.NeedsCredentials && (c.Username == "" || c.Password == ""):
		return fmt.Errorf("%w: it asks for a user name and a password (auth-user-pass)",
			ErrCredentials)
	case p.NeedsPassphrase && c.KeyPassphrase == "":
		return fmt.Errorf("%w: its private key is encrypted and needs a passphrase", ErrCredentials)
	}
	for _, secret := range []string{c.Username, c.Password, c.KeyPassphrase} {
		if strings.ContainsAny(secret, "\n\r\x00") || len(secret) > maxSecret {
			return fmt.Errorf("%w: one of them holds a line break or more than %d bytes",
				ErrCredentials, maxSecret)
		}
	}
	return nil
}

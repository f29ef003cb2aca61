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

// credentialsError is one kind of ErrCredentials.
type credentialsError string

func (e credentialsError) Error() string { return string(e) }

// Is reports whether target is ErrCredentials.
func (credentialsError) Is(target error) bool { return target == ErrCredentials }

// maxSecret is the longest word that openvpn reads (OPTION_PARM_SIZE), in bytes.
const maxSecret = 255

// CheckCredentials returns ErrCredentials where the profile asks for more than the credentials,
// which may be nil, hold, or where they cannot be handed to openvpn. Whether they are right only
// the server knows.
func (p *Profile) CheckCredentials(c *Credentials) error {
	if p.members != nil {
		for _, name := range p.Members() {
			if err := p.members[name].CheckCredentials(c); err != nil {
				return err
			}
		}
		return nil
	}
	c = p.CredentialsOr(c)
	switch {
	case p.NeedsCredentials && (c.Username == "" || c.Password == ""):
		return credentialsError(`this profile needs a user name and password; add ` +
			`"credentials: FILE"`)
	case p.NeedsPassphrase && c.KeyPassphrase == "":
		return credentialsError("the profile's private key is encrypted; write its passphrase " +
			"into the credentials file")
	}
	for _, secret := range []string{c.Username, c.Password, c.KeyPassphrase} {
		if strings.ContainsAny(secret, "\n\r\x00") || len(secret) > maxSecret {
			return credentialsError(fmt.Sprintf(
				"the credentials hold a line break or more than %d bytes", maxSecret))
		}
	}
	return nil
}

// CredentialsOr returns c, completed by the user name and password that the profile itself holds.
// It never returns nil.
func (p *Profile) CredentialsOr(c *Credentials) *Credentials {
	if c == nil {
		c = &Credentials{}
	}
	if c.Username != "" || p.embedded == nil {
		return c
	}
	return &Credentials{Username: p.embedded.Username, Password: p.embedded.Password,
		KeyPassphrase: c.KeyPassphrase}
}

// Secrets returns the credentials that the profile itself holds, to tell whether they changed. They
// are no part of Text.
func (p *Profile) Secrets() string {
	out := ""
	for _, name := range p.Members() {
		out += p.members[name].Secrets()
	}
	add := func(c *Credentials) {
		if c != nil {
			out += c.Username + "\x00" + c.Password + "\x00"
		}
	}
	add(p.embedded)
	add(p.proxyLogins[Proxy{}])
	for _, r := range p.Remotes {
		add(p.proxyLogins[r.Proxy])
	}
	return out
}

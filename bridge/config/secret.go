package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
)

const redacted = "(redacted)"

// Secret is a text that prints as "(redacted)" by every verb of fmt, in JSON, YAML and slog. Reveal
// is the only way to it. The zero Secret is empty.
type Secret struct {
	// This is a pointer because fmt sometimes skips the methods, such as for a bad verb on a struct
	// that a pointer leads to. It prints an address then.
	text *string
}

// NewSecret wraps a text.
func NewSecret(text string) Secret { return Secret{&text} }

// Reveal returns the text.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// Equal reports whether the texts are equal. A reload compares configurations with it, by go-cmp.
func (s Secret) Equal(other Secret) bool { return s.Reveal() == other.Reveal() }

// String returns a constant.
func (s Secret) String() string { return redacted }

// Format writes a constant for every verb and flag, %#v and %x included.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalJSON returns a constant.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }

// MarshalYAML returns a constant.
func (s Secret) MarshalYAML() (any, error) { return redacted, nil }

// MarshalText returns a constant.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue returns a constant.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

package profile

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestCheckCredentials(t *testing.T) {
	asks := func(user, key bool) *Profile {
		return &Profile{NeedsCredentials: user, NeedsPassphrase: key}
	}
	tests := []struct {
		name    string
		profile *Profile
		given   *Credentials
		want    string // of the error
	}{
		{"nothing is asked", asks(false, false), nil, ""},
		{"more than is asked", asks(false, false), &Credentials{Username: "u", Password: "p"}, ""},
		{"no credentials", asks(true, false), nil, "a user name and password"},
		{"a passphrase alone", asks(true, false), &Credentials{KeyPassphrase: "k"},
			"a user name and password"},
		{"no password", asks(true, false), &Credentials{Username: "u"},
			"a user name and password"},
		{"no passphrase", asks(true, true), &Credentials{Username: "u", Password: "p"},
			"its passphrase"},
		{"all that is asked", asks(true, true),
			&Credentials{Username: "u", Password: "p", KeyPassphrase: "k"}, ""},
		{"a command behind the password", asks(true, false),
			&Credentials{Username: "u", Password: "p\nsignal SIGTERM"}, "line break"},
		{"more than openvpn reads", asks(false, true),
			&Credentials{KeyPassphrase: strings.Repeat("k", 256)}, "255 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.profile.CheckCredentials(tt.given)
			if tt.want == "" && err != nil || tt.want != "" &&
				(!errors.Is(err, ErrCredentials) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func TestSecretsAreHidden(t *testing.T) {
	c := Credentials{Username: "alice", Password: "hunter2", KeyPassphrase: "swordfish"}
	data, err := json.Marshal(map[string]any{"c": c, "p": &c})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprint(c), fmt.Sprintf("%+v %#v %v", c, c, &c), string(data),
		c.LogValue().String()} {
		for _, secret := range []string{"alice", "hunter2", "swordfish"} {
			if strings.Contains(text, secret) {
				t.Errorf("%q shows %q", text, secret)
			}
		}
	}
}

package pki

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Errors of the index. They are wrapped with the name at fault.
var (
	ErrBadName   = errors.New("not a valid client name")
	ErrExists    = errors.New("a client of this name exists")
	ErrUnknown   = errors.New("no such client")
	ErrRevoked   = errors.New("the client is revoked")
	ErrHostTaken = errors.New("the address belongs to another client")
	ErrPoolFull  = errors.New("no address is left in the pool")
)

// FirstHost is the lowest host number of a client: 0 is the network, 1 the server.
const FirstHost = 2

// Client is one client as the index knows it.
type Client struct {
	Name    string     `json:"name"`
	Serial  string     `json:"serial"` // of the certificate, lower-case hexadecimal
	Issued  time.Time  `json:"issued"`
	Expires time.Time  `json:"expires"`
	Revoked *time.Time `json:"revoked,omitempty"`
	// Host is the client's number in every listener's pool: its address there is the pool's first
	// address plus Host. It never changes, so that a policy can name the address.
	Host uint32 `json:"host"`
	Settings
}

// Settings are what a client is told at each connection. The zero value follows the configuration,
// so that a change there reaches every client without a new profile.
type Settings struct {
	// Tunnel is TunnelFull or TunnelZeroTier, or empty to follow the configuration.
	Tunnel string `json:"tunnel,omitempty"`
	// DNS tells the client to resolve names through the tunnel; nil follows the configuration.
	DNS *bool `json:"dns,omitempty"`
}

// The values of Settings.Tunnel.
const (
	TunnelFull     = "full"     // everything goes through the tunnel
	TunnelZeroTier = "zerotier" // only traffic for the ZeroTier networks does
)

func (s Settings) check() error {
	switch s.Tunnel {
	case "", TunnelFull, TunnelZeroTier:
		return nil
	}
	return fmt.Errorf("%.40q is not a mode of the tunnel (%s or %s)", s.Tunnel, TunnelFull,
		TunnelZeroTier)
}

// Valid reports whether the client may connect at now.
func (c Client) Valid(now time.Time) bool {
	return c.Revoked == nil && now.Before(c.Expires)
}

// revocation is one serial of the revocation list. It is kept until the certificate has expired,
// also when the client's name has been issued again.
type revocation struct {
	Serial  string    `json:"serial"`
	At      time.Time `json:"at"`
	Expires time.Time `json:"expires"`
}

// index is the content of index.json.
type index struct {
	Version  int          `json:"version"`
	Clients  []Client     `json:"clients"`
	Revoked  []revocation `json:"revoked"`
	NextHost uint32       `json:"next_host"`

	// old is set for an index that was read in version 1.
	old bool
}

// indexVersion is the version that is written. In version 1 every client had settings of its own.
const indexVersion = 2

// clientV1 is a client of version 1.
type clientV1 struct {
	Client
	NetworkOnly bool `json:"network_only"`
	NoDNS       bool `json:"no_dns"`
}

// upgrade returns the client with the settings that it had.
func (c clientV1) upgrade() Client {
	tunnel, dns := TunnelFull, !c.NoDNS
	if c.NetworkOnly {
		tunnel = TunnelZeroTier
	}
	c.Settings = Settings{Tunnel: tunnel, DNS: &dns}
	return c.Client
}

func newIndex() *index { return &index{Version: indexVersion, NextHost: FirstHost} }

// parseIndex reads index.json. It refuses unknown fields, which a newer version may rely on.
func parseIndex(data []byte) (*index, error) {
	var of struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &of); err == nil && of.Version > indexVersion {
		return nil, fmt.Errorf("parsing the index of clients: %w: %d, this program knows %d",
			ErrNewer, of.Version, indexVersion)
	}
	ix, err := decodeIndex(data, of.Version)
	if err != nil {
		return nil, fmt.Errorf("parsing the index of clients: %w", err)
	}
	seen := map[string]bool{}
	for _, c := range ix.Clients {
		if err := CheckName(c.Name); err != nil {
			return nil, fmt.Errorf("parsing the index of clients: %w", err)
		}
		if seen[strings.ToLower(c.Name)] {
			return nil, fmt.Errorf("parsing the index of clients: %s stands there twice", c.Name)
		}
		seen[strings.ToLower(c.Name)] = true
		if _, err := parseSerial(c.Serial); err != nil {
			return nil, fmt.Errorf("parsing the index of clients: %s: %w", c.Name, err)
		}
		if err := c.check(); err != nil {
			return nil, fmt.Errorf("parsing the index of clients: %s: %w", c.Name, err)
		}
	}
	for _, r := range ix.Revoked {
		if _, err := parseSerial(r.Serial); err != nil {
			return nil, fmt.Errorf("parsing the index of clients: revocation: %w", err)
		}
	}
	return ix, nil
}

// decodeIndex decodes an index of either version.
func decodeIndex(data []byte, version int) (*index, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	ix := newIndex()
	switch version {
	case indexVersion:
		return ix, dec.Decode(ix)
	case 1:
		v1 := struct {
			*index
			Clients []clientV1 `json:"clients"`
		}{index: ix}
		if err := dec.Decode(&v1); err != nil {
			return nil, err
		}
		for _, c := range v1.Clients {
			ix.Clients = append(ix.Clients, c.upgrade())
		}
		ix.Version, ix.old = indexVersion, true
		return ix, nil
	}
	return nil, fmt.Errorf("version %d, this program knows %d", version, indexVersion)
}

func (ix *index) encode() ([]byte, error) {
	data, err := json.MarshalIndent(ix, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the index of clients: %w", err)
	}
	return append(data, '\n'), nil
}

func (ix *index) find(name string) int {
	return slices.IndexFunc(ix.Clients,
		func(c Client) bool { return strings.EqualFold(c.Name, name) })
}

// put adds a client, or replaces a revoked one of the same name.
func (ix *index) put(c Client) error {
	i := ix.find(c.Name)
	if i < 0 {
		ix.Clients = append(ix.Clients, c)
		slices.SortFunc(ix.Clients,
			func(a, b Client) int { return strings.Compare(a.Name, b.Name) })
		return nil
	}
	if ix.Clients[i].Revoked == nil {
		return fmt.Errorf("%w: %s", ErrExists, ix.Clients[i].Name)
	}
	ix.Clients[i] = c
	return nil
}

// host chooses the host number of a client. That is the wanted one if it is free, else the earlier
// one of a name that is used again, else one that was never used. Numbers of former clients are
// reused only when the pool is used up: a policy rule for a former client must not apply to another
// one.
func (ix *index) host(name string, want, last uint32) (uint32, error) {
	taken := map[uint32]string{}
	for _, c := range ix.Clients {
		if c.Revoked == nil && !strings.EqualFold(c.Name, name) {
			taken[c.Host] = c.Name
		}
	}
	if want != 0 {
		if who, ok := taken[want]; ok {
			return 0, fmt.Errorf("%w: %s", ErrHostTaken, who)
		}
		if want < FirstHost || want > last {
			return 0, fmt.Errorf("host number %d is outside %d to %d", want, FirstHost, last)
		}
		return want, nil
	}
	if i := ix.find(name); i >= 0 {
		if h := ix.Clients[i].Host; taken[h] == "" && h <= last {
			return h, nil
		}
	}
	for h := max(ix.NextHost, FirstHost); h <= last; h++ {
		if taken[h] == "" {
			return h, nil
		}
	}
	for h := uint32(FirstHost); h <= last; h++ {
		if taken[h] == "" {
			return h, nil
		}
	}
	return 0, fmt.Errorf("%w (%d addresses)", ErrPoolFull, last-FirstHost+1)
}

// follow clears the settings that agree with the configuration's, so that clients follow it.
func (ix *index) follow(defaults Settings) {
	for i := range ix.Clients {
		c := &ix.Clients[i]
		if c.Tunnel == defaults.Tunnel {
			c.Tunnel = ""
		}
		if c.DNS != nil && defaults.DNS != nil && *c.DNS == *defaults.DNS {
			c.DNS = nil
		}
	}
}

// revoke marks a client and remembers its serial.
func (ix *index) revoke(name string, now time.Time) (Client, error) {
	i := ix.find(name)
	if i < 0 {
		return Client{}, fmt.Errorf("%w: %s", ErrUnknown, name)
	}
	c := &ix.Clients[i]
	if c.Revoked != nil {
		return *c, fmt.Errorf("%w: %s, since %s", ErrRevoked, c.Name,
			c.Revoked.Format(time.DateOnly))
	}
	at := now.UTC().Truncate(time.Second)
	c.Revoked = &at
	ix.Revoked = append(ix.Revoked, revocation{Serial: c.Serial, At: at, Expires: c.Expires})
	return *c, nil
}

// merge adds the revocations of another index of the same authority, and the host numbers that it
// has assigned. It returns the names of the clients that it revokes.
func (ix *index) merge(other *index) (revoked []string) {
	for _, r := range other.Revoked {
		if !slices.ContainsFunc(ix.Revoked,
			func(have revocation) bool { return have.Serial == r.Serial }) {
			ix.Revoked = append(ix.Revoked, r)
		}
		for i := range ix.Clients {
			if c := &ix.Clients[i]; c.Serial == r.Serial && c.Revoked == nil {
				at := r.At
				c.Revoked = &at
				revoked = append(revoked, c.Name)
			}
		}
	}
	ix.NextHost = max(ix.NextHost, other.NextHost)
	return revoked
}

// namePattern matches names that OpenVPN, file systems and shells take unchanged.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,47}$`)

// CheckName returns ErrBadName unless name can name a client. It has 1 to 48 letters, digits, dots,
// dashes and underscores, and begins with a letter or digit. The server's own name is refused too.
func CheckName(name string) error {
	if !namePattern.MatchString(name) {
		return fmt.Errorf("%w: %.60q (letters, digits, dots, dashes and "+
			"underscores, beginning with a letter or a digit; at most 48)",
			ErrBadName, name)
	}
	if strings.EqualFold(name, ServerName) {
		return fmt.Errorf("%w: %s is the server's", ErrBadName, name)
	}
	return nil
}

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
	// address plus Host. It stays the client's own for good, so that a policy can name the address.
	Host uint32 `json:"host"`
	// NetworkOnly gives the client routes to the ZeroTier network alone; otherwise everything goes
	// through the tunnel.
	NetworkOnly bool `json:"network_only,omitempty"`
	// NoDNS leaves the client's own resolvers alone.
	NoDNS bool `json:"no_dns,omitempty"`
}

// Valid says whether the client may connect at now.
func (c Client) Valid(now time.Time) bool {
	return c.Revoked == nil && now.Before(c.Expires)
}

// revocation is one serial of the revocation list. It is kept until the certificate has expired,
// also when the client's name has been issued anew.
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
}

const indexVersion = 1

func newIndex() *index { return &index{Version: indexVersion, NextHost: FirstHost} }

// parseIndex reads index.json, strictly: a field that this version does not know may be one that it
// would have to obey.
func parseIndex(data []byte) (*index, error) {
	var of struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &of); err == nil && of.Version > indexVersion {
		return nil, fmt.Errorf("parsing the index of clients: %w: %d, this program knows %d",
			ErrNewer, of.Version, indexVersion)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var ix index
	if err := dec.Decode(&ix); err != nil {
		return nil, fmt.Errorf("parsing the index of clients: %w", err)
	}
	if ix.Version != indexVersion {
		return nil, fmt.Errorf("parsing the index of clients: version %d, this program knows %d",
			ix.Version, indexVersion)
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
	}
	for _, r := range ix.Revoked {
		if _, err := parseSerial(r.Serial); err != nil {
			return nil, fmt.Errorf("parsing the index of clients: revocation: %w", err)
		}
	}
	return &ix, nil
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

// host chooses the host number of a client: the wanted one when it is free, else the same as before
// for a name that is issued anew, else one that nobody had, so that a policy written for a client
// that is gone does not apply to a stranger; only a pool that is used up gives such numbers again.
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

// merge takes over the revocations of another index of the same authority, and numbers that it has
// given away. It returns the names of clients that it bars.
func (ix *index) merge(other *index) (barred []string) {
	for _, r := range other.Revoked {
		if !slices.ContainsFunc(ix.Revoked,
			func(have revocation) bool { return have.Serial == r.Serial }) {
			ix.Revoked = append(ix.Revoked, r)
		}
		for i := range ix.Clients {
			if c := &ix.Clients[i]; c.Serial == r.Serial && c.Revoked == nil {
				at := r.At
				c.Revoked = &at
				barred = append(barred, c.Name)
			}
		}
	}
	ix.NextHost = max(ix.NextHost, other.NextHost)
	return barred
}

// Letters that OpenVPN leaves alone in a common name and every file system and shell takes as they
// are.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,47}$`)

// CheckName returns ErrBadName unless name can name a client: 1 to 48 letters, digits, dots, dashes
// and underscores, beginning with a letter or digit. The server's own name is refused too.
func CheckName(name string) error {
	if !namePattern.MatchString(name) {
		return fmt.Errorf("%w: %.60q (letters, digits, dots, dashes and underscores; at most 48)",
			ErrBadName, name)
	}
	if strings.EqualFold(name, ServerName) {
		return fmt.Errorf("%w: %s is the server's", ErrBadName, name)
	}
	return nil
}

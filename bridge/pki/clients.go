package pki

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"syscall"
	"time"
)

// Request asks for a new client.
type Request struct {
	Name string
	Life time.Duration // of the certificate; 0 means DefaultClientLife
	// Host is the wanted host number, 0 for any; LastHost is the highest that fits every pool.
	Host, LastHost uint32
	Settings
}

// Credentials are what a client needs to connect. They print as their owner's name only.
type Credentials struct {
	Client                 Client
	CA, Cert, Key, CryptV2 []byte // PEM
}

// String names the owner, never a key.
func (c Credentials) String() string { return "credentials of " + c.Client.Name }

// GoString is String, for %#v.
func (c Credentials) GoString() string { return c.String() }

// LogValue is String, for log/slog.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Server is what the server processes need. It prints without its keys.
type Server struct {
	CA, Cert, Key, CryptV2, CRL []byte // PEM
	Expires                     time.Time
	CAFrom, CAUntil             time.Time // the authority's own validity
}

// String returns when the certificate expires, never a key.
func (s Server) String() string {
	return "server credentials, valid until " + s.Expires.Format(time.DateOnly)
}

// GoString is String, for %#v.
func (s Server) GoString() string { return s.String() }

// LogValue is String, for log/slog.
func (s Server) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Add issues certificate and keys to a new client and adds it to the index. The name of a revoked
// client may be used again. The keys are written first; writing the index commits.
func (s *Store) Add(r Request) (Client, error) {
	if err := errors.Join(CheckName(r.Name), r.check()); err != nil {
		return Client{}, err
	}
	var client Client
	err := s.locked(func() error {
		ca, ix, err := s.loadOrCreate()
		if err != nil {
			return err
		}
		if i := ix.find(r.Name); i >= 0 && ix.Clients[i].Revoked == nil {
			return fmt.Errorf("%w: %s", ErrExists, ix.Clients[i].Name)
		}
		var keys []byte
		if client, keys, err = s.issueClient(ca, ix, r); err != nil {
			return err
		}
		if err := s.disk.write(s.path(credentialsFile(client)), keys); err != nil {
			return err
		}
		if err := ix.put(client); err != nil {
			return err
		}
		ix.NextHost = max(ix.NextHost, client.Host+1)
		return s.writeIndex(ix)
	})
	if err != nil {
		return Client{}, fmt.Errorf("adding client %s: %w", r.Name, err)
	}
	return client, nil
}

// issueClient makes the keys and the index entry of a new client. It writes nothing.
func (s *Store) issueClient(ca pair, ix *index, r Request) (Client, []byte, error) {
	host, err := ix.host(r.Name, r.Host, r.LastHost)
	if err != nil {
		return Client{}, nil, err
	}
	life := cmp.Or(r.Life, DefaultClientLife)
	if life < 0 {
		return Client{}, nil, fmt.Errorf("a life of %s", life)
	}
	now := s.now()
	p, err := newClient(ca, r.Name, later(now, earliest).Add(life))
	if err != nil {
		return Client{}, nil, err
	}
	crypt, err := s.loadCrypt()
	if err != nil {
		return Client{}, nil, err
	}
	wrapped, err := newCryptClientKey(crypt, now)
	if err != nil {
		return Client{}, nil, err
	}
	keys, err := p.encode()
	if err != nil {
		return Client{}, nil, err
	}
	return Client{
		Name: r.Name, Serial: formatSerial(p.cert.SerialNumber),
		Issued: now.UTC().Truncate(time.Second), Expires: p.cert.NotAfter.UTC(),
		Host: host, Settings: r.Settings,
	}, append(keys, wrapped...), nil
}

// Set changes the settings of a client, which apply from its next connection on. It returns
// ErrUnknown or ErrRevoked for a client that cannot connect.
func (s *Store) Set(name string, change func(*Settings)) (Client, error) {
	var client Client
	err := s.locked(func() error {
		_, ix, err := s.loadOrCreate()
		if err != nil {
			return err
		}
		i := slices.IndexFunc(ix.Clients, func(c Client) bool { return c.Name == name })
		switch {
		case i < 0:
			return fmt.Errorf("%w: %.60q", ErrUnknown, name)
		case ix.Clients[i].Revoked != nil:
			return fmt.Errorf("%w: %s", ErrRevoked, name)
		}
		change(&ix.Clients[i].Settings)
		client = ix.Clients[i]
		if err := client.check(); err != nil {
			return err
		}
		return s.writeIndex(ix)
	})
	if err != nil {
		return Client{}, fmt.Errorf("changing client %s: %w", name, err)
	}
	return client, nil
}

// FollowDefaults clears settings that equal the configuration's in a store of version 1. Its
// clients follow the configuration from then on. It is idempotent, and does nothing to later
// versions.
func (s *Store) FollowDefaults(defaults Settings) error {
	ix, err := s.loadIndex()
	if err != nil || !ix.old {
		return nil //nolint:nilerr // Ensure, which the caller calls next, makes or refuses it
	}
	err = s.locked(func() error {
		ix, err := s.loadIndex()
		if err != nil || !ix.old {
			return err
		}
		ix.follow(defaults)
		return s.writeIndex(ix)
	})
	if err != nil {
		return fmt.Errorf("upgrading the key store: %w", err)
	}
	return nil
}

// Revoke blocks a client permanently. It writes the index (the commit), then the revocation list,
// then removes the keys. Revoking a revoked client is ErrRevoked. The caller ends the session.
func (s *Store) Revoke(name string) (Client, error) {
	var client Client
	err := s.locked(func() error {
		ca, ix, err := s.loadOrCreate()
		if err != nil {
			return err
		}
		if client, err = ix.revoke(name, s.now()); err != nil {
			return err
		}
		if err := s.writeIndex(ix); err != nil {
			return err
		}
		if err := s.writeCRL(ca, ix); err != nil {
			return err
		}
		return s.removeOrphans(ix)
	})
	if err != nil {
		return Client{}, fmt.Errorf("revoking client %s: %w", name, err)
	}
	return client, nil
}

func (s *Store) writeIndex(ix *index) error {
	data, err := ix.encode()
	if err != nil {
		return err
	}
	return s.disk.write(s.path(indexFile), data)
}

// Clients returns all clients by name, revoked ones too. A store that does not exist has none.
func (s *Store) Clients() ([]Client, error) {
	ix, err := s.loadIndex()
	if errors.Is(err, ErrAbsent) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return slices.Clone(ix.Clients), nil
}

// Client returns one client, or ErrUnknown.
func (s *Store) Client(name string) (Client, error) {
	clients, err := s.Clients()
	if err != nil {
		return Client{}, err
	}
	i := slices.IndexFunc(clients, func(c Client) bool { return c.Name == name })
	if i < 0 {
		return Client{}, fmt.Errorf("%w: %.60q", ErrUnknown, name)
	}
	return clients[i], nil
}

// Credentials returns the keys of a client, ErrUnknown or ErrRevoked.
func (s *Store) Credentials(name string) (Credentials, error) {
	c, err := s.Client(name)
	if err != nil {
		return Credentials{}, err
	}
	if c.Revoked != nil {
		return Credentials{}, fmt.Errorf("%w: %s", ErrRevoked, name)
	}
	data, err := s.read(credentialsFile(c))
	if err != nil {
		return Credentials{}, err
	}
	ca, err := s.loadPair(caFile)
	if err != nil {
		return Credentials{}, err
	}
	return credentials(c, ca, data)
}

func credentials(c Client, ca pair, data []byte) (Credentials, error) {
	p, crypt, err := parsePair(data)
	if err != nil {
		return Credentials{}, fmt.Errorf("reading the keys of %s: %w", c.Name, err)
	}
	if p.cert.Subject.CommonName != c.Name || formatSerial(p.cert.SerialNumber) != c.Serial {
		return Credentials{}, fmt.Errorf("reading the keys of %s: they belong to %q", c.Name,
			p.cert.Subject.CommonName)
	}
	key, err := p.keyPEM()
	if err != nil {
		return Credentials{}, err
	}
	return Credentials{Client: c, CA: ca.certPEM(), Cert: p.certPEM(), Key: key,
		CryptV2: append(crypt, '\n')}, nil
}

// Server returns what the server processes need. Before Ensure it fails for a missing file.
func (s *Store) Server() (Server, error) {
	ca, err := s.loadPair(caFile)
	if err != nil {
		return Server{}, err
	}
	p, err := s.loadPair(serverFile)
	if err != nil {
		return Server{}, err
	}
	key, err := p.keyPEM()
	if err != nil {
		return Server{}, err
	}
	crypt, err := s.loadCrypt()
	if err != nil {
		return Server{}, err
	}
	crl, err := s.read(crlFile)
	if err != nil {
		return Server{}, err
	}
	return Server{
		CA: ca.certPEM(), Cert: p.certPEM(), Key: key, CryptV2: crypt, CRL: crl,
		Expires: p.cert.NotAfter, CAFrom: ca.cert.NotBefore, CAUntil: ca.cert.NotAfter,
	}, nil
}

// Fingerprint returns the SHA-256 of the authority's certificate, for people to compare.
func (s *Store) Fingerprint() (string, error) {
	ca, err := s.loadPair(caFile)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(ca.cert.Raw)
	return hex.EncodeToString(sum[:]), nil
}

// Stamp returns a text that changes whenever the store does. It costs a few stat calls and takes no
// lock, so that the daemon can compare it several times a second.
func (s *Store) Stamp() string {
	var b []byte
	for _, name := range []string{caFile, serverFile, cryptFile, indexFile, crlFile} {
		info, err := os.Stat(s.path(name))
		if err != nil {
			b = fmt.Appendf(b, "%s absent;", name)
			continue
		}
		var inode uint64
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			inode = st.Ino
		}
		b = fmt.Appendf(b, "%s %d %d %d;", name, inode, info.Size(), info.ModTime().UnixNano())
	}
	return string(b)
}

func (s *Store) loadCRL() (*x509.RevocationList, error) {
	data, err := s.read(crlFile)
	if err != nil {
		return nil, err
	}
	return parseCRL(data)
}

// exists reports whether there is a key store, even a damaged one.
func (s *Store) exists() bool {
	_, err := s.loadIndex()
	return !errors.Is(err, ErrAbsent)
}

package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Errors of the store.
var (
	// ErrLocked is returned when another process holds the lock for longer than any command needs.
	ErrLocked = errors.New("the keys are locked by another process")
	// ErrDamaged is returned when a file that cannot be made again is missing or unreadable.
	ErrDamaged = errors.New("the key store is damaged; restore it from a backup")
	// ErrNewer is returned when a newer version of this program has written the store.
	ErrNewer = errors.New("the key store is of a newer version")
	// ErrAbsent is returned when there is no key store yet.
	ErrAbsent = errors.New("there is no key store yet")
)

const (
	caFile     = "ca.pem"
	serverFile = "server.pem"
	cryptFile  = "tls-crypt-v2.pem"
	indexFile  = "index.json"
	crlFile    = "crl.pem"
	clientsDir = "clients"
	tmpPrefix  = ".tmp-"
)

// Store is a key store on disk. Several goroutines and processes may call its methods at once:
// writers exclude each other by a lock file, readers see the last committed state.
type Store struct {
	dir  string
	now  func() time.Time
	disk disk
	// work is the logarithm of scrypt's cost for backups; 0 is age's default.
	work int
}

// New returns the store in dir; its lock lies beside it (dir.lock). Nothing is read or written yet.
func New(dir string) *Store { return &Store{dir: filepath.Clean(dir), now: time.Now} }

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

// locked runs fn under the lock.
func (s *Store) locked(fn func() error) error {
	if err := os.MkdirAll(filepath.Dir(s.dir), 0o755); err != nil {
		return fmt.Errorf("creating the state directory: %w", err)
	}
	release, err := lock(s.dir + ".lock")
	if err != nil {
		return err
	}
	defer release()
	return fn()
}

// Ensure makes missing files, renews what is due, and removes what an interrupted run left. It
// returns what it renewed. It is idempotent. A store without its authority is ErrDamaged: a new
// authority would lock out every client.
func (s *Store) Ensure() (Renewal, error) {
	var done Renewal
	err := s.locked(func() error {
		ca, ix, err := s.loadOrCreate()
		if err != nil {
			return err
		}
		if done, err = s.renew(ca, ix); err != nil {
			return err
		}
		return s.removeOrphans(ix)
	})
	if err != nil {
		return Renewal{}, fmt.Errorf("preparing the key store: %w", err)
	}
	return done, nil
}

// loadOrCreate loads the authority and the index, and creates the store on the first run. The index
// is written last, so that it proves that the other files were there.
func (s *Store) loadOrCreate() (pair, *index, error) {
	for _, dir := range []string{s.dir, s.path(clientsDir)} {
		if err := s.disk.mkdir(dir); err != nil {
			return pair{}, nil, err
		}
	}
	ix, err := s.loadIndex()
	fresh := errors.Is(err, ErrAbsent)
	if err != nil && !fresh {
		return pair{}, nil, err
	}
	if fresh {
		if err := s.create(); err != nil {
			return pair{}, nil, err
		}
		if ix, err = s.loadIndex(); err != nil {
			return pair{}, nil, err
		}
	}
	ca, err := s.loadPair(caFile)
	if err != nil {
		return pair{}, nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if _, err := s.loadCrypt(); err != nil {
		return pair{}, nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return ca, ix, nil
}

// create makes the authority, the tls-crypt-v2 key and an empty index. Files of an earlier run that
// was interrupted are kept.
func (s *Store) create() error {
	makers := []struct {
		name string
		make func() ([]byte, error)
	}{
		{caFile, func() ([]byte, error) {
			ca, err := newCA(s.now())
			if err != nil {
				return nil, err
			}
			return ca.encode()
		}},
		{cryptFile, func() ([]byte, error) { return newCryptServerKey(), nil }},
		{indexFile, newIndex().encode},
	}
	for _, m := range makers {
		_, err := os.Lstat(s.path(m.name))
		if err == nil {
			continue
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("looking for %s: %w", m.name, err)
		}
		data, err := m.make()
		if err != nil {
			return err
		}
		if err := s.disk.write(s.path(m.name), data); err != nil {
			return err
		}
	}
	return nil
}

// renew replaces the server's certificate and the revocation list if they are missing, due or
// wrong.
func (s *Store) renew(ca pair, ix *index) (Renewal, error) {
	now := s.now()
	v := validity{CAUntil: ca.cert.NotAfter}
	server, serverErr := s.loadPair(serverFile)
	if serverErr == nil {
		v.ServerFrom, v.ServerUntil = server.cert.NotBefore, server.cert.NotAfter
	}
	crl, crlErr := s.loadCRL()
	if crlErr == nil {
		v.CRLFrom, v.CRLUntil = crl.ThisUpdate, crl.NextUpdate
	}
	due := renewal(now, v)
	due.Server = due.Server || serverErr != nil || server.cert.CheckSignatureFrom(ca.cert) != nil
	due.CRL = due.CRL || crlErr != nil || crl.CheckSignatureFrom(ca.cert) != nil ||
		crlStale(crl, ix.Revoked, now)
	if due.Server {
		p, err := newServer(ca, now)
		if err != nil {
			return Renewal{}, err
		}
		data, err := p.encode()
		if err != nil {
			return Renewal{}, err
		}
		if err := s.disk.write(s.path(serverFile), data); err != nil {
			return Renewal{}, err
		}
	}
	if due.CRL {
		if err := s.writeCRL(ca, ix); err != nil {
			return Renewal{}, err
		}
	}
	return due, nil
}

func (s *Store) writeCRL(ca pair, ix *index) error {
	data, err := newCRL(ca, ix.Revoked, s.now())
	if err != nil {
		return err
	}
	return s.disk.write(s.path(crlFile), data)
}

// removeOrphans removes temporary files and the keys of clients that the index does not hold or has
// revoked.
func (s *Store) removeOrphans(ix *index) error {
	keep := map[string]bool{}
	for _, c := range ix.Clients {
		if c.Revoked == nil {
			keep[credentialsFile(c)] = true
		}
	}
	for _, dir := range []string{"", clientsDir} {
		entries, err := os.ReadDir(s.path(dir))
		if err != nil {
			return fmt.Errorf("listing the key store: %w", err)
		}
		for _, e := range entries {
			name := filepath.Join(dir, e.Name())
			orphan := dir == clientsDir && !keep[name]
			if !orphan && !strings.HasPrefix(e.Name(), tmpPrefix) {
				continue
			}
			if err := s.disk.remove(s.path(name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// credentialsFile is the path of a client's keys inside the store. The serial in it keeps an
// interrupted issue apart from the next one.
func credentialsFile(c Client) string {
	return filepath.Join(clientsDir, c.Name+"-"+c.Serial+".pem")
}

func (s *Store) read(name string) ([]byte, error) {
	data, err := os.ReadFile(s.path(name))
	if err != nil {
		return nil, fmt.Errorf("reading the key store: %w", err)
	}
	return data, nil
}

func (s *Store) loadPair(name string) (pair, error) {
	data, err := s.read(name)
	if err != nil {
		return pair{}, err
	}
	p, _, err := parsePair(data)
	if err != nil {
		return pair{}, fmt.Errorf("reading %s: %w", s.path(name), err)
	}
	return p, nil
}

func (s *Store) loadCrypt() ([]byte, error) {
	data, err := s.read(cryptFile)
	if err != nil {
		return nil, err
	}
	_, _, err = cryptServerKeys(data)
	return data, err
}

// loadIndex returns ErrAbsent when there is no index and never was one.
func (s *Store) loadIndex() (*index, error) {
	data, err := s.read(indexFile)
	if errors.Is(err, fs.ErrNotExist) {
		traces := s.lostIndex()
		if traces == nil {
			return nil, fmt.Errorf("%w in %s", ErrAbsent, s.dir)
		}
		// A first run, whose lock readers do not take, may have made all of it since.
		if data, err = s.read(indexFile); errors.Is(err, fs.ErrNotExist) {
			return nil, traces
		}
	}
	if err != nil {
		return nil, err
	}
	ix, err := parseIndex(data)
	if err != nil && !errors.Is(err, ErrNewer) {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return ix, err
}

// lostIndex returns ErrDamaged if there are files that are only made after the index. Without the
// index they would be removed as leftovers of a crash.
func (s *Store) lostIndex() error {
	later := []string{serverFile, crlFile}
	entries, err := os.ReadDir(s.path(clientsDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("listing the key store: %w", err)
	}
	for _, e := range entries {
		later = append(later, filepath.Join(clientsDir, e.Name()))
	}
	for _, name := range later {
		switch _, err := os.Lstat(s.path(name)); {
		case err == nil:
			return fmt.Errorf("%w: %s is missing, and %s is there", ErrDamaged, s.path(indexFile),
				name)
		case !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("looking for %s: %w", s.path(name), err)
		}
	}
	return nil
}

// Freeze runs fn while nobody changes the store, in this process or another.
func (s *Store) Freeze(fn func() error) error { return s.locked(fn) }
